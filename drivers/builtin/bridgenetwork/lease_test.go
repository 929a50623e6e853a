package bridgenetwork_test

import (
	"fmt"
	"slices"
	"testing"
)

func TestASecondNatNetworkDoesNotTakeOverTheWayOut(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.serve("203.0.113.2:80")
	one, two := w.create("net-one", natSpec("10.20.0.0/24")), w.create("net-two", natSpec("10.21.0.0/24"))
	alpha := one.mute("alpha", 0)
	if lease := alpha.configure(); lease["router"] != "10.20.0.1" {
		t.Errorf("the first lease offers router %q", lease["router"])
	}
	alpha.serve("0.0.0.0:80")
	one.mustApply(forward("rule-a", "203.0.113.1", 80, alpha, 80))
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")

	second := two.second(alpha, 0)
	lease := second.configure()
	for name, want := range map[string]string{
		"ip": second.address(), "router": "", "staticroutes": "", "msstaticroutes": "", "dns": "10.21.0.1",
		"domain": "internal", "hostname": "alpha-second", "mtu": "1500",
	} {
		if lease[name] != want {
			t.Errorf("the second lease says %s=%q, want %q", name, lease[name], want)
		}
	}
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	alpha.mustGet("203.0.113.2:80", "outside 203.0.113.1")
	for _, name := range []string{"alpha-second.internal.", "gamma.internal."} {
		want := second.address()
		if name == "gamma.internal." { // a neighbour, with a way out of its own
			gamma := two.mute("gamma", 1)
			if lease := gamma.configure(); lease["router"] != "10.21.0.1" {
				t.Errorf("gamma is offered router %q", lease["router"])
			}
			want = gamma.address()
		}
		if got, err := second.resolve(name); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s resolves to %v (%v), want %s", name, got, err, want)
		}
	}
}

func TestANicBecomesItsMachinesWayOutWithTheNextLease(t *testing.T) {
	w := newWorld(t)
	one, two := w.create("net-one", natSpec("10.20.0.0/24")), w.create("net-two", natSpec("10.21.0.0/24"))
	alpha := one.guest("alpha", 0)
	second := two.second(alpha, 0)
	offers := func(when, want string) {
		t.Helper()
		if got := second.lease()["router"]; got != want {
			t.Errorf("%s the second nic is offered router %q, want %q", when, got, want)
		}
		w.mustBeReady("nic", second.nic, second.handle)
	}
	offers("at first", "")
	w.restart()
	two.handle = w.adopt("network", two.id, two.handle)
	second.handle = w.adopt("nic", second.nic, second.handle)
	offers("after another instance adopted it", "")

	alpha.detach()
	offers("while nobody said otherwise", "")
	second.spec.Secondary = false
	second.attach()
	offers("as the way out", "10.21.0.1")
	w.restart()
	two.handle = w.adopt("network", two.id, two.handle)
	second.handle = w.adopt("nic", second.nic, second.handle)
	offers("as the way out, adopted", "10.21.0.1")
	second.spec.Secondary = true
	second.attach()
	offers("as it was", "")
}

func TestAMachineMayHaveANameThatDnsmasqTakesForSomethingElse(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	for nth, name := range []string{"ignore", "infinite", "10m", "600", "7W", "secondary"} {
		g := n.planned(fmt.Sprintf("named-%d", nth), nth)
		g.spec.Hostname = name
		g.attach()
		g.station = n.station(g.nic)
		g.boot()
		if lease := g.configure(); lease["ip"] != g.address() || lease["lease"] != "43200" {
			t.Errorf("%s gets %q for %s seconds", name, lease["ip"], lease["lease"])
		}
		if got, err := g.resolve(name + ".internal."); err != nil || !slices.Equal(got, []string{g.address()}) {
			t.Errorf("%s resolves to %v (%v)", name, got, err)
		}
	}
}
