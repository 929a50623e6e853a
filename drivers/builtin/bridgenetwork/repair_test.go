package bridgenetwork_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// mustBeDegraded checks that the driver sees the damage, and says this about it.
func (w *world) mustBeDegraded(kind, id string, handle *driverpb.Handle, says string) {
	w.Helper()
	got := w.probe(kind, id, handle)
	if got.GetHealth() == driverpb.ProbeReply_HEALTH_READY || !strings.Contains(got.GetReason(), says) {
		w.Errorf("%s %s is %v, %q; want it degraded: %s", kind, id, got.GetHealth(), got.GetReason(), says)
	}
}

func TestAdoptRepairsWhatIsBroken(t *testing.T) {
	oneHash := hashOf("net-one")
	inside := func(argv ...string) func(*network) {
		return func(n *network) { n.mustRun(argv...) }
	}
	onHost := func(argv ...string) func(*network) {
		return func(n *network) { n.host(argv[0], argv[1:]...) }
	}
	for name, damage := range map[string]struct {
		breaks func(*network)
		says   string
	}{
		"dhcp killed":    {func(n *network) { n.units.crash(n, dhcpUnitOf(n)) }, "dhcp-" + oneHash + " does not run"},
		"dns killed":     {func(n *network) { n.units.crash(n, dnsUnitOf(n)) }, "dns-" + oneHash + " does not run"},
		"bridge deleted": {inside("ip", "link", "del", "br0"), "the bridge is gone"},
		"bridge down":    {inside("ip", "link", "set", "br0", "down"), "the bridge is down"},
		"gateway gone":   {inside("ip", "addr", "flush", "dev", "br0"), "the gateway's address is gone"},
		"firewall gone":  {inside("nft", "delete", "table", "ip", "bulkhead"), "the firewall is gone"},
		"uplink down":    {inside("ip", "link", "set", "up0", "down"), "the link to the host is gone or down (up0)"},
		"link to the host gone": {
			func(n *network) { n.host("ip", "link", "del", hostLinkOf(n)) }, "the link to the host is gone",
		},
		"host's filter gone": {
			onHost("nft", "delete", "table", "ip", "bulkhead"), "the host's filter does not know the network",
		},
		"a forward gone": {
			onHost("nft", "flush", "map", "ip", "bulkhead", "claims"), "the forward of 203.0.113.1:80/tcp is gone",
		},
		"forwarding off": {func(n *network) { setForwarding(n, "0") }, "ip_forward is 0"},
		"namespace gone": {func(n *network) {
			if err := netspace.OpenDirectory(netspace.DefaultDirectory).Remove(spaceOf(n)); err != nil {
				n.Fatal(err)
			}
			n.host("ip", "link", "del", hostLinkOf(n)) // at once, what the kernel does when it gets to it
		}, "the network's namespace is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			t.Cleanup(func() { setForwarding(t, "0") }) // who deletes our table has to put it back, too
			outside := w.outside()
			n := w.create("net-one", natSpec("10.20.0.0/24"))
			alpha := n.guest("alpha", 0)
			alpha.serve(alpha.address() + ":80")
			n.mustApply(forward("rule-a", "203.0.113.1", 80, alpha, 80))
			outer := n.outer()
			damage.breaks(n)
			w.mustBeDegraded("network", n.id, n.handle, damage.says)

			w.restart()
			n.handle = w.adopt("network", n.id, n.handle)
			alpha.handle = w.adopt("nic", alpha.nic, alpha.handle)
			w.mustBeReady("network", n.id, n.handle)
			w.mustBeReady("nic", alpha.nic, alpha.handle)
			reply, err := w.driver.Networks.StatNetwork(w.context(), &driverpb.NetworkRequest{
				Call: w.call("network", n.id, n.handle), Network: n.spec,
			})
			if err != nil || reply.GetFacts()["outerAddress"] != outer {
				t.Errorf("the outer address was %s: %v, %v", outer, reply, err)
			}
			outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
			if lease := alpha.lease(); lease["ip"] != alpha.address() {
				t.Errorf("alpha gets %q", lease["ip"])
			}
			if got, err := alpha.resolve("alpha.internal."); err != nil || got[0] != alpha.address() {
				t.Errorf("alpha resolves to %v (%v)", got, err)
			}
		})
	}
}

