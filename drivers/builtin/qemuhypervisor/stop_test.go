package qemuhypervisor_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// TestStopOfAGuestThatDoesNotListen: it stays as it was, paused if it was paused.
func TestStopOfAGuestThatDoesNotListen(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	try := func() {
		t.Helper()
		_, err := l.client().StopMachine(l.ctx(), l.stopRequest("m1", 300*time.Millisecond, false))
		refused(t, err, driverpb.Class_CLASS_CONFLICT, "guest-ignores-power-button")
		_, err = l.client().RebootMachine(l.ctx(), l.stopRequest("m1", 300*time.Millisecond, false))
		refused(t, err, driverpb.Class_CLASS_CONFLICT, "guest-ignores-power-button")
	}
	try()
	l.is("m1", "running", "")
	l.must("m1")(l.client().PauseMachine(l.ctx(), l.request("m1")))
	try()
	l.is("m1", "paused", "")
	l.freeze("m1", time.Hour)
	l.thaw("m1")
	l.is("m1", "paused", "")
	l.must("m1")(l.client().ResumeMachine(l.ctx(), l.request("m1")))
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 300*time.Millisecond, true)))
	l.is("m1", "absent", "")
}

// TestStopOfAPausedGuest: it goes on, so that it can power off.
func TestStopOfAPausedGuest(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", obligingMachine(t, l.pool(), "m1"))
	l.console("m1").awaits(oblige, 1)
	l.must("m1")(l.client().PauseMachine(l.ctx(), l.request("m1")))
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", time.Minute, false)))
	l.is("m1", "absent", "")
}

// TestFailedStopIsTakenBack: a guest that was held up for all of the grace and so did not notice the power button does
// not power off later, when the stop has failed long since; a stop after that one it hears of.
func TestFailedStopIsTakenBack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", obligingMachine(t, l.pool(), "m1"))
	l.console("m1").awaits(oblige, 1)
	own, _ := filepath.Glob(filepath.Join(l.work(), "m", "*", "q"))
	w := newWire(t, own[0])
	truth := &insight{l: l, machine: "m1", monitor: filepath.Join(own[0], "status.qemu")}
	held := sync.OnceFunc(func() { truth.ask("stop", nil, nil) }) // as by a host that is much too busy
	w.tell(func(command string) {
		if command == "system_powerdown" {
			held()
		}
	})
	_, err := l.client().StopMachine(l.ctx(), l.stopRequest("m1", 500*time.Millisecond, false))
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "guest-ignores-power-button")
	truth.goesOn()
	l.is("m1", "running", "")
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", time.Minute, false)))
	l.is("m1", "absent", "")
}

// goesOn waits until the guest has run for a while: an obliging one has then looked at the power button many times, and
// powered off if it was pressed.
func (i *insight) goesOn() {
	i.l.t.Helper()
	client, err := qmp.Dial(i.l.ctx(), i.monitor)
	if err != nil {
		i.l.t.Fatal(err)
	}
	defer client.Close()
	ticks := func() (text string) {
		line := map[string]string{"command-line": "xp /1wx 0x46c"} // the firmware counts the timer's ticks there
		if err := client.Execute(i.l.ctx(), "human-monitor-command", line, &text); err != nil {
			i.l.t.Fatal(err)
		}
		return text
	}
	for range 10 {
		before := ticks()
		until(i.l.t, "the guest's timer ticks", patient, func() bool {
			var status struct{ Running bool }
			err := client.Execute(i.l.ctx(), "query-status", nil, &status)
			return err != nil || !status.Running || ticks() != before
		})
	}
}

// TestSlowPowerOff: a guest that has noticed the power button may power off long after the stop has failed. The fault
// says so, and when it does, it is seen as what it is.
func TestSlowPowerOff(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", l.smallMachine("m1"))
	c := l.console("m1")
	c.awaits("guest# ", 1)
	c.types("kill $(cat /run/acpid.pid); echo nobody lis''tens")
	c.awaits("nobody listens", 1) // but the kernel, which only notes it
	_, err := l.client().StopMachine(l.ctx(), l.stopRequest("m1", 3*time.Second, false))
	fault := refused(t, err, driverpb.Class_CLASS_CONFLICT, "guest-slow-to-power-off")
	if !strings.Contains(fault.GetMessage(), "may still") || !strings.Contains(fault.GetRemedy(), "wait") {
		t.Errorf("it does not say what may come: %v", fault)
	}
	l.is("m1", "running", "")
	c.types("poweroff")
	until(t, "the guest is off", patient, func() bool { return l.stat("m1").GetState() == "stopped" })
	l.is("m1", "stopped", "guest-shutdown")
}

// TestCanceledStopIsTakenBack: who does not wait any more for a guest that has noticed nothing finds it as it was.
func TestCanceledStopIsTakenBack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	l.must("m1")(l.client().PauseMachine(l.ctx(), l.request("m1")))
	ctx, cancel := context.WithCancel(l.ctx())
	defer cancel()
	request := l.stopRequest("m1", time.Minute, false)
	go func() {
		until(t, "the guest was asked", patient, func() bool { return l.stat("m1").GetState() == "running" })
		cancel()
	}()
	if _, err := l.client().StopMachine(ctx, request); err == nil {
		t.Error("it was stopped, though nobody waited")
	}
	l.settles(t, request.GetCall().GetToken())
	l.is("m1", "paused", "")
}
