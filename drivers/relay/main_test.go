package relay_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	product = "test/storage"
	version = "1.0.0"
)

// backend is a driver whose calls tests script.
type backend struct {
	driverpb.UnimplementedStorageServer
	create  func(ctx context.Context, request *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error)
	observe func(ctx context.Context, found func(*driverpb.Observed) error) error
}

func (b *backend) CreateVolume(
	ctx context.Context, request *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	return b.create(ctx, request)
}

func (b *backend) StatVolume(_ context.Context, request *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	return &driverpb.VolumeReply{Handle: request.GetCall().GetHandle(), SizeBytes: 7}, nil
}

func (b *backend) Configure(context.Context, map[string]any, map[string]string) error { return nil }

func (b *backend) Probe(context.Context, *driverpb.Call) (*driverpb.ProbeReply, error) {
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

func (b *backend) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (b *backend) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (b *backend) Observe(ctx context.Context, _ *driverpb.Call, found func(*driverpb.Observed) error) error {
	return b.observe(ctx, found)
}

// node is a node with drivers.
type node struct {
	conn    grpc.ClientConnInterface
	refusal error
	console func(ctx context.Context, product, socket string) (io.ReadWriteCloser, error)

	mutex sync.Mutex
	asked []relay.Place
}

func (n *node) Conn(_ context.Context, p relay.Place) (grpc.ClientConnInterface, string, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.asked = append(n.asked, p)
	if n.refusal != nil {
		return nil, "", n.refusal
	}
	return n.conn, version, nil
}

func (n *node) refuse(err error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.refusal = err
}

func (n *node) Console(ctx context.Context, p relay.Place, socket string) (io.ReadWriteCloser, error) {
	return n.console(ctx, p.Product, socket)
}

func (n *node) Overlap(_ context.Context, a, b relay.Place) (string, error) {
	if a.Product == b.Product && a.Properties["path"] == b.Properties["path"] {
		return "path", n.refusal
	}
	return "", n.refusal
}

func (n *node) GuestUID(context.Context) (uint32, error) { return 62000, n.refusal }

// drive serves b as a driver on a socket and returns the node that has it.
func drive(tb testing.TB, b *backend) *node {
	tb.Helper()
	listener := listen(tb)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- sdk.ServeListener(ctx, listener, sdk.Driver{
			Name: product, Version: version, Resources: b, Storage: b,
		}, nil)
	}()
	conn := dial(tb, dialer(listener), grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes), grpc.MaxCallSendMsgSize(sdk.MaxMessageBytes)))
	tb.Cleanup(func() {
		_ = conn.Close()
		stop()
		if err := <-served; err != nil {
			tb.Errorf("serving the driver: %v", err)
		}
	})
	return &node{conn: conn}
}

// listen makes a socket in a directory with a short name.
func listen(tb testing.TB) net.Listener {
	tb.Helper()
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	return listener
}

func dialer(l net.Listener) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}
}

func dial(
	tb testing.TB, to func(context.Context, string) (net.Conn, error), options ...grpc.DialOption,
) *grpc.ClientConn {
	tb.Helper()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(to))
	conn, err := grpc.NewClient("passthrough:test", options...)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// serve serves register's services at a listener, and returns how to reach it.
func serve(tb testing.TB, listener net.Listener, register func(*grpc.Server)) func(
	context.Context, string,
) (net.Conn, error) {
	tb.Helper()
	server := grpc.NewServer()
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			tb.Errorf("serving the relay: %v", err)
		}
	})
	return dialer(listener)
}

// link is a connection between two nodes that a test can cut.
type link struct {
	*grpc.ClientConn
	mutex  sync.Mutex
	conns  []net.Conn
	broken bool
}

func connect(tb testing.TB, to func(context.Context, string) (net.Conn, error)) *link {
	tb.Helper()
	l := &link{}
	l.ClientConn = dial(tb, func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := to(ctx, address)
		l.mutex.Lock()
		defer l.mutex.Unlock()
		if err == nil && l.broken {
			_ = conn.Close()
			return nil, net.ErrClosed
		}
		l.conns = append(l.conns, conn)
		return conn, err
	})
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// cut breaks the link for good.
func (l *link) cut() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.broken = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}

// pair connects a caller to a node with the driver b.
func pair(tb testing.TB, b *backend) (*node, *link) {
	tb.Helper()
	n := drive(tb, b)
	return n, connect(tb, serve(tb, listen(tb), func(s *grpc.Server) { relay.Register(s, n, nil) }))
}

// open returns the connection to the driver at the other end of a link.
func open(tb testing.TB, l *link) grpc.ClientConnInterface {
	tb.Helper()
	conn, got, err := relay.NewRemote(l).Conn(bounded(tb), relay.Place{
		Product: product, Version: "1.2.0", Properties: map[string]any{"path": "/pool"},
	})
	if err != nil || got != version {
		tb.Fatalf("opening: got version %q, %v", got, err)
	}
	return conn
}

func bounded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

func call(token, id string) *driverpb.Call {
	return &driverpb.Call{Token: token, Resource: &driverpb.Ref{Kind: "volume", Id: id}, Epoch: 1}
}

func wantFault(tb testing.TB, err error, class driverpb.Class, code string) *driverpb.Fault {
	tb.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code {
		tb.Fatalf("got %v, want fault %v %q", err, class, code)
	}
	return fault
}