// TestOnAnEmptyHostAdoptMakesAllOfItAgain is the host after a reboot: nothing is left but the handles.
func TestOnAnEmptyHostAdoptMakesAllOfItAgain(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	n := w.create("net-one", natSpec("10.20.0.0/24"), map[string]any{"leaseSeconds": 300.0})
	alpha := n.guest("alpha", 0)
	alpha.serve(alpha.address() + ":80")
	n.mustApply(forward("rule-a", "203.0.113.1", 80, alpha, 80))
	alpha.stop()
	for name := range w.units.names() {
		w.units.crash(t, name)
	}
	spaces := netspace.OpenDirectory(netspace.DefaultDirectory)
	for _, name := range []string{spaceOf(n), machineOf(alpha)} {
		if err := spaces.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	w.host("ip", "link", "del", hostLinkOf(n))
	w.host("nft", "delete", "table", "ip", "bulkhead")
	setForwarding(t, "0")
	if err := os.RemoveAll("/run/bulkhead/bridgenetwork"); err != nil {
		t.Fatal(err)
	}
	w.restart()
	_, err := w.driver.Resources.Adopt(w.context(), w.call("nic", alpha.nic, alpha.handle))
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "network-missing", "")
	n.handle = w.adopt("network", n.id, n.handle)
	alpha.handle = w.adopt("nic", alpha.nic, alpha.handle)
	alpha.boot()
	alpha.run("busybox", "ip", "addr", "flush", "dev", "eth0")
	alpha.configure()
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	w.mustBeReady("network", n.id, n.handle)
	w.mustBeReady("nic", alpha.nic, alpha.handle)
}

// TestAdoptingANetworkConnectsItsNicsAgain breaks what guests hang on and adopts the network, or the nic, alone: the
// server that was not killed runs on, and the guest gets its lease again.
func TestAdoptingANetworkConnectsItsNicsAgain(t *testing.T) {
	for name, damage := range map[string]struct {
		breaks func(*network, *guest)
		nic    bool // what has to be adopted
		says   string
	}{
		"dhcp killed by its pid": {
			func(n *network, _ *guest) { n.units.crash(n, dhcpUnitOf(n)) }, false,
			"dhcp-" + hashOf("net-one") + " does not run",
		},
		"guard deleted": {
			func(n *network, _ *guest) { n.mustRun("nft", "delete", "table", "bridge", "bulkhead") }, false,
			"the ports' guard is gone",
		},
		"bridge deleted": {
			func(n *network, _ *guest) { n.mustRun("ip", "link", "del", "br0") }, false, "the bridge is gone",
		},
		"all of it": {func(n *network, _ *guest) {
			n.units.crash(n, dhcpUnitOf(n))
			n.mustRun("nft", "flush", "ruleset")
			n.mustRun("ip", "link", "del", "br0")
		}, false, "the bridge is gone"},
		"port deleted": {
			func(n *network, g *guest) { n.mustRun("ip", "link", "del", portOf(g)) }, true, ") is gone or down",
		},
		"port taken from the bridge": {
			func(n *network, g *guest) { n.mustRun("ip", "link", "set", portOf(g), "nomaster") }, true,
			") is not connected with br0",
		},
		"port shut": {func(n *network, g *guest) {
			n.mustRun("nft", "delete element bridge bulkhead ports { "+portOf(g)+" }")
		}, true, "the guard does not let the port through"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.create("net-one", natSpec("10.20.0.0/24"))
			alpha, beta := n.guest("alpha", 0), n.guest("beta", 1)
			before := map[string]int{}
			for unit := range w.units.names() {
				before[unit] = w.units.pid(unit)
			}
			damage.breaks(n, alpha)
			if damage.nic {
				w.mustBeDegraded("nic", alpha.nic, alpha.handle, damage.says)
				alpha.handle = w.adopt("nic", alpha.nic, alpha.handle)
			} else {
				w.mustBeDegraded("network", n.id, n.handle, damage.says)
				n.handle = w.adopt("network", n.id, n.handle)
			}
			w.mustBeReady("network", n.id, n.handle)
			for _, g := range []*guest{alpha, beta} {
				w.mustBeReady("nic", g.nic, g.handle)
				if lease := g.lease(); lease["ip"] != g.address() {
					t.Errorf("%s gets %q", g.nic, lease["ip"])
				}
			}
			if err := alpha.ping(beta.address()); err != nil {
				t.Errorf("alpha does not reach beta: %v", err)
			}
			for unit, pid := range before {
				killed := unit == dhcpUnitOf(n) && w.units.started(unit) == 2
				if now := w.units.pid(unit); now != pid && !killed {
					t.Errorf("%s is process %d, was %d, though nobody killed it", unit, now, pid)
				}
			}
		})
	}
}

