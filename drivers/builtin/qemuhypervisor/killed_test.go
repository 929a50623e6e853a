package qemuhypervisor_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// deed is a call, and what has to be so before it.
type deed struct {
	before, act func() error
	// obliging: the guest has to take part.
	obliging bool
	// finding: the commands that find the machine, which begin every call, are to be cut too.
	finding bool
}

// TestKilledMeanwhile kills QEMU at each command of each call. No call takes that for a defect of the driver: it is
// done all the same, or the machine is said to have ended; and the machine can be started anew.
func TestKilledMeanwhile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"pause", "resume", "attach a disk", "detach a disk", "grow a disk", "attach a nic", "detach a nic", "freeze", "thaw",
		"look", "stop", "stop by force", "reboot", "reboot by force",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, n := newLab(t), newNetwork(t)
			l.openHost()
			d := l.deeds(n.plainTap(t, 1))[name]
			spec := blankMachine()
			if d.obliging {
				spec = obligingMachine(t, l.pool(), "m1")
			}
			spec.NetNamespace = n.name
			for at := 0; l.killedAt(t, spec, d, at); at++ {
			}
		})
	}
}

// deeds are all calls that speak with QEMU.
func (l *lab) deeds(tap string) map[string]*deed {
	l.t.Helper()
	truth := &insight{l: l, machine: "m1"}
	disk, extra := truth.disk(l.newDisk("vol-data", 1<<20)), l.newDisk("vol-data", 1<<20)
	nic := truth.nic(nicOn("nic-1", tap, 1))
	plain := func(
		call func(context.Context, *driverpb.MachineRequest, ...grpc.CallOption) (*driverpb.MachineReply, error),
	) func() error {
		return func() error { return failed(call(l.ctx(), l.request("m1"))) }
	}
	of := func(do func(ctx context.Context, call *driverpb.Call) error) func() error {
		return func() error { return do(l.ctx(), l.call("machine", "m1")) }
	}
	pause := plain(l.client().PauseMachine)
	freeze := func() error {
		return failed(l.client().FreezeDisks(l.ctx(), &driverpb.FreezeRequest{
			Call: l.call("machine", "m1"), Host: l.hostRef(), MaxMs: 60_000,
		}))
	}
	stop := func(grace time.Duration) func() error {
		return func() error { return failed(l.client().StopMachine(l.ctx(), l.stopRequest("m1", grace, grace == 0))) }
	}
	reboot := func(grace time.Duration) func() error {
		return func() error { return failed(l.client().RebootMachine(l.ctx(), l.stopRequest("m1", grace, grace == 0))) }
	}
	return map[string]*deed{
		"pause":           {act: pause},
		"resume":          {before: pause, act: plain(l.client().ResumeMachine)},
		"attach a disk":   {act: of(disk.attach)},
		"detach a disk":   {before: of(disk.attach), act: of(disk.detach), obliging: true},
		"grow a disk":     {before: of(disk.attach), act: func() error { return failed(l.grow("m1", extra, 2<<20)) }},
		"attach a nic":    {act: of(nic.attach)},
		"detach a nic":    {before: of(nic.attach), act: of(nic.detach), obliging: true},
		"freeze":          {before: of(disk.attach), act: freeze},
		"thaw":            {before: freeze, act: plain(l.client().ThawDisks)},
		"look":            {act: plain(l.client().StatMachine), finding: true},
		"stop":            {act: stop(time.Minute), obliging: true},
		"stop by force":   {act: stop(0)},
		"reboot":          {act: reboot(time.Minute), obliging: true},
		"reboot by force": {act: reboot(0)},
	}
}

func failed(_ any, err error) error { return err }

// killedAt kills QEMU at the nth command of a call; false when the call ends before.
func (l *lab) killedAt(t *testing.T, spec *driverpb.MachineSpec, d *deed, n int) bool {
	t.Helper()
	l.startMachine("m1", spec)
	if d.obliging {
		l.console("m1").awaits(oblige, 1)
	}
	pid := l.pid("m1")
	own, _ := filepath.Glob(filepath.Join(l.work(), "m", "*", "q"))
	w := newWire(t, own[0])
	if d.before != nil {
		if err := d.before(); err != nil {
			t.Fatalf("the call before it: %v", err)
		}
	}
	arm := w.arm
	if d.finding {
		arm = w.armAll
	}
	arm(n, unsent, func() { kill(t, pid) })
	err := d.act()
	at := w.disarm()
	if at == "" {
		if err != nil || n == 0 {
			t.Errorf("nobody disturbed its %d commands, but: %v", n, err)
		}
		l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
		return false
	}
	endedOrDone(t, at, err)
	if state := l.stat("m1").GetState(); state != "stopped" && state != "absent" {
		t.Errorf("killed at %s it is %s", at, state)
	}
	return !t.Failed()
}

