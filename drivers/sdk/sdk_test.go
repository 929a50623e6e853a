package sdk_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestMain also is the driver process that main_test.go starts.
func TestMain(m *testing.M) {
	if os.Getenv(sdk.EnvInstance) != "" || os.Getenv("SDK_TEST_BY_HAND") != "" {
		os.Exit(sdk.Main(func(env sdk.Environment) (sdk.Driver, error) {
			env.Log.Info("driver made", slog.String("work_dir", env.WorkDir))
			return (&backend{create: chatter(env.Log)}).driver(), nil
		}))
	}
	goleak.VerifyTestMain(m)
}

// chatter logs more than any pipe holds.
func chatter(log *slog.Logger) func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
	return func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		for range 10_000 {
			log.Info("chatter", slog.String("words", strings.Repeat("w", 1000)))
		}
		return &driverpb.VolumeReply{}, nil
	}
}

// backend is a driver whose calls tests script.
type backend struct {
	driverpb.UnimplementedStorageServer

	mutex   sync.Mutex
	created []*driverpb.CreateVolumeRequest
	create  func(ctx context.Context, request *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error)
	observe func(found func(*driverpb.Observed) error) error
}

func (b *backend) CreateVolume(
	ctx context.Context, request *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	b.mutex.Lock()
	b.created = append(b.created, request)
	create := b.create
	b.mutex.Unlock()
	if create != nil {
		return create(ctx, request)
	}
	return &driverpb.VolumeReply{
		Handle: &driverpb.Handle{Version: 1, Data: []byte(request.GetCall().GetResource().GetId())},
	}, nil
}

func (b *backend) StatVolume(context.Context, *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	return &driverpb.VolumeReply{SizeBytes: 7}, nil
}

func (b *backend) DeleteVolume(context.Context, *driverpb.VolumeRequest) (*driverpb.OutcomeReply, error) {
	return &driverpb.OutcomeReply{}, nil
}

func (b *backend) executions() []*driverpb.CreateVolumeRequest {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return append([]*driverpb.CreateVolumeRequest(nil), b.created...)
}

func (b *backend) Configure(context.Context, map[string]any, map[string]string) error { return nil }

func (b *backend) Probe(_ context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY, Reason: call.GetResource().GetId()}, nil
}

func (b *backend) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (b *backend) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (b *backend) Observe(_ context.Context, _ *driverpb.Call, found func(*driverpb.Observed) error) error {
	if b.observe != nil {
		return b.observe(found)
	}
	return found(&driverpb.Observed{Name: "one"})
}

func (b *backend) driver() sdk.Driver {
	return sdk.Driver{
		Name: "test/storage", Version: "1.0.0", HandleReads: []uint32{1}, HandleWrites: 2,
		Resources: b, Storage: b,
	}
}

// served is a driver being served, and a connection to it.
type served struct {
	conn    *grpc.ClientConn
	base    driverpb.BaseClient
	storage driverpb.StorageClient
	socket  string
	stop    context.CancelFunc
	ended   chan error
}

func serve(t *testing.T, driver sdk.Driver, link *sdk.HostLink) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &served{socket: socket, stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- sdk.ServeListener(ctx, listener, driver, link) }()
	s.conn = dial(t, socket)
	s.base, s.storage = driverpb.NewBaseClient(s.conn), driverpb.NewStorageClient(s.conn)
	t.Cleanup(func() {
		_ = s.conn.Close()
		stop()
		select {
		case <-s.ended:
		case <-time.After(20 * time.Second):
			t.Error("serving did not end after its context")
		}
	})
	return s
}

func dial(t *testing.T, socket string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("unix:"+socket, options...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func call(token, id string, epoch uint64) *driverpb.Call {
	return &driverpb.Call{Token: token, Resource: &driverpb.Ref{Kind: "volume", Id: id}, Epoch: epoch}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantFault(t *testing.T, err error, class driverpb.Class, code string) *driverpb.Fault {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code {
		t.Fatalf("got %v, want fault %v %q", err, class, code)
	}
	return fault
}
