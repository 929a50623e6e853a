package host_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
)

func TestServerRestartFindsItsDrivers(t *testing.T) {
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	instance := started(t, first, manifest(t, "test/one"), host.Setup{})
	pid := instance.PID()
	first.Close()

	second := open(t, quick(dir))
	again := started(t, second, manifest(t, "test/one"), host.Setup{Properties: map[string]any{"new": true}})
	if got := again.PID(); got != pid {
		t.Fatalf("got process %d, want %d taken over", got, pid)
	}
	if got := must(t, again, "t1", "configured"); got != "map[new:true]" {
		t.Errorf("got properties %s, want the new ones", got)
	}
	if again.Report().Level == "" {
		t.Error("the isolation report was lost")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the death of a process that is no child was noticed", func() bool {
		return again.State() == host.StateRunning && again.PID() != pid
	})
}

// killedServer runs a server with a driver and a unit, kills it, and says which processes it left.
func killedServer(t *testing.T, self, dir string) (driverPID string, unit *driverpb.Unit) {
	t.Helper()
	server := exec.Command(self, "test-server", dir)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = server.Wait()

	pid, unitText, _ := strings.Cut(line, " ")
	return pid, unitOf(t, unitText)
}

func TestKilledServersDriverAndUnitAreFoundAgain(t *testing.T) {
	dir := stateDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid, before := killedServer(t, self, dir)
	h := open(t, quick(dir))
	instance := started(t, h, killedServerManifest(self), host.Setup{})
	if got := itoa(instance.PID()); got != pid {
		t.Errorf("got process %s, want %s taken over", got, pid)
	}
	recalled, err := driverpb.NewBaseClient(instance.Conn()).Recall(bounded(t), &driverpb.RecallRequest{Token: "hang-1"})
	if err != nil || recalled.GetState() != driverpb.RecallReply_STATE_RUNNING {
		t.Errorf("recalling the call of the killed server: got %v, %v; want running", recalled, err)
	}
	after := unitOf(t, must(t, instance, "t1", "inspect", "guest-1"))
	if !after.GetRunning() || after.GetPid() != before.GetPid() || after.GetStartTime() != before.GetStartTime() {
		t.Errorf("got unit %v, want %v running", after, before)
	}
	again := unitOf(t, must(t, instance, "t2", "launch", `{"unit":"guest-1","argv":["/bin/sleep","1000"]}`))
	if again.GetPid() != before.GetPid() {
		t.Errorf("launching again made process %d, want %d", again.GetPid(), before.GetPid())
	}
	ended := unitOf(t, must(t, instance, "t3", "terminate", "guest-1", "1s"))
	if ended.GetRunning() || ended.GetExitCode() != 128+15 {
		t.Errorf("got %v, want ended by SIGTERM", ended)
	}
}

func TestChangedManifestReplacesTheProcess(t *testing.T) {
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	pid := started(t, first, manifest(t, "test/one"), host.Setup{}).PID()
	first.Close()

	second := open(t, quick(dir))
	m := manifest(t, "test/one")
	m.Limits.OpenFiles = 77
	instance := started(t, second, m, host.Setup{})
	if instance.PID() == pid {
		t.Error("a process with the old manifest was taken over")
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the old process still runs")
	}
	if got := must(t, instance, "t1", "open-files"); got > "77" {
		t.Errorf("could open %s files, the limit is 77", got)
	}
}

func TestUnclaimedProcessesAreEnded(t *testing.T) {
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	pid := started(t, first, manifest(t, "test/one"), host.Setup{}).PID()
	first.Close()
	second := openRaw(t, quick(dir))
	defer second.Close()
	if err := second.StopUnclaimed(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Identify(pid); err == nil {
		t.Error("the unclaimed process still runs")
	}
}

// TestReusedPidIsNotTouched gives the record the pid of another process.
func TestReusedPidIsNotTouched(t *testing.T) {
	dir := stateDir(t)
	first := openRaw(t, quick(dir))
	instance := started(t, first, manifest(t, "test/one"), host.Setup{})
	pid := instance.PID()
	first.Close()
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()

	innocent := exec.Command("/bin/sleep", "1000")
	if err := innocent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = innocent.Process.Kill()
		_ = innocent.Wait()
	}()
	path := filepath.Join(dir, "drivers", "test.one", "1.0.0", "process.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(text), `"pid": `+itoa(pid), `"pid": `+itoa(innocent.Process.Pid), 1)
	if forged == string(text) {
		t.Fatalf("the record does not hold the pid: %s", text)
	}
	if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	second := open(t, quick(dir))
	if err := second.StopUnclaimed(bounded(t)); err != nil {
		t.Fatal(err)
	}
	fresh := started(t, second, manifest(t, "test/one"), host.Setup{})
	if fresh.PID() == innocent.Process.Pid {
		t.Error("the innocent process was taken for the driver")
	}
	if err := innocent.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the innocent process is gone: %v", err)
	}
	found, err := process.Identify(innocent.Process.Pid)
	if err != nil || found.PID != innocent.Process.Pid {
		t.Errorf("the innocent process is gone: %v", err)
	}
}
