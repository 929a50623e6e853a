package host_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func TestStartCallStop(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "must-not-leak")
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{Properties: map[string]any{"rack": "b"}})
	if got := must(t, instance, "t1", "echo", "hello"); got != "hello" {
		t.Errorf("got %q, want the echo", got)
	}
	if got := must(t, instance, "t2", "configured"); got != "map[rack:b]" {
		t.Errorf("got properties %s, want those of the setup", got)
	}
	environment := must(t, instance, "t3", "environment")
	if strings.Contains(environment, "must-not-leak") || strings.Contains(environment, "DRIVER_TOKEN") {
		t.Errorf("the driver's environment holds what is not its own:\n%s", environment)
	}
	until(t, "the driver's own health was asked for", func() bool {
		health := instance.Health()
		return health.Live && health.Readiness == driverpb.ProbeReply_HEALTH_DEGRADED && health.Reason == "array is slow"
	})
	if err := h.Stop(bounded(t), instance.Name()); err != nil {
		t.Fatal(err)
	}
	_, err := do(bounded(t), instance, "t4", "echo")
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "driver-unavailable")
	if got := instance.State(); got != host.StateStopped {
		t.Errorf("got state %s, want stopped", got)
	}
}

// TestBuildMetadataIsNoOtherProgram runs one program as two versions, side by side.
func TestBuildMetadataIsNoOtherProgram(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	plain := started(t, h, manifest(t, "test/one"), host.Setup{})
	built := manifest(t, "test/one")
	built.Version += "+beside"
	beside := started(t, h, built, host.Setup{})
	if plain.PID() == beside.PID() || plain.Name() == beside.Name() {
		t.Errorf("%s and %s are one process, %d", plain.Name(), beside.Name(), plain.PID())
	}
	other := manifest(t, "test/one")
	other.Version = "1.0.1+beside"
	instance, err := h.Start(bounded(t), other, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "another version is refused", func() bool { return len(instance.LastErrors()) > 0 })
	if text := instance.LastErrors()[0].Text; !strings.Contains(text, "it says it is test/one 1.0.0") {
		t.Errorf("got %q, want which version it says it is", text)
	}
}

func TestStreamsGoThrough(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	observing, err := driverpb.NewBaseClient(instance.Conn()).Observe(bounded(t), &driverpb.ObserveRequest{
		Call: &driverpb.Call{Resource: &driverpb.Ref{Kind: "pool", Id: "p"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := observing.Recv(); err != nil {
		t.Errorf("observing: %v", err)
	}
	if _, err := observing.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("observing: got %v, want the end", err)
	}
}

func TestIsolationIsStrongAsRootAndSaidSo(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	report := instance.Report()
	if report.Level != sandbox.LevelStrong {
		t.Errorf("got level %s, want strong; missing: %+v", report.Level, report.Missing)
	}
	status := must(t, instance, "t1", "read", "/proc/self/status")
	for _, want := range []string{
		"Uid:\t62001\t", "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000",
		"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("the process's status lacks %q:\n%s", want, status)
		}
	}
}

func TestMinimumIsolationRefusesInWords(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/mounter")
	m.Permissions.Capabilities = []string{"sys_admin"}
	m.Isolation = sandbox.LevelGood
	instance, err := h.Start(bounded(t), m, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateBackingOff, host.StateCrashLoop); err != nil {
		t.Fatal(err)
	}
	text := instance.LastErrors()[0].Text
	for _, want := range []string{
		`isolation is "basic" here, the minimum is "good"`, "landlock-files is missing",
		"sys_admin",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want it to say %q", text, want)
		}
	}
	m = manifest(t, "test/demanding")
	m.Require = []string{"no-such-mechanism"}
	instance, err = h.Start(bounded(t), m, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateBackingOff, host.StateCrashLoop); err != nil {
		t.Fatal(err)
	}
	if text := instance.LastErrors()[0].Text; !strings.Contains(text, "requires no-such-mechanism") {
		t.Errorf("got %q, want what is required", text)
	}
}

func TestManifestIsChecked(t *testing.T) {
	m := host.Manifest{
		Name: "Bad Name", Version: "one", Command: []string{"relative"}, Isolation: "total",
		Permissions: host.Permissions{
			Read: []string{"a/../b"}, Write: []string{"/etc/x"}, Devices: []string{"/tmp/kvm"},
			Capabilities: []string{"all"}, Launch: []host.Program{{Path: "sleep"}},
		},
		Limits: host.Limits{MemoryBytes: 1}, Timeouts: host.Timeouts{Call: -1},
	}
	err := m.Validate()
	if err == nil {
		t.Fatal("an impossible manifest was accepted")
	}
	for _, field := range []string{
		"name", "version", "categories", "command[0]", "isolation", "limits.memory_bytes",
		"timeouts.call", "permissions.read[0]", "permissions.write[0]", "permissions.devices[0]",
		"permissions.capabilities[0]", "permissions.launch[0].path",
	} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	if err := manifest(t, "test/one").Validate(); err != nil {
		t.Errorf("a proper manifest was refused: %v", err)
	}
	for _, write := range []string{"/srv/code/sub", "/srv"} {
		m := manifest(t, "test/one")
		m.Code, m.Permissions.Write = "/srv/code", []string{write}
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "may not write to their code") {
			t.Errorf("writing to %s: got %v", write, err)
		}
	}
}

func TestStateDirectoryMustBeReachable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "closed", "host")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := host.Open(host.Config{StateDir: dir})
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "path-unreachable")
}

func TestOneServerPerStateDirectory(t *testing.T) {
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	if _, err := host.Open(quick(dir)); err == nil || !strings.Contains(err.Error(), "another server uses it") {
		t.Errorf("got %v, want the second server refused", err)
	}
	first.Close()
	openRaw(t, quick(dir)).Close()
}

func TestDriverThatIsNotWhatItSays(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.Command[2] = "test/other"
	instance, err := h.Start(bounded(t), m, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateCrashLoop); err != nil {
		t.Fatal(err)
	}
	if text := instance.LastErrors()[0].Text; !strings.Contains(text, "it says it is test/other") {
		t.Errorf("got %q, want who it says it is", text)
	}
}