// endedOrDone asserts that a call whose QEMU was killed says so, unless there was nothing left to do for it.
func endedOrDone(t *testing.T, at string, err error) {
	t.Helper()
	fault := sdk.FaultOf(err)
	code := map[driverpb.Class]string{
		driverpb.Class_CLASS_UNKNOWN: "qemu-ended", driverpb.Class_CLASS_TRANSIENT: "qemu-ended",
		driverpb.Class_CLASS_NOT_FOUND: "machine-not-running",
	}[fault.GetClass()]
	if err != nil && (code == "" || fault.GetCode() != code) {
		t.Errorf("killed at %s: %v (%v)", at, err, fault)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("killing QEMU: %v", err)
	}
}

// TestCutWhileADeviceLeaves: that the guest was asked to let go of a device is not forgotten when QEMU can't be asked
// what came of it.
func TestCutWhileADeviceLeaves(t *testing.T) {
	t.Parallel()
	l, disk := withDiskHeld(t)
	own, _ := filepath.Glob(filepath.Join(l.work(), "m", "*", "q"))
	w := newWire(t, own[0])
	leaving := func() bool {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(own[0]), "machine.json"))
		return err == nil && strings.Contains(string(text), `"leaving"`)
	}
	for n := range 2 { // looking for it, and waiting for it to go
		w.arm(n, unsent, func() {})
		_, err := l.client().AttachDisk(l.ctx(), l.diskRequest("m1", disk))
		refused(t, err, driverpb.Class_CLASS_UNKNOWN, "qemu-ended")
		if at := w.disarm(); at != "qom-list" || !leaving() {
			t.Errorf("cut at %s, it is forgotten that the disk may go: %t", at, !leaving())
		}
	}
	l.must("m1")(l.client().AttachDisk(l.ctx(), l.diskRequest("m1", disk)))
	if leaving() {
		t.Error("the disk is attached, but still expected to go")
	}
}

// TestKilledWhileItStarts is TestKilledMeanwhile for what is launched in the call: a machine, and the probe of a host,
// which must not take a QEMU that was killed for one that does not work.
func TestKilledWhileItStarts(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(l *lab) error{
		"a machine": func(l *lab) error {
			return failed(l.client().StartMachine(l.ctx(), l.startRequest("m1", blankMachine())))
		},
		"a probe": func(l *lab) error {
			_ = os.Remove(filepath.Join(l.work(), "accelerators.json")) // what it found out before
			return failed(l.client().OpenHost(l.ctx(), &driverpb.HostCallRequest{Call: l.call("host", "host-1")}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLabWith(t, "tcg")
			l.openHost()
			l.stop()
			wired := &wiredHost{Host: l.host, t: t}
			l.host = wired
			l.start()
			for n := 0; ; n++ {
				wired.killAt, wired.wire = n, nil
				err := act(l)
				at := wired.wire.disarm()
				if at == "" {
					if err != nil || n < 3 {
						t.Errorf("nobody disturbed its %d commands, but: %v", n, err)
					}
					return
				}
				endedOrDone(t, at, err)
				if err == nil {
					t.Errorf("killed at %s, but all is said to be well", at)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// wiredHost puts a wire before the monitors of what it launches, which kills it at a command.
type wiredHost struct {
	sdk.Host
	t      *testing.T
	killAt int
	wire   *wire
}

// Launch implements sdk.Host.
func (h *wiredHost) Launch(ctx context.Context, launch *driverpb.Launch) (*driverpb.Unit, error) {
	unit, err := h.Host.Launch(ctx, launch)
	if err != nil {
		return nil, err
	}
	until(h.t, "the monitor is there", patient, func() bool {
		_, err := os.Stat(filepath.Join(launch.GetWorkDir(), "control"))
		return err == nil
	})
	h.wire = newWire(h.t, launch.GetWorkDir())
	h.wire.armAll(h.killAt, unsent, func() { kill(h.t, int(unit.GetPid())) })
	return unit, nil
}
