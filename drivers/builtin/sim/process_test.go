package sim_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// overWire makes a rig of a process: what looks into the world has it open beside the driver.
func overWire(t *testing.T, conn grpc.ClientConnInterface, dir string) *rig {
	t.Helper()
	world, err := simworld.Open(dir, simworld.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = world.Close() })
	return &rig{T: t, world: world, storage: driverpb.NewStorageClient(conn), base: driverpb.NewBaseClient(conn)}
}

func (r *rig) configure(properties map[string]any) error {
	r.Helper()
	fields, err := structpb.NewStruct(properties)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = r.base.Configure(ctx, &driverpb.ConfigureRequest{Properties: fields})
	return err
}

func (r *rig) openPool() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := r.storage.OpenPool(ctx, &driverpb.OpenPoolRequest{Call: call("op-0/1", "pool", "pool-1")})
	return err
}

func TestFaultsByControlFileKillARealProcess(t *testing.T) {
	dir := t.TempDir()
	instance := drivertest.Process(drivertest.ProcessOptions{})(t)
	for name, test := range map[string]struct {
		action  simfault.Action
		effects int
	}{
		"before": {simfault.CrashBeforeEffect, 0}, "after": {simfault.CrashAfterEffect, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := overWire(t, instance.Conn(), dir)
			if err := r.configure(map[string]any{"world": dir}); err != nil {
				t.Fatal(err)
			}
			if err := r.openPool(); err != nil {
				t.Fatal(err)
			}
			rule := simfault.Rule{Name: name, Call: "CreateVolume", Nth: 1, Action: test.action}
			if err := simworld.WriteFaults(dir, rule); err != nil {
				t.Fatal(err)
			}
			id := "vol-" + name
			if _, err := r.create(within(t, 30*time.Second), "op-"+name, id, false); err == nil {
				t.Fatal("a dead process answered")
			}
			if got := r.truth().Count("volume", id); got != test.effects {
				t.Errorf("%d volumes, want %d", got, test.effects)
			}
			instance.Restart(t) // fails unless the process is gone or can be killed
			again := overWire(t, instance.Conn(), dir)
			if err := again.configure(map[string]any{"world": dir}); err != nil {
				t.Fatal(err)
			}
			if _, err := again.create(within(t, 30*time.Second), "op-"+name, id, true); err != nil {
				t.Errorf("repeated: %v", err)
			}
			if got := again.truth().EffectsBy("op-" + name); len(got) != 1 {
				t.Errorf("effects %v, want one", got)
			}
		})
	}
}

func TestWorldAndJournalByProperty(t *testing.T) {
	instance := drivertest.Process(drivertest.ProcessOptions{})(t)
	dir, journal := t.TempDir(), filepath.Join(t.TempDir(), "truth.jsonl")
	r := &rig{T: t, storage: driverpb.NewStorageClient(instance.Conn()), base: driverpb.NewBaseClient(instance.Conn())}
	if fault := sdk.FaultOf(r.configure(map[string]any{"world": "relative"})); fault.GetField() != "/properties/world" {
		t.Errorf("a relative path: %v", fault)
	}
	good := map[string]any{"world": dir, "journal": journal}
	for range 2 {
		if err := r.configure(good); err != nil {
			t.Fatal(err)
		}
	}
	if fault := sdk.FaultOf(r.configure(map[string]any{"world": t.TempDir()})); fault.GetCode() != "world-open" {
		t.Errorf("another world: %v, want world-open", fault)
	}
	if err := r.openPool(); err != nil {
		t.Fatal(err)
	}
	lines, err := os.ReadFile(journal)
	want := `"effect":"create","kind":"pool","id":"pool-1","call":"OpenPool","token":"op-0/1","epoch":1,"by":"kit"`
	if err != nil || !strings.Contains(string(lines), want) {
		t.Errorf("the journal says %s, %v", lines, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "faults.json"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe, err := r.base.Probe(within(t, 30*time.Second), &driverpb.ProbeRequest{})
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_DEGRADED ||
		!strings.Contains(probe.GetReason(), "faults.json") {
		t.Errorf("probed with a broken control file: %v, %v", probe, err)
	}
}

func TestConsole(t *testing.T) {
	instance := drivertest.Process(drivertest.ProcessOptions{})(t)
	hypervisor := driverpb.NewHypervisorClient(instance.Conn())
	ctx := within(t, 30*time.Second)
	if _, err := hypervisor.OpenHost(ctx, &driverpb.HostCallRequest{Call: call("op-1", "host", "host-1")}); err != nil {
		t.Fatal(err)
	}
	on := &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}}
	_, err := hypervisor.StartMachine(ctx, &driverpb.StartMachineRequest{
		Call: call("op-2", "machine", "mac-1"), Host: on, Machine: smallMachine(t, "mac-1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	console, err := hypervisor.OpenConsole(ctx, &driverpb.ConsoleRequest{
		Call: call("", "machine", "mac-1"), Host: on, Type: "serial",
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(console.GetLogPath())
	if err != nil || !strings.Contains(string(log), "guest login:") {
		t.Errorf("the log says %q, %v", log, err)
	}
	conn, err := net.Dial("unix", console.GetSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	printed := make([]byte, len(log))
	if _, err := io.ReadFull(conn, printed); err != nil || string(printed) != string(log) {
		t.Errorf("the console prints %q, %v; want what is in the log", printed, err)
	}
	if _, err := conn.Write([]byte("uname\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "uname: simulated") {
		t.Errorf("it answers %q, %v", line, err)
	}
}

// TestInTheSandbox runs the driver as a host does: confined, as a user of its own, with its world granted.
func TestInTheSandbox(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test changes users and namespaces: run it as root")
	}
	state, dir := t.TempDir(), filepath.Join(t.TempDir(), "world")
	for _, path := range []string{state, filepath.Dir(state), filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(host.Config{
		StateDir: filepath.Join(state, "host"), Backoff: host.Backoff{Initial: time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	instance, err := h.Start(t.Context(), sim.Manifest(self), host.Setup{
		Grants: []host.Grant{{Path: dir, ReadWrite: true}}, Properties: map[string]any{"world": dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := h.Stop(ctx, instance.Name()); err != nil {
			t.Error(err)
		}
	})
	if err := instance.Await(within(t, 30*time.Second), host.StateRunning); err != nil {
		log, _ := instance.LogTail(4096)
		t.Fatalf("%v; failures %v, log:\n%s", err, instance.LastErrors(), log)
	}
	if report := instance.Report(); report.Level != sandbox.LevelStrong {
		t.Errorf("isolation is %s: %+v", report.Level, report.Missing)
	}
	r := overWire(t, instance.Conn(), dir)
	if err := r.openPool(); err != nil {
		t.Fatal(err)
	}
	crash := simfault.Rule{Call: "CreateVolume", Nth: 1, Action: simfault.CrashAfterEffect}
	if err := simworld.WriteFaults(dir, crash); err != nil {
		t.Fatal(err)
	}
	if _, err := r.create(within(t, 30*time.Second), "op-1", "vol-1", false); err == nil {
		t.Error("a dead process answered")
	}
	for deadline := time.Now().Add(30 * time.Second); ; { // the host starts it again
		if _, err = r.create(within(t, 5*time.Second), "op-1", "vol-1", true); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if got := r.truth().EffectsBy("op-1"); err != nil || len(got) != 1 || instance.Restarts() == 0 {
		t.Errorf("repeated after %d restarts: %v; effects %v", instance.Restarts(), err, got)
	}
}
