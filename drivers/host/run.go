package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	shutdownDefault = 30 * time.Second
	// shutdownSlack is what a process gets beyond the grace it was promised.
	shutdownSlack = 10 * time.Second
	// termTime is what it gets to follow a SIGTERM.
	termTime = 2 * time.Second
	// attendPause keeps a driver that refuses the Attend stream from busying the host.
	attendPause = time.Second
)

// lived is the process of a run: one that the host started or found, or one that was attached.
type lived interface { //nolint:interfacebloat // it is all that a run needs of a process
	Identity() process.Identity
	Done() <-chan struct{}
	Exit() process.Exit
	Running() bool
	Wait(ctx context.Context) error
	Signal(signal unix.Signal) error
	// Close lets go of it.
	Close()
}

// run is one process of an instance, from ready to ended.
type run struct {
	process lived
	conn    *grpc.ClientConn
	record  driverRecord
	slots   chan struct{} // as many as calls may be in flight
	refusal chan struct{} // closed when no more calls are taken
	// reads and writes are the formats of handles, as the driver said.
	reads  []uint32
	writes uint32
	once   sync.Once
	// prepared says what was at granted paths when they were prepared; guarded by the instance's mutex.
	prepared map[string]fileKey
	// background is what runs beside the process and ends with its context: health, attend, OnStart.
	background sync.WaitGroup
}

// proof shows the process that we are the host that started it.
type proof string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (p proof) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{sdk.TokenKey: string(p)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (p proof) RequireTransportSecurity() bool { return false }

// dial makes the connection of a run. Nothing is sent yet.
func (r *run) dial() error {
	socket := r.record.Socket
	connection, err := grpc.NewClient("passthrough:driver",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(proof(r.record.Token)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return process.Dial(ctx, socket)
		}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes), grpc.MaxCallSendMsgSize(sdk.MaxMessageBytes)),
		grpc.WithStatsHandler(sentWatch{}),
		grpc.WithIdleTimeout(0), // a driver takes an idle disconnect for the loss of its host
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return fmt.Errorf("dialling the driver: %w", err)
	}
	r.conn = connection
	return nil
}

// greet says hello and checks that the process is what the manifest says.
func (r *run) greet(ctx context.Context, m *Manifest, instance, workDir string) error {
	hello, err := driverpb.NewBaseClient(r.conn).Hello(ctx, &driverpb.HelloRequest{
		ApiMin: sdk.APIMin, ApiMax: sdk.APIMax, Instance: instance, WorkDir: workDir,
	})
	if err != nil {
		return fmt.Errorf("greeting the driver: %w", err)
	}
	switch {
	case hello.GetName() != m.Name || !m.isVersion(hello.GetVersion()):
		return fmt.Errorf("greeting the driver: it says it is %s %s, the manifest says %s %s",
			hello.GetName(), hello.GetVersion(), m.Name, m.Version)
	case hello.GetApi() < sdk.APIMin || hello.GetApi() > sdk.APIMax:
		return fmt.Errorf("greeting the driver: it chose contract version %d, which was not offered", hello.GetApi())
	}
	for _, category := range m.Categories {
		if !slices.Contains(hello.GetCategories(), category) {
			return fmt.Errorf("greeting the driver: it does not serve %s, which its manifest declares", category)
		}
	}
	r.record.API = hello.GetApi()
	r.reads, r.writes = hello.GetHandleReads(), hello.GetHandleWrites()
	limit := m.Limits.Concurrency
	if own := hello.GetConcurrency(); own > 0 {
		limit = min(limit, own)
	}
	r.prepared = maps.Clone(r.record.Granted)
	if r.prepared == nil {
		r.prepared = map[string]fileKey{}
	}
	r.slots, r.refusal = make(chan struct{}, limit), make(chan struct{})
	return nil
}

// configure sets the driver-wide properties.
func (r *run) configure(ctx context.Context, setup Setup) error {
	properties, err := structpb.NewStruct(setup.Properties)
	if err != nil {
		return fmt.Errorf("configuring the driver: %w", err)
	}
	_, err = driverpb.NewBaseClient(r.conn).Configure(ctx,
		&driverpb.ConfigureRequest{Properties: properties, Secrets: setup.Secrets})
	if err != nil {
		return fmt.Errorf("configuring the driver: %w", err)
	}
	return nil
}

// fresh tells whether the granted paths among keys are still what they were when the process started.
func (r *run) fresh(keys map[string]fileKey) bool {
	for path, key := range keys {
		if granted, ok := r.record.Granted[path]; ok && granted != key {
			return false
		}
	}
	return true
}

// attend answers the driver's requests to its host until ctx ends.
func (r *run) attend(ctx context.Context, host sdk.Host) {
	for ctx.Err() == nil {
		_ = sdk.Attend(ctx, r.conn, host) // its error is that the stream ended, which it does with the process
		timer := time.NewTimer(attendPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// refuse takes no more calls.
func (r *run) refuse() {
	r.once.Do(func() { close(r.refusal) })
}

// drain waits until no call is in flight, or ctx ends.
func (r *run) drain(ctx context.Context) {
	for range cap(r.slots) {
		select {
		case r.slots <- struct{}{}:
		case <-r.process.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// shutDown asks the process to exit, insists when it does not, and kills what it leaves behind.
func (r *run) shutDown(ctx context.Context, grace time.Duration, group *cgroup.Group) error {
	if r.conn != nil {
		asking, cancel := context.WithTimeout(ctx, termTime)
		_, err := driverpb.NewBaseClient(r.conn).Shutdown(asking,
			&driverpb.ShutdownRequest{GraceMs: uint32(grace.Milliseconds())})
		cancel()
		if err == nil {
			waiting, cancel := context.WithTimeout(ctx, grace+termTime)
			_ = r.process.Wait(waiting) // what is left is killed below
			cancel()
		}
	}
	if r.process.Running() && r.process.Signal(syscall.SIGTERM) == nil {
		waiting, cancel := context.WithTimeout(ctx, termTime)
		_ = r.process.Wait(waiting)
		cancel()
	}
	return r.kill(context.WithoutCancel(ctx), group)
}

// kill ends the process, if it still runs, and everything in its group.
func (r *run) kill(ctx context.Context, group *cgroup.Group) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownSlack)
	defer cancel()
	err := r.process.Signal(syscall.SIGKILL)
	if err = errors.Join(err, group.Kill(ctx), r.process.Wait(ctx)); err != nil {
		return fmt.Errorf("killing the driver process: %w", err)
	}
	return nil
}

// close lets go of the connection and of what runs beside it; the caller has ended their context.
func (r *run) close() error {
	var err error
	if r.conn != nil {
		err = r.conn.Close()
	}
	r.background.Wait()
	r.process.Close()
	return err
}

func errOutOfMemory(limit uint64) error {
	return fmt.Errorf("it ran out of memory (limit %d MiB)", limit>>20)
}
