package qemuhypervisor_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func (l *lab) freeze(id string, limit time.Duration) *driverpb.MachineReply {
	l.t.Helper()
	return l.must(id)(l.client().FreezeDisks(l.ctx(), &driverpb.FreezeRequest{
		Call: l.call("machine", id), Host: l.hostRef(), MaxMs: uint32(limit.Milliseconds()),
	}))
}

func (l *lab) thaw(id string) {
	l.t.Helper()
	l.must(id)(l.client().ThawDisks(l.ctx(), l.request(id)))
}

// TestFreeze: while a guest writes as fast as it can, a frozen disk does not change, and holds what was flushed.
func TestFreeze(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	spec := l.smallMachine("m1")
	data := l.newDisk("vol-data", 64<<20)
	other := l.newDisk("vol-other", 0)
	other.Disk.Format = "qcow2"
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", other.GetDisk().GetPath(), "64M")
	spec.Disks = append(spec.Disks, data, other)
	l.startMachine("m1", spec)
	c := l.console("m1")
	c.awaits("guest# ", 1)
	c.types(`i=0; while true; do i=$((i+1)); echo "line $i" >/dev/vdb; echo "line $i" >/dev/vdc; sync; done &`)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	head := func() string { return strings.SplitN(read(data.GetDisk().GetPath()), "\n", 2)[0] }
	until(t, "the guest writes", patient, func() bool { return strings.HasPrefix(head(), "line ") })

	for range 2 {
		if reply := l.freeze("m1", time.Minute); reply.GetState() != "paused" || reply.GetReason() != "frozen" {
			t.Errorf("frozen it is %q %q", reply.GetState(), reply.GetReason())
		}
	}
	before := read(data.GetDisk().GetPath())
	run(t, "qemu-img", "check", "-q", "-U", "-f", "qcow2", other.GetDisk().GetPath())
	time.Sleep(300 * time.Millisecond) // for what must not happen
	if read(data.GetDisk().GetPath()) != before {
		t.Error("a frozen disk changed")
	}
	run(t, "qemu-img", "check", "-q", "-U", "-f", "qcow2", other.GetDisk().GetPath())
	frozen := head()
	for range 2 {
		l.thaw("m1")
	}
	l.is("m1", "running", "")
	until(t, "the guest writes again", patient, func() bool { return head() != frozen })
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
}

// TestFreezeEndsByItself: also when the driver is gone meanwhile, and only when it is due.
func TestFreezeEndsByItself(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	running := func() bool { return l.stat("m1").GetState() == "running" }

	l.freeze("m1", 200*time.Millisecond)
	until(t, "it thawed", patient, running)

	l.freeze("m1", 100*time.Millisecond)
	l.freeze("m1", time.Hour) // asked again: longer
	l.restart()
	time.Sleep(300 * time.Millisecond) // for what must not happen
	l.is("m1", "paused", "frozen")
	l.thaw("m1")

	l.freeze("m1", 300*time.Millisecond)
	l.stop()
	time.Sleep(400 * time.Millisecond) // it becomes due while no driver is there
	l.start()
	until(t, "the next driver thawed it", patient, running)

	l.must("m1")(l.client().PauseMachine(l.ctx(), l.request("m1")))
	l.freeze("m1", time.Hour)
	l.thaw("m1")
	l.is("m1", "paused", "") // as before the freeze
	l.freeze("m1", time.Hour)
	l.must("m1")(l.client().ResumeMachine(l.ctx(), l.request("m1")))
	l.is("m1", "running", "")

	_, err := l.client().FreezeDisks(l.ctx(), &driverpb.FreezeRequest{Call: l.call("machine", "m1"), Host: l.hostRef()})
	refused(t, err, driverpb.Class_CLASS_INVALID, "freeze-invalid")
}
