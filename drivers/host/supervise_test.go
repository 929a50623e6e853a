package host_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

func TestKilledDriverIsStartedAgain(t *testing.T) {
	config := quick(stateDir(t))
	runs := make(chan int, 10)
	config.OnStart = func(_ context.Context, instance *host.Instance) { runs <- instance.PID() }
	h := open(t, config)
	instance := started(t, h, manifest(t, "test/one"), host.Setup{Properties: map[string]any{"a": "b"}})
	first := <-runs
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := <-runs
	if first == second {
		t.Errorf("the killed process %d is said to run", first)
	}
	if got := must(t, instance, "t1", "configured"); got != "map[a:b]" {
		t.Errorf("after the restart: got properties %s, want those of the setup", got)
	}
	failures := instance.LastErrors()
	if len(failures) != 1 || !strings.Contains(failures[0].Text, "killed by signal 9") || instance.Restarts() != 1 {
		t.Errorf("got failures %v and %d restarts, want one by signal 9", failures, instance.Restarts())
	}
}

func TestCrashLoopIsBrokenAndRecovers(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	flag := filepath.Join(t.TempDir(), "flag")
	if err := os.Chmod(filepath.Dir(filepath.Dir(flag)), 0o711); err != nil {
		t.Fatal(err)
	}
	m := manifest(t, "test/one", "crash-unless="+flag)
	m.Permissions.Read = []string{filepath.Dir(flag)}
	instance, err := h.Start(bounded(t), m, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateCrashLoop); err != nil {
		t.Fatal(err)
	}
	_, err = do(bounded(t), instance, "t1", "echo")
	fault := wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "driver-unavailable")
	if !strings.Contains(fault.GetMessage(), "ended (exit code 7) before it was ready") {
		t.Errorf("got %q, want the reason in it", fault.GetMessage())
	}
	until(t, "the driver's last words are in its log", func() bool {
		tail, err := instance.LogTail(1 << 10)
		return err == nil && strings.Contains(string(tail), "crashing as told")
	})
	if err := os.WriteFile(flag, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	must(t, instance, "t2", "echo")
}

