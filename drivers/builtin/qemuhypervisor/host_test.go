package qemuhypervisor_test

import (
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestOpenHost tries each accelerator for real. Where KVM does not work the driver has to find out, say why, and do
// without it.
func TestOpenHost(t *testing.T) {
	t.Parallel()
	l := newLabWith(t, "tcg")
	reply := l.openHost()
	if reply.GetAccelerator() != "tcg" || reply.GetCpus() == 0 || reply.GetMemoryBytes() == 0 ||
		reply.GetMemoryUsedBytes() == 0 || reply.GetArchitecture() != "x86_64" || reply.GetHypervisorVersion() == "" {
		t.Errorf("the host is %v", reply)
	}
	l.properties["accelerator"] = "auto"
	auto := l.openHost()
	l.properties["accelerator"] = "kvm"
	forced, err := l.client().OpenHost(l.ctx(), &driverpb.HostCallRequest{Call: l.call("host", "host-1")})
	switch auto.GetAccelerator() {
	case "kvm":
		if err != nil || forced.GetAccelerator() != "kvm" {
			t.Errorf("kvm works, but asked for it the answer is %v, %v", forced, err)
		}
	case "tcg":
		if auto.GetFacts()["kvm"] == "" {
			t.Error("the host does not say why it does not use kvm")
		}
		t.Log(kvmUnused + auto.GetFacts()["kvm"])
		fault := refused(t, err, driverpb.Class_CLASS_INVALID, "kvm-unusable")
		if fault.GetField() != "/properties/accelerator" {
			t.Errorf("the fault names %q", fault.GetField())
		}
	default:
		t.Errorf("the accelerator is %q", auto.GetAccelerator())
	}
	for _, unit := range []string{"probe-kvm", "probe-tcg"} {
		if left, err := l.host.Inspect(l.ctx(), unit); err == nil && left.GetRunning() {
			t.Errorf("%s is left", unit)
		}
		if left, _ := filepath.Glob(filepath.Join(l.work(), unit)); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	}
	probe, err := driverpb.NewBaseClient(l.served).Probe(l.ctx(), &driverpb.ProbeRequest{})
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Errorf("the probe answers %v, %v", probe, err)
	}
}

func TestStatAndCloseHost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	request := func() *driverpb.HostCallRequest {
		call := l.call("host", "host-1")
		call.Handle = l.opened
		return &driverpb.HostCallRequest{Call: call}
	}
	_, err := l.client().StatHost(l.ctx(), request())
	refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "host-not-open")
	opened := l.openHost()
	l.restart()
	stat, err := l.client().StatHost(l.ctx(), request())
	if err != nil || stat.GetAccelerator() != opened.GetAccelerator() || stat.GetMemoryBytes() != opened.GetMemoryBytes() {
		t.Errorf("it is %v, %v, was opened as %v", stat, err, opened)
	}
	l.startMachine("m1", blankMachine())
	_, err = l.client().CloseHost(l.ctx(), request())
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "not-empty")
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
	closed, err := l.client().CloseHost(l.ctx(), request())
	if err != nil {
		t.Fatal(err)
	}
	l.opened = closed.GetHandle()
	_, err = l.client().StatHost(l.ctx(), request())
	refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "host-not-open")
}

func TestBadProperties(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	for key, value := range map[string]any{
		"accelerator": "xen", "disk_bus": "nvme", "cdrom_bus": "virtio", "disk_cache": "unsafe",
		"machine_type": "q35,accel=tcg", "cpu_model": "host -kernel /etc/passwd", "observe_foreign": "yes",
	} {
		good := l.properties[key]
		l.properties[key] = value
		_, err := l.client().StartMachine(l.ctx(), l.startRequest("m1", blankMachine()))
		fault := refused(t, err, driverpb.Class_CLASS_INVALID, "property-invalid")
		if fault.GetField() != "/properties/"+key {
			t.Errorf("%s: the fault names %q", key, fault.GetField())
		}
		delete(l.properties, key)
		if good != nil {
			l.properties[key] = good
		}
	}
	for _, bytes := range []any{1, 1e12, "many"} {
		_, err := driverpb.NewBaseClient(l.served).Configure(l.ctx(), &driverpb.ConfigureRequest{
			Properties: l.structOf(map[string]any{"console_log_bytes": bytes}),
		})
		refused(t, err, driverpb.Class_CLASS_INVALID, "property-invalid")
	}
	for key, code := range map[string]string{"cpu_model": "cpu-model-unknown", "machine_type": "machine-type-unknown"} {
		l.properties[key] = map[string]string{"cpu_model": "pentium99", "machine_type": "pc-q35-99.9"}[key]
		_, err := l.client().StartMachine(l.ctx(), l.startRequest("m1", blankMachine()))
		refused(t, err, driverpb.Class_CLASS_INVALID, code)
		delete(l.properties, key)
	}
}

