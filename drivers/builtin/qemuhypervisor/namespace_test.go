package qemuhypervisor_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// TestOwnNetNamespace: a machine without nics is not in the host's network, gets its first nic while it runs, and
// leaves nothing behind.
func TestOwnNetNamespace(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	const id = "m1"
	name := netspace.OfMachine(l.own(id))
	path := netspace.DefaultDirectory + "/" + name
	l.startMachine(id, obligingMachine(t, l.pool(), id))
	l.console(id).awaits(oblige, 1)
	space := func(process string) string {
		t.Helper()
		link, err := os.Readlink("/proc/" + process + "/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	if qemu := fmt.Sprint(l.pid(id)); space(qemu) == space("self") {
		t.Error("QEMU is in the host's network namespace")
	}
	n := &network{t: t, name: name, owner: guestID} // as a network driver finds it
	truth := &insight{l: l, machine: id}
	nic := truth.nic(nicOn("nic-1", n.plainTap(t, 1), 1))
	for range 2 { // also after it was the last one to go
		l.goes(t, id, "plugging the first nic in", nic.attach)
		if held := truth.taps("tap1"); held != 1 {
			t.Errorf("the tap is held %d times", held)
		}
		l.goes(t, id, "taking it out again", nic.detach)
	}
	run(t, "ip", "-n", name, "link", "set", "tap1", "up")
	l.must(id)(l.client().StopMachine(l.ctx(), l.stopRequest(id, 0, true)))
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the namespace went with the machine, though there is a nic in it: %v", err)
	}
	run(t, "ip", "-n", name, "link", "del", "tap1")
	l.startMachine(id, blankMachine()) // without any nic
	l.must(id)(l.client().StopMachine(l.ctx(), l.stopRequest(id, 0, true)))
	if _, err := os.Stat(path); err == nil {
		t.Error("the namespace is left")
		run(t, "ip", "netns", "del", name)
	}
}
