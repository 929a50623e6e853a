package host_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestMain is also the stage, the driver and the server that tests start as processes.
func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "test-driver":
			os.Exit(runDriver())
		case "test-server":
			os.Exit(runServer(os.Args[2]))
		case "test-unprivileged":
			os.Exit(runUnprivileged(os.Args[2]))
		}
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests change users and namespaces: run them as root")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// stateDir makes a state directory that drivers' users can reach.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "host")
}

// quick are the times of a host under test.
func quick(dir string) host.Config {
	return host.Config{
		StateDir: dir,
		Backoff: host.Backoff{
			Initial: 10 * time.Millisecond, Max: 50 * time.Millisecond, CrashLoopAfter: 3,
			CrashLoopEvery: 100 * time.Millisecond, StableAfter: time.Minute,
		},
		Health: host.HealthChecks{Every: 100 * time.Millisecond, Timeout: 2 * time.Second, Misses: 2},
	}
}

// open opens a host whose drivers and units are gone when the test ends.
func open(t *testing.T, config host.Config) *host.Host {
	t.Helper()
	h := openRaw(t, config)
	t.Cleanup(func() { endAll(t, h) })
	return h
}

func openRaw(t *testing.T, config host.Config) *host.Host {
	t.Helper()
	if testing.Verbose() {
		config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	h, err := host.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func endAll(t *testing.T, h *host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := h.StopUnclaimed(ctx); err != nil {
		t.Error(err)
	}
	for _, instance := range h.Instances() {
		if t.Failed() {
			tail, _ := instance.LogTail(4096)
			t.Logf("%s is %s, failures %v, log:\n%s", instance.Name(), instance.State(), instance.LastErrors(), tail)
		}
		if err := h.EndUnits(ctx); err != nil {
			t.Error(err)
		}
		if err := h.Stop(ctx, instance.Name()); err != nil {
			t.Error(err)
		}
	}
	h.Close()
}

// manifest declares this test binary as a driver.
func manifest(t *testing.T, name string, arguments ...string) host.Manifest {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return host.Manifest{
		Name: name, Version: "1.0.0",
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Command:    append([]string{self, "test-driver", name}, arguments...),
		Timeouts:   host.Timeouts{Start: 20 * time.Second, Shutdown: time.Second},
	}
}

// started starts an instance and waits until it runs.
func started(t *testing.T, h *host.Host, m host.Manifest, setup host.Setup) *host.Instance {
	t.Helper()
	instance, err := h.Start(bounded(t), m, setup)
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	return instance
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// do has the test driver do something and returns what it says.
func do(ctx context.Context, instance *host.Instance, token, what string, arguments ...any) (string, error) {
	properties := map[string]any{"do": what, "arguments": arguments}
	packed, err := structpb.NewStruct(properties)
	if err != nil {
		return "", err
	}
	reply, err := driverpb.NewStorageClient(instance.Conn()).CreateVolume(ctx, &driverpb.CreateVolumeRequest{
		Call: &driverpb.Call{
			Token: token, Resource: &driverpb.Ref{Kind: "volume", Id: "vol-" + token}, Epoch: 1, Properties: packed,
		},
	})
	return string(reply.GetHandle().GetData()), err
}

func must(t *testing.T, instance *host.Instance, token, what string, arguments ...any) string {
	t.Helper()
	said, err := do(bounded(t), instance, token, what, arguments...)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return said
}

func wantFault(t *testing.T, err error, class driverpb.Class, code string) *driverpb.Fault {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code {
		t.Fatalf("got %v, want fault %v %q", err, class, code)
	}
	return fault
}

// until waits for a condition.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !reached() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ticks makes tokens that were not used before.
var ticks atomic.Int64

func tick() int { return int(ticks.Add(1)) }