func TestANicIsRepairedWithItsNetworkOrAlone(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	alpha.stop()
	machine, err := netspace.OpenDirectory(netspace.DefaultDirectory).Open(machineOf(alpha))
	if err != nil {
		t.Fatal(err)
	}
	err = machine.Do(func() error {
		tap, err := netlink.LinkByName(alpha.reply.GetInterface())
		if err != nil {
			return err
		}
		return netlink.LinkDel(tap)
	})
	machine.Close()
	if err != nil {
		t.Fatal(err)
	}
	w.mustBeDegraded("nic", alpha.nic, alpha.handle, "the tap ("+alpha.reply.GetInterface()+") is gone")
	alpha.handle = w.adopt("nic", alpha.nic, alpha.handle)
	w.mustBeReady("nic", alpha.nic, alpha.handle)
	alpha.boot()
	if err := alpha.ping("10.20.0.1"); err == nil {
		t.Error("a guest without address is answered") // boot gave it a new interface
	}
	alpha.configure()
	if err := alpha.ping("10.20.0.1"); err != nil {
		t.Errorf("alpha gets no echo: %v", err)
	}
}

func TestServersAreLeftAloneWhileTheyDoTheirWork(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	n.guest("alpha", 0)
	w.restart()
	n.handle = w.adopt("network", n.id, n.handle)
	n.recreate()
	n.guest("beta", 1)
	for _, unit := range []string{dhcpUnitOf(n), dnsUnitOf(n)} {
		if starts := w.units.started(unit); starts != 1 {
			t.Errorf("%s was started %d times", unit, starts)
		}
	}
}

func setForwarding(t drivertest.T, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTheHostsForwardingIsPutBackOnlyIfItWasOff(t *testing.T) {
	w := newWorld(t)
	setForwarding(t, "1")
	t.Cleanup(func() { setForwarding(t, "0") })
	one := w.create("net-one", natSpec("10.20.0.0/24"))
	if one.facts["hostForwarding"] != "was on" {
		t.Errorf("facts say %q", one.facts["hostForwarding"])
	}
	one.delete()
	if content, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(content) != "1\n" {
		t.Error("forwarding was on before and is off after")
	}
	setForwarding(t, "0")
	two, three := w.create("net-two", natSpec("10.21.0.0/24")), w.create("net-three", natSpec("10.22.0.0/24"))
	if two.facts["hostForwarding"] != "turned on, was off" {
		t.Errorf("facts say %q", two.facts["hostForwarding"])
	}
	two.delete()
	if content, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(content) != "1\n" {
		t.Error("forwarding is off while a network needs it")
	}
	three.delete()
	if content, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(content) != "0\n" {
		t.Error("forwarding was off before and is on after")
	}
	spec := natSpec("10.23.0.0/24")
	_, err := w.driver.Networks.CreateNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", "net-four", nil, map[string]any{"hostForwarding": "manual"}), Network: spec,
	})
	wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "forwarding-off", "")
	if _, err := w.driver.Networks.DeleteNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", "net-four", nil), Network: spec,
	}); err != nil {
		t.Errorf("undoing it: %v", err)
	}
}