// observe lists what is on the lab's host.
func (l *lab) observe() map[string]*driverpb.Observed {
	l.t.Helper()
	call := l.call("host", "host-1")
	call.Handle = l.opened
	stream, err := driverpb.NewBaseClient(l.served).Observe(l.ctx(), &driverpb.ObserveRequest{Call: call})
	if err != nil {
		l.t.Fatal(err)
	}
	found := map[string]*driverpb.Observed{}
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			l.t.Fatal(err)
		}
		found[strings.TrimSuffix(one.GetName(), l.own(""))] = one
	}
}

// TestObserve: ours by id, and those of others too.
func TestObserve(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	l.startMachine("m2", blankMachine())
	l.must("m2")(l.client().PauseMachine(l.ctx(), l.request("m2")))
	stranger := exec.Command("qemu-system-x86_64", "-name", "guest=stranger", "-machine", "none", "-nodefaults",
		"-display", "none", "-S")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	})
	ours := l.observe()
	if len(ours) != 2 || ours["machine-m1"].GetState() != "running" || ours["machine-m2"].GetState() != "paused" ||
		ours["machine-m1"].GetBytes() != 64<<20 || ours["machine-m1"].GetResource().GetId() != l.own("m1") {
		t.Errorf("got %v, want m1 running and m2 paused", ours)
	}
	l.properties["observe_foreign"] = true
	until(t, "the stranger is seen", patient, func() bool { return l.observe()["stranger"] != nil })
	all := l.observe()
	if seen := all["stranger"]; seen.GetState() != "foreign" || seen.GetResource().GetId() != "" {
		t.Errorf("the stranger is %v", seen)
	}
	for name, one := range all {
		if pid := one.GetFacts().AsMap()["pid"]; one.GetState() == "foreign" && pid == float64(l.pid("m1")) {
			t.Errorf("%s is ours, but listed as foreign too", name)
		}
	}
}

// TestAdopt: what was left is found, also when it ended meanwhile; what can't be read is refused.
func TestAdopt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	l.restart()
	adopt := func(id string, handle *driverpb.Handle) (*driverpb.OutcomeReply, error) {
		call := l.call("machine", id)
		call.Epoch, call.Handle = 2, handle
		return driverpb.NewBaseClient(l.served).Adopt(l.ctx(), &driverpb.AdoptRequest{Call: call})
	}
	for range 2 {
		if _, err := adopt("m1", l.handles["m1"]); err != nil {
			t.Fatalf("adopting: %v", err)
		}
	}
	for name, handle := range map[string]*driverpb.Handle{
		"garbage":         {Version: 1, Data: []byte("what?")},
		"another machine": {Version: 1, Data: []byte(`{"machine":"m2"}`)},
	} {
		if _, err := adopt("m1", handle); sdk.FaultOf(err).GetClass() != driverpb.Class_CLASS_INVALID {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	if _, err := adopt("m9", nil); err != nil {
		t.Errorf("adopting what never was: %v", err)
	}
	if _, err := driverpb.NewBaseClient(l.served).Release(l.ctx(), &driverpb.ReleaseRequest{Call: func() *driverpb.Call {
		call := l.call("machine", "m1")
		call.Epoch = 2
		return call
	}()}); err != nil {
		t.Errorf("releasing: %v", err)
	}
	l.pid("m1") // it runs on
}
