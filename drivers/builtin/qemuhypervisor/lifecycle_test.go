package qemuhypervisor_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// TestGuestEndsByItself: whoever looks later, even a new process of the driver, sees that and why the guest ended.
func TestGuestEndsByItself(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		end    func(l *lab, c *console)
		reason string
	}{
		"powered off from inside": {func(_ *lab, c *console) { c.types("poweroff") }, "guest-shutdown"},
		"panicked":                {func(_ *lab, c *console) { c.types("echo c >/proc/sysrq-trigger") }, "guest-panic"},
		"killed": {func(l *lab, _ *console) {
			if err := syscall.Kill(l.pid("m1"), syscall.SIGKILL); err != nil {
				l.t.Fatal(err)
			}
		}, "killed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.openHost()
			spec := l.smallMachine("m1")
			l.startMachine("m1", spec)
			shell := l.console("m1")
			shell.awaits("guest# ", 1)
			l.stop() // nobody watches
			c.end(l, shell)
			l.start()
			until(t, "the machine is stopped", patient, func() bool { return l.stat("m1").GetState() == "stopped" })
			l.is("m1", "stopped", c.reason)

			_, err := l.client().PauseMachine(l.ctx(), l.request("m1"))
			if err == nil {
				t.Error("what has ended was paused")
			}
			reply := l.startMachine("m1", spec) // a new start is a new life
			if reply.GetState() != "running" {
				t.Errorf("started again it is %q", reply.GetState())
			}
			l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
			l.is("m1", "absent", "")
		})
	}
}

// TestTheHostKnowsLateOfTheEnd: a QEMU that has hung up is as good as ended, however long the host takes to say so, and
// a start in that time is a new life.
func TestTheHostKnowsLateOfTheEnd(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]func(l *lab){
		"looking":  func(l *lab) { l.is("m1", "stopped", "killed") },
		"starting": func(l *lab) { l.startMachine("m1", blankMachine()); l.is("m1", "running", "") },
		"stopping": func(l *lab) {
			l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", time.Minute, false)))
			l.is("m1", "absent", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.openHost()
			l.startMachine("m1", blankMachine())
			l.stop()
			l.host = &lateHost{Host: l.host, late: 2 * time.Second}
			l.start()
			if err := syscall.Kill(l.pid("m1"), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			look(l)
		})
	}
}

// TestStartIsCompletedOnce: whatever of a start was done, doing it again completes it and starts no second guest.
func TestStartIsCompletedOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	spec := blankMachine()
	request := l.startRequest("m1", spec)
	l.must("m1")(l.client().StartMachine(l.ctx(), request))
	pid := l.pid("m1")

	l.restart() // has forgotten the token
	again := proto.Clone(request).(*driverpb.StartMachineRequest)
	again.Call.Repeat = true
	l.must("m1")(l.client().StartMachine(l.ctx(), again))
	l.startMachine("m1", spec) // another operation, same machine
	if now := l.pid("m1"); now != pid {
		t.Errorf("QEMU is process %d, was %d: it was started again", now, pid)
	}
	l.is("m1", "running", "")

	other := blankMachine()
	other.MemoryBytes *= 2
	_, err := l.client().StartMachine(l.ctx(), l.startRequest("m1", other))
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "running-otherwise")
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
}

// TestStartWhileLaunching: the driver dies between the launch of QEMU and the start of its guest.
func TestStartWhileLaunching(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	request := l.startRequest("m1", blankMachine())
	cut := &cutHost{Host: l.host, launched: make(chan struct{})}
	l.stop()
	whole := l.host
	l.host = cut
	l.start()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	go func() {
		<-cut.launched
		cancel()
	}()
	if _, err := l.client().StartMachine(ctx, request); err == nil {
		t.Fatal("the start succeeded, though it was cut short")
	}
	l.stop()
	l.host = whole
	l.start()
	pid := l.pid("m1")
	again := proto.Clone(request).(*driverpb.StartMachineRequest)
	again.Call.Repeat = true
	if reply := l.must("m1")(l.client().StartMachine(l.ctx(), again)); reply.GetState() != "running" {
		t.Errorf("completed it is %q, want running", reply.GetState())
	}
	if l.pid("m1") != pid {
		t.Error("QEMU was started again")
	}
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
}