// TestForeignTablesAndNamespacesAreLeftAlone puts what others might have on a host beside ours.
func TestForeignTablesAndNamespacesAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.host("nft", "add", "table", "inet", "bulkhead") // our name in another family
	w.host("nft", "add", "table", "ip", "others")
	w.host("nft", "add", "chain", "ip", "others", "forward", "{ type filter hook forward priority 0 ; }")
	w.host("ip", "netns", "add", "bh-others")
	t.Cleanup(func() {
		w.host("nft", "flush", "ruleset")
		w.host("ip", "netns", "del", "bh-others")
	})
	before := hostPicture(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	n.guest("alpha", 0).detach()
	n.delete()
	if after := hostPicture(t); after != before {
		t.Errorf("the host is not as it was:\n%s", difference(before, after))
	}
}

// TestATapBelongsToItsOwner opens the tap as the user it was made for, and as another.
func TestATapBelongsToItsOwner(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	spec := nicSpec("mac-alpha", "52:54:00:00:00:01", "10.20.0.10", "alpha")
	spec.OwnerUid = 4001
	reply, err := n.attach("nic-alpha", spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]error{4001: nil, 4002: unix.EPERM} {
		if err := openTapAs(t, reply, uid); err != want { //nolint:errorlint // the bare number is what is asked for
			t.Errorf("user %d opens the tap: %v, want %v", uid, err, want)
		}
	}
	spec.OwnerUid = 4002
	if reply, err = n.attach("nic-alpha", spec, reply.GetHandle()); err != nil {
		t.Fatal(err)
	}
	if err := openTapAs(t, reply, 4002); err != nil {
		t.Errorf("the new owner opens the tap: %v", err)
	}
	if err := n.detach("nic-alpha", spec, reply.GetHandle()); err != nil {
		t.Fatal(err)
	}
}

// TestAMachineThatRunsKeepsItsNamespace: it may be without nics for a while, and get another one.
func TestAMachineThatRunsKeepsItsNamespace(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	spec := nicSpec("mac-alpha", "52:54:00:00:00:01", "10.20.0.10", "alpha")
	spaces := netspace.OpenDirectory(netspace.DefaultDirectory)
	name := netspace.OfMachine("mac-alpha")
	if err := spaces.Ensure(name); err != nil { // as the host does for a machine that starts without nics
		t.Fatal(err)
	}
	var monitor net.Listener
	space, err := spaces.Open(name)
	if err == nil {
		defer space.Close()
		err = space.Do(func() (err error) {
			monitor, err = net.Listen("unix", filepath.Join(t.TempDir(), "monitor"))
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		reply, err := n.attach("nic-a", spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := space.Run(t.Context(), "", "ip", "link", "show", "dev", reply.GetInterface()); err != nil {
			t.Errorf("the tap is not where the machine is: %v", err)
		}
		if err := n.detach("nic-a", spec, reply.GetHandle()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(reply.GetNetNamespace()); err != nil {
			t.Fatalf("the namespace of a machine that runs: %v", err)
		}
	}
	if err := monitor.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.detach("nic-a", spec, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(spaces.Path(name)); !os.IsNotExist(err) {
		t.Errorf("the machine's namespace is left: %v", err)
	}
}

func TestAMachinesNamespaceLivesAsLongAsItsNics(t *testing.T) {
	w := newWorld(t)
	one, two := w.create("net-one", natSpec("10.20.0.0/24")), w.create("net-two", natSpec("10.21.0.0/24"))
	first := nicSpec("mac-alpha", "52:54:00:00:00:01", "10.20.0.10", "alpha")
	second := nicSpec("mac-alpha", "52:54:00:00:00:02", "10.21.0.10", "alpha")
	a, err := one.attach("nic-a", first, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.attach("nic-b", second, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.GetNetNamespace() != b.GetNetNamespace() || a.GetInterface() == b.GetInterface() {
		t.Errorf("%v and %v: want two taps in one namespace", a, b)
	}
	if err := one.detach("nic-a", first, a.GetHandle()); err != nil {
		t.Fatal(err)
	}
	w.mustBeReady("nic", "nic-b", b.GetHandle())
	if err := two.detach("nic-b", second, b.GetHandle()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.GetNetNamespace()); !os.IsNotExist(err) {
		t.Errorf("the machine's namespace is left: %v", err)
	}
	if err := two.detach("nic-b", second, nil); err != nil {
		t.Errorf("detaching what is gone: %v", err)
	}
}
