package enginetest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Driver says how to make the driver that is tested.
type Driver struct {
	// New makes it, as for sdk.Main. It is called again after each crash; what outlives a crash is what New finds again:
	// files, a backend that the test keeps.
	New func(env sdk.Environment) (sdk.Driver, error)
	// Properties and Secrets are the driver-wide ones; it is given them by Configure after each start.
	Properties map[string]any
	Secrets    map[string]string
	// Host answers what the driver asks of its host; nil when it asks for nothing.
	Host sdk.Host
	// Remains, if set, names what the backend holds, past the driver. EveryFault calls it before and after.
	Remains func() []string
}

const bufferBytes = 1 << 16

// process stands for a process of the driver: it can be killed and started again.
type process struct {
	driver Driver
	dir    string
	made   sdk.Driver // as New made it first

	turn sync.Mutex // of killing and starting
	mu   sync.Mutex
	life *life
}

// life is one run of a process.
type life struct {
	listener *droppable
	conn     *grpc.ClientConn
	cancel   context.CancelFunc
	done     sync.WaitGroup
}

func newProcess(t testing.TB, d Driver) *process {
	t.Helper()
	if d.New == nil {
		t.Fatal("enginetest: Driver.New is nil; give the function that makes the driver")
	}
	p := &process{driver: d, dir: t.TempDir()}
	if _, err := p.start(); err != nil {
		t.Fatalf("enginetest: starting the driver: %v", err)
	}
	t.Cleanup(p.kill)
	return p
}

// start starts it, unless it runs; fresh says that it did not.
func (p *process) start() (fresh bool, err error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	if p.running() != nil {
		return false, nil
	}
	return true, p.begin()
}

func (p *process) begin() error {
	link := sdk.NewHostLink()
	made, err := p.driver.New(sdk.Environment{
		Instance: "enginetest", WorkDir: p.dir, Log: slog.New(slog.DiscardHandler), Host: link,
	})
	if err != nil {
		return fmt.Errorf("making the driver: %w", err)
	}
	if p.made.Name == "" {
		p.made = made // before anybody else knows of the process
	}
	if made.Name != p.made.Name || made.Version != p.made.Version {
		return fmt.Errorf("the driver says that it is %s %s; before it crashed it was %s %s", made.Name, made.Version,
			p.made.Name, p.made.Version)
	}
	l := &life{listener: &droppable{Listener: bufconn.Listen(bufferBytes)}}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.done.Go(func() { sdk.ServeListener(ctx, l.listener, made, link) }) // ends with ctx
	l.conn, err = grpc.NewClient("passthrough:///driver",
		grpc.WithContextDialer(l.listener.dial), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes)))
	if err == nil {
		err = p.greet(ctx, l)
	}
	if err != nil {
		l.end()
		return err
	}
	if p.driver.Host != nil {
		l.done.Go(func() { sdk.Attend(ctx, l.conn, p.driver.Host) }) // ends with ctx
	}
	p.mu.Lock()
	p.life = l
	p.mu.Unlock()
	return nil
}

// greet says what a host says first.
func (p *process) greet(ctx context.Context, l *life) error {
	base := driverpb.NewBaseClient(l.conn)
	_, err := base.Hello(ctx, &driverpb.HelloRequest{ApiMin: sdk.APIMin, ApiMax: sdk.APIMax, Instance: "enginetest"})
	if err != nil {
		return fmt.Errorf("greeting the driver: %w", err)
	}
	properties, err := structpb.NewStruct(p.driver.Properties)
	if err != nil {
		return fmt.Errorf("passing Driver.Properties: %w", err)
	}
	_, err = base.Configure(ctx, &driverpb.ConfigureRequest{Properties: properties, Secrets: p.driver.Secrets})
	if err != nil {
		return fmt.Errorf("configuring the driver: %w", err)
	}
	return nil
}

func (p *process) running() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// kill breaks all connections and ends all that the driver does. It returns when that has ended.
func (p *process) kill() {
	p.turn.Lock()
	defer p.turn.Unlock()
	p.mu.Lock()
	l := p.life
	p.life = nil
	p.mu.Unlock()
	if l != nil {
		l.end()
	}
}

func (l *life) end() {
	l.listener.drop()
	l.cancel()
	l.done.Wait()
	if l.conn != nil {
		l.conn.Close()
	}
}

// connect is the connection to the process, while it runs.
func (p *process) connect() (grpc.ClientConnInterface, error) {
	if l := p.running(); l != nil {
		return l.conn, nil
	}
	return nil, &resources.Error{
		Class: resources.ClassUnavailable, Code: "driver-down", Message: "driver " + p.made.Name + " is not running",
	}
}

// droppable is a listener whose connections can be broken as they break when a process is killed.
type droppable struct {
	*bufconn.Listener
	mu    sync.Mutex
	conns []net.Conn
}

// Accept implements net.Listener.
func (d *droppable) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err == nil {
		d.mu.Lock()
		d.conns = append(d.conns, conn)
		d.mu.Unlock()
	}
	return conn, err
}

func (d *droppable) dial(ctx context.Context, _ string) (net.Conn, error) { return d.DialContext(ctx) }

func (d *droppable) drop() {
	d.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.Close()
	}
}
