package host_test

import (
	"context"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// halting is a driver whose process a debugger halts.
type halting struct {
	testDriver
	halted   chan struct{} // receives when a call stands at the breakpoint
	released chan struct{} // lets it go on
}

func (h *halting) CreateVolume(ctx context.Context, r *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
	if what := r.GetCall().GetProperties().GetFields()["do"].GetStringValue(); what != "halt" {
		return h.testDriver.CreateVolume(ctx, r)
	}
	h.halted <- struct{}{}
	<-h.released
	return &driverpb.VolumeReply{Handle: &driverpb.Handle{Version: 1, Data: []byte("went on")}}, nil
}

// developer runs a driver outside of the host.
type developer struct {
	t       *testing.T
	driver  *halting
	name    string
	version string
	attach  *host.Attachment
	ran     atomic.Int32
}

// connect has a process attached until end is called; said receives why it is refused, and nil when it is over.
func (d *developer) connect() (end func(), said <-chan error) {
	d.t.Helper()
	listener, err := net.Listen("unix", d.t.TempDir()+"/s")
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served, over := make(chan error, 1), make(chan error, 2)
	go func() {
		served <- sdk.ServeListener(ctx, listener, sdk.Driver{
			Name: d.name, Version: d.version, HandleWrites: 1, Resources: d.driver, Storage: d.driver,
		}, nil)
	}()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	go func() {
		d.attach.Serve(context.Background(), conn, func(refused error) {
			if refused != nil {
				over <- refused
				return
			}
			d.ran.Add(1)
		})
		over <- nil
	}()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		conn.Close()
		cancel()
		<-served
	}
	d.t.Cleanup(end)
	return end, over
}

func develop(t *testing.T, h *host.Host, i *host.Instance) *developer {
	t.Helper()
	attached, err := h.Attach(i.Name(), "session-1", "ada")
	if err != nil {
		t.Fatal(err)
	}
	return &developer{
		t: t, attach: attached, name: i.Manifest().Name, version: i.Manifest().Version,
		driver: &halting{halted: make(chan struct{}, 1), released: make(chan struct{})},
	}
}

func TestAnAttachedProcessTakesTheInstancesPlace(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	i := started(t, h, manifest(t, "acme/attached"), host.Setup{})
	own := i.PID()
	d := develop(t, h, i)
	until(t, "the own process has ended", func() bool { return i.PID() != own })
	_, err := do(bounded(t), i, "t0", "echo", "x")
	if fault := wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "driver-unavailable"); !strings.Contains(
		fault.GetMessage(), "waits for the process that ada attaches") {
		t.Errorf("it says %q", fault.GetMessage())
	}
	end, _ := d.connect()
	until(t, "it runs", func() bool { return i.State() == host.StateRunning && d.ran.Load() == 1 })
	if report := i.Report(); report.Level != sandbox.LevelNone || len(report.Missing) != 1 || i.Attached() != "ada" {
		t.Errorf("by %q: %+v", i.Attached(), report)
	}
	if said := must(t, i, "t1", "echo", "hello"); said != "hello" {
		t.Errorf("it says %q", said)
	}
	if err := h.EnsureGrants(bounded(t), i.Name(), []host.Grant{{Path: t.TempDir(), ReadWrite: true}}); err != nil {
		t.Errorf("granting what nobody keeps from it: %v", err)
	}
	if said := must(t, i, "t2", "echo", "still"); said != "still" || d.ran.Load() != 1 {
		t.Errorf("after a grant it says %q, and ran %d times", said, d.ran.Load())
	}
	end()
	until(t, "its end is noticed", func() bool { return i.State() == host.StateBackingOff })
	if err := h.EnsureGrants(bounded(t), i.Name(), []host.Grant{{Path: "/proc/sys", ReadWrite: true}}); err != nil {
		t.Errorf("while it is waited for, a path is refused that it will not be refused: %v", err)
	}
	if failures := i.LastErrors(); len(failures) > 0 {
		t.Errorf("the end of an attached process counts as failure: %v", failures)
	}
	_, _ = d.connect() // the developer starts it again
	until(t, "it runs again", func() bool { return i.State() == host.StateRunning && d.ran.Load() == 2 })
	d.attach.Detach()
	d.attach.Detach()
	until(t, "the own process is back", func() bool { return i.State() == host.StateRunning && i.PID() != 0 })
	if said := must(t, i, "t3", "echo", "own"); said != "own" || i.Attached() != "" {
		t.Errorf("it says %q, attached by %q", said, i.Attached())
	}
}