// TestStartAgainWhileTheHostLaunches: the driver died while the host was launching QEMU, which it does all the same.
// One QEMU runs in the end, that of the start that was asked for last.
func TestStartAgainWhileTheHostLaunches(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	spec := blankMachine()
	spec.NetNamespace = netspace.DefaultDirectory + "/" + netspace.OfMachine(l.own("m1"))
	request := l.startRequest("m1", spec)
	slow := &slowHost{Host: l.host, begun: make(chan struct{}), ended: make(chan error, 1)}
	l.stop()
	whole := l.host
	l.host = slow
	l.start()
	unlock, err := netspace.OpenDirectory(netspace.DefaultDirectory).Lock(l.ctx()) // so that launching takes a while
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.ctx())
	go func() {
		<-slow.begun
		launching := filepath.Join(l.dir, "units", "*", "*"+l.own("m1")+"*", "log.pipe")
		until(t, "the host is launching", patient, func() bool {
			found, err := filepath.Glob(launching)
			return err == nil && len(found) > 0
		})
		cancel()
	}()
	if _, err := l.client().StartMachine(ctx, request); err == nil {
		t.Fatal("the start succeeded, though it was cut short")
	}
	l.stop()
	l.host = whole
	l.start()
	again := proto.Clone(request).(*driverpb.StartMachineRequest)
	again.Call.Repeat = true
	type outcome struct {
		reply *driverpb.MachineReply
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		reply, err := l.client().StartMachine(l.ctx(), again)
		done <- outcome{reply, err}
	}()
	time.Sleep(100 * time.Millisecond) // for the second start to meet the first launch; either order is right
	unlock()
	if err := <-slow.ended; err != nil {
		t.Errorf("the first launch: %v", err)
	}
	got := <-done
	if got.err != nil || got.reply.GetState() != "running" {
		t.Errorf("started again it is %v, %v", got.reply, got.err)
	}
	l.is("m1", "running", "")
	if count := (processes{}).Count(t, "machine", l.own("m1")); count != 1 {
		t.Errorf("%d QEMUs run", count)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	for range 2 { // each twice
		l.must("m1")(l.client().PauseMachine(l.ctx(), l.request("m1")))
	}
	l.is("m1", "paused", "")
	l.restart()
	l.is("m1", "paused", "")
	for range 2 {
		l.must("m1")(l.client().ResumeMachine(l.ctx(), l.request("m1")))
	}
	l.is("m1", "running", "")
	for range 2 {
		l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
	}
	_, err := l.client().ResumeMachine(l.ctx(), l.request("m1"))
	refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "machine-not-running")
}

// TestReboot: the guest starts anew, exactly once for each token, also when a reboot is cut short at any of its
// stages and asked for again.
func TestReboot(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", l.smallMachine("m1"))
	c := l.console("m1")
	c.awaits(ready, 1)
	graceful := l.stopRequest("m1", time.Minute, false)
	l.must("m1")(l.client().RebootMachine(l.ctx(), graceful))
	c.awaits("guest: power button pressed", 1)
	c.awaits("boots:       2", 1)
	c.awaits("guest# ", 2)
	hard := l.stopRequest("m1", 0, true)
	l.must("m1")(l.client().RebootMachine(l.ctx(), hard))
	c.awaits("boots:       3", 1)

	notes := filepath.Join(filepath.Dir(c.log), "machine.json")
	repeat := func(stage string) {
		t.Helper()
		l.stop()
		setStage(t, notes, stage)
		l.start()
		again := proto.Clone(hard).(*driverpb.StopMachineRequest)
		again.Call.Repeat = true
		l.must("m1")(l.client().RebootMachine(l.ctx(), again))
		l.is("m1", "running", "")
	}
	repeat("done")    // nothing was left to do
	repeat("reset")   // the guest was let go, but that was not noted
	repeat("stopped") // it was reset, but that was not noted: reset again, before it could go on
	c.awaits("boots:       4", 1)
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", time.Minute, true)))
}

// setStage puts a machine's notes back to an earlier stage of its last reboot.
func setStage(t *testing.T, path, stage string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var notes map[string]any
	if err := json.Unmarshal(text, &notes); err != nil {
		t.Fatal(err)
	}
	notes["reboot"].(map[string]any)["stage"] = stage
	if text, err = json.Marshal(notes); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