func TestHangingCallIsUnknownAndHarmsNoOther(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	hanging := started(t, h, manifest(t, "test/hanging"), host.Setup{})
	other := started(t, h, manifest(t, "test/other"), host.Setup{})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := do(ctx, hanging, "t1", "hang")
	wantFault(t, err, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
	recalled, err := driverpb.NewBaseClient(hanging.Conn()).Recall(bounded(t), &driverpb.RecallRequest{Token: "t1"})
	if err != nil || recalled.GetState() != driverpb.RecallReply_STATE_RUNNING {
		t.Errorf("recalling: got %v, %v; want running", recalled, err)
	}
	must(t, other, "t2", "echo")
	must(t, hanging, "t3", "echo")
}

func TestCallWithoutDeadlineGetsOne(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/hanging")
	m.Timeouts.Call = 100 * time.Millisecond
	instance := started(t, h, m, host.Setup{})
	_, err := do(context.Background(), instance, "t1", "hang")
	wantFault(t, err, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
}

func TestLostProcessMakesItsCallsUnknown(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	failed := make(chan error, 1)
	go func() {
		_, err := do(context.Background(), instance, "t1", "hang")
		failed <- err
	}()
	until(t, "the call runs", func() bool {
		recalled, err := driverpb.NewBaseClient(instance.Conn()).Recall(bounded(t), &driverpb.RecallRequest{Token: "t1"})
		return err == nil && recalled.GetState() == driverpb.RecallReply_STATE_RUNNING
	})
	if err := syscall.Kill(instance.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantFault(t, <-failed, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
}

func TestConcurrencyIsBoundedButControlGetsThrough(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.Limits.Concurrency = 2
	instance := started(t, h, m, host.Setup{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{}, 2)
	for n := range 2 {
		go func() {
			_, _ = do(ctx, instance, "hang-"+strconv.Itoa(n), "hang")
			ended <- struct{}{}
		}()
	}
	base := driverpb.NewBaseClient(instance.Conn())
	for n := range 2 {
		until(t, "the calls run", func() bool {
			recalled, err := base.Recall(bounded(t), &driverpb.RecallRequest{Token: "hang-" + strconv.Itoa(n)})
			return err == nil && recalled.GetState() == driverpb.RecallReply_STATE_RUNNING
		})
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	_, err := do(short, instance, "third", "echo")
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "driver-busy")
	if _, err := base.Probe(bounded(t), &driverpb.ProbeRequest{}); err != nil {
		t.Errorf("probing while all places are taken: %v", err)
	}
	cancel()
	<-ended
	<-ended
}

func TestFrozenProcessIsReplaced(t *testing.T) {
	config := quick(stateDir(t))
	config.Health.Timeout = 200 * time.Millisecond
	h := open(t, config)
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	first := instance.PID()
	if err := syscall.Kill(first, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "another process runs", func() bool {
		return instance.State() == host.StateRunning && instance.PID() != first
	})
	if text := instance.LastErrors()[0].Text; !strings.Contains(text, "did not answer 2 health checks") {
		t.Errorf("got %q, want the reason", text)
	}
}

func TestNothingADriverStartedSurvivesItsCrash(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.Permissions.Exec = []string{"/bin/sleep"}
	instance := started(t, h, m, host.Setup{})
	const length = "98765.4321"
	_, _ = do(bounded(t), instance, "t1", "escape", length)
	if err := instance.Await(bounded(t), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	until(t, "the driver was started again", func() bool { return instance.Restarts() >= 1 })
	if pid := findProcess(t, length); pid != 0 {
		t.Errorf("process %d, started by the crashed driver, still runs", pid)
	}
}

// findProcess finds a process by an argument; 0 = none.
func findProcess(t *testing.T, argument string) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "\x00"+argument+"\x00") {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			return pid
		}
	}
	return 0
}

func TestMemoryHogHitsItsLimitAndSaysSo(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.Limits.MemoryBytes = 1 << 30 // room for a driver built with the race detector
	instance := started(t, h, m, host.Setup{})
	_, err := do(bounded(t), instance, "t1", "eat-memory")
	wantFault(t, err, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
	until(t, "the failure is known", func() bool { return len(instance.LastErrors()) > 0 })
	t.Log(instance.LastErrors()[0].Text)
	if err := instance.Await(bounded(t), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	must(t, instance, "t2", "echo")
}

func TestFloodOfLogsFillsNothingAndBlocksNobody(t *testing.T) {
	dir := stateDir(t)
	h := open(t, quick(dir))
	flooding := started(t, h, manifest(t, "test/flooding"), host.Setup{})
	other := started(t, h, manifest(t, "test/other"), host.Setup{})
	before := residentBytes(t)
	done := make(chan error, 1)
	go func() {
		_, err := do(context.Background(), flooding, "t1", "flood")
		done <- err
	}()
	for n := range 20 {
		must(t, other, "echo-"+strconv.Itoa(n), "echo")
	}
	must(t, flooding, "t2", "echo")
	if err := <-done; err != nil {
		t.Errorf("the flooding call: %v", err)
	}
	var total int64
	logs, err := filepath.Glob(filepath.Join(dir, "drivers", "test.flooding", "1.0.0", "driver.log*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("got logs %v, %v", logs, err)
	}
	for _, path := range logs {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 5<<20 {
		t.Errorf("the flood filled %d bytes of disk, want at most 5 MiB", total)
	}
	if grown := residentBytes(t) - before; grown > 64<<20 {
		t.Errorf("the flood grew the server by %d bytes", grown)
	}
	if got := flooding.State(); got != host.StateRunning {
		t.Errorf("the flooding driver is %s, want running", got)
	}
}

func residentBytes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestDriverThatNeverAnswersIsGivenUp(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one", "never-answer")
	m.Timeouts.Start = 2 * time.Second
	instance, err := h.Start(bounded(t), m, host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := instance.Await(bounded(t), host.StateBackingOff); err != nil {
		t.Fatal(err)
	}
	if text := instance.LastErrors()[0].Text; !strings.Contains(text, "greeting the driver") {
		t.Errorf("got %q, want the greeting to have failed", text)
	}
}

func TestFaultsOfTheDriverComeThrough(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	_, err := do(bounded(t), instance, "t1", "fail")
	wantFault(t, err, driverpb.Class_CLASS_EXHAUSTED, "no-space")
}