func TestABreakpointEndsNothing(t *testing.T) {
	config := quick(stateDir(t))
	config.Health = host.HealthChecks{Every: 20 * time.Millisecond, Timeout: 20 * time.Millisecond, Misses: 1}
	h := open(t, config)
	m := manifest(t, "acme/halted")
	m.Timeouts.Call = 50 * time.Millisecond
	i := started(t, h, m, host.Setup{})
	d := develop(t, h, i)
	_, _ = d.connect()
	until(t, "it runs", func() bool { return d.ran.Load() == 1 && i.State() == host.StateRunning })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	done := make(chan string, 1)
	go func() {
		said, err := do(ctx, i, "t1", "halt")
		if err != nil {
			said = err.Error()
		}
		done <- said
	}()
	<-d.driver.halted
	<-ctx.Done() // what the caller gave it is over
	checked := i.Health().At
	until(t, "health is looked at", func() bool { return i.Health().At.After(checked) })
	select {
	case said := <-done:
		t.Fatalf("the call ended at its deadline: %s", said)
	default:
	}
	close(d.driver.released)
	if said := <-done; said != "went on" {
		t.Errorf("the call ended with %q", said)
	}
	if d.ran.Load() != 1 {
		t.Errorf("it was attached %d times", d.ran.Load())
	}
}

// TestACancelledCallIsCancelled: only deadlines are suspended.
func TestACancelledCallIsCancelled(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	i := started(t, h, manifest(t, "acme/cancelled"), host.Setup{})
	d := develop(t, h, i)
	_, _ = d.connect()
	until(t, "it runs", func() bool { return d.ran.Load() == 1 && i.State() == host.StateRunning })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := do(ctx, i, "t1", "halt")
		done <- err
	}()
	<-d.driver.halted
	cancel()
	wantFault(t, <-done, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
	close(d.driver.released)
}

func TestDetachingInTheMiddleOfACall(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	i := started(t, h, manifest(t, "acme/mid"), host.Setup{})
	d := develop(t, h, i)
	_, said := d.connect()
	until(t, "it runs", func() bool { return d.ran.Load() == 1 && i.State() == host.StateRunning })
	done := make(chan error, 1)
	go func() {
		_, err := do(context.Background(), i, "t1", "halt")
		done <- err
	}()
	<-d.driver.halted
	d.attach.Detach()
	wantFault(t, <-done, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
	if err := <-said; err != nil {
		t.Errorf("serving it: %v", err)
	}
	close(d.driver.released)
	until(t, "the own process is back", func() bool { return i.State() == host.StateRunning && i.PID() != 0 })
}

func TestWhatCanNotBeAttached(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	i := started(t, h, manifest(t, "acme/refused"), host.Setup{})
	d := develop(t, h, i)
	if again, err := h.Attach(i.Name(), "session-1", "ada"); err != nil || again != d.attach {
		t.Errorf("the same session: %v", err)
	}
	_, err := h.Attach(i.Name(), "session-2", "bob")
	wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "already-attached")
	if _, err := h.Attach("acme.nobody@1.0.0", "s", "ada"); err == nil {
		t.Error("what is not there can be attached to")
	}
	d.name = "acme/another"
	_, said := d.connect()
	if err := <-said; err == nil || !strings.Contains(err.Error(), "it says it is acme/another") {
		t.Errorf("another driver: %v", err)
	}
	d.name, d.version = "acme/refused", "9.0.0"
	_, said = d.connect()
	if err := <-said; err == nil || !strings.Contains(err.Error(), "the manifest says acme/refused 1.0.0") {
		t.Errorf("another version: %v", err)
	}
	d.newer()
	near, far := net.Pipe()
	go func() {
		_, _ = far.Write([]byte("this is no driver\n"))
		_ = far.Close()
	}()
	d.attach.Serve(bounded(t), near, func(refused error) {
		if refused == nil {
			t.Error("what is no driver runs")
		}
	})
	d.attach.Detach()
	until(t, "the own process is back", func() bool { return i.State() == host.StateRunning && i.PID() != 0 })
}

// fromTheFuture is a driver of a contract that this host does not know.
type fromTheFuture struct {
	driverpb.UnimplementedBaseServer
}

// Hello implements driverpb.BaseServer.
func (fromTheFuture) Hello(context.Context, *driverpb.HelloRequest) (*driverpb.HelloReply, error) {
	return &driverpb.HelloReply{Api: 7, Name: "acme/refused", Version: "1.0.0"}, nil
}

// newer attaches a driver that speaks another version of the contract, which must be refused.
func (d *developer) newer() {
	d.t.Helper()
	listener, err := net.Listen("unix", d.t.TempDir()+"/s")
	if err != nil {
		d.t.Fatal(err)
	}
	server := grpc.NewServer()
	driverpb.RegisterBaseServer(server, fromTheFuture{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		<-served
	}()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	said := make(chan error, 1)
	d.attach.Serve(bounded(d.t), conn, func(refused error) { said <- refused })
	if err := <-said; err == nil || !strings.Contains(err.Error(), "it chose contract version 7, which was not offered") {
		d.t.Errorf("another contract: %v", err)
	}
}

func TestNothingIsAttachedWhereIsolationIsDemanded(t *testing.T) {
	config := quick(stateDir(t))
	config.Minimum = sandbox.LevelBasic
	h := open(t, config)
	i := started(t, h, manifest(t, "acme/strict"), host.Setup{})
	_, err := h.Attach(i.Name(), "session-1", "ada")
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "isolation-too-low")
	if i.PID() == 0 || i.PID() == os.Getpid() {
		t.Error("its own process was ended")
	}
}
