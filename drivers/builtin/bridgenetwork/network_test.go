package bridgenetwork_test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// answer makes the station a name server that knows one name.
func (s *station) answer(name, address string) {
	s.Helper()
	s.background("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--pid-file=", "--log-facility=-", "--user=root", "--address=/"+name+"/"+address)
}

func TestGuestsGetLeasesAndNamesAndReachEachOtherAndTheWorld(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.serve("203.0.113.2:80")
	outside.answer("example.test", "198.51.100.7")
	n := w.create("net-one", natSpec("10.20.0.0/24"), map[string]any{"leaseSeconds": 600.0})
	w.mustBeReady("network", n.id, n.handle)
	alpha, beta := n.mute("alpha", 0), n.guest("beta", 1)
	w.mustBeReady("nic", alpha.nic, alpha.handle)

	lease := alpha.configure()
	for name, want := range map[string]string{
		"ip": "10.20.0.10", "mask": "24", "router": "10.20.0.1", "dns": "10.20.0.1", "domain": "internal", "lease": "600",
		"mtu": "1500", "hostname": "alpha", "serverid": "10.20.0.1",
	} {
		if lease[name] != want {
			t.Errorf("the lease says %s=%q, want %q", name, lease[name], want)
		}
	}
	for _, address := range []string{"10.20.0.1", beta.address()} {
		if err := alpha.ping(address); err != nil {
			t.Errorf("alpha gets no echo from %s: %v", address, err)
		}
	}
	for name, want := range map[string]string{
		"beta.internal.": beta.address(), "alpha.internal.": alpha.address(), "beta.": beta.address(),
		"example.test.": "198.51.100.7",
	} {
		if got, err := alpha.resolve(name); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("alpha resolves %s to %v (%v), want %s", name, got, err, want)
		}
	}
	alpha.mustGet("203.0.113.2:80", "outside 203.0.113.1")
}

func TestNamesOfTheNetworkAreNotAskedOutside(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.answer("internal", "198.51.100.66")
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	if got, err := alpha.resolve("nobody.internal."); err == nil {
		t.Errorf("nobody.internal resolves to %v", got)
	}
}

func TestAnIsolatedNetworkHasNoOutside(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.serve("203.0.113.2:80")
	spec := natSpec("10.20.0.0/24")
	spec.Mode = "isolated"
	n := w.create("net-alone", spec)
	alpha, beta := n.mute("alpha", 0), n.guest("beta", 1)
	if lease := alpha.configure(); lease["router"] != "" || lease["dns"] != "10.20.0.1" {
		t.Errorf("the lease offers router %q and name server %q", lease["router"], lease["dns"])
	}
	if err := alpha.ping(beta.address()); err != nil {
		t.Errorf("alpha gets no echo from beta: %v", err)
	}
	if got, err := alpha.resolve("beta.internal."); err != nil || got[0] != beta.address() {
		t.Errorf("beta resolves to %v (%v)", got, err)
	}
	alpha.run("busybox", "ip", "route", "add", "default", "via", "10.20.0.1") // what a guest may try
	alpha.cannotGet("203.0.113.2:80")
	if _, there := n.facts["outerAddress"]; there {
		t.Errorf("an isolated network has an outer address: %v", n.facts)
	}
	err := n.apply(&driverpb.Rule{
		Type: "port-forward", Protocol: "tcp", ListenPort: 80, TargetAddress: alpha.address(), TargetPort: 80,
	})
	wantFault(t, err, driverpb.Class_CLASS_INVALID, "no-outside", "/type")
}

func TestNetworksAreIsolatedFromEachOtherAndTheHostFromGuests(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	one := w.create("net-one", natSpec("10.20.0.0/24"))
	two := w.create("net-two", natSpec("10.21.0.0/24"))
	alpha, gamma := one.guest("alpha", 0), two.guest("gamma", 0)
	gamma.serve(gamma.address() + ":80")
	hostService := hostStation(w)
	hostService.serve("0.0.0.0:8022")
	two.mustApply(
		&driverpb.Rule{Type: "ingress", Protocol: "any"}, // whatever the rules of the other network let in
		&driverpb.Rule{Type: "port-forward", ListenPort: 80, TargetAddress: gamma.address(), TargetPort: 80},
	)
	w.hostMustGet(two.outer()+":80", "gamma "+transitHost(t, two))
	for _, address := range []string{
		gamma.address() + ":80",         // there is no way
		two.outer() + ":80",             // for the host alone
		"203.0.113.1:8022",              // the host's own service
		transitHost(t, one) + ":8022",   // by its address towards the network
		transitHost(t, two) + ":8022",   // and towards another
		two.spec.GetGateway() + ":8022", // nobody's
	} {
		alpha.cannotGet(address)
	}
	outside.run("busybox", "ip", "route", "add", two.outer(), "via", "203.0.113.1")
	outside.cannotGet(two.outer() + ":80")
	outside.run("busybox", "ip", "route", "add", "10.21.0.0/24", "via", "203.0.113.1")
	outside.cannotGet(gamma.address() + ":80")
}

func TestAGuestMayAskTheHostsNameServerIfItIsTheUpstream(t *testing.T) {
	w := newWorld(t)
	w.outside()
	hostStation(w).answer("example.test", "198.51.100.7")
	spec := natSpec("10.20.0.0/24")
	spec.DnsServers = []string{"203.0.113.1"}
	n := w.create("net-one", spec)
	alpha := n.guest("alpha", 0)
	if got, err := alpha.resolve("example.test."); err != nil || got[0] != "198.51.100.7" {
		t.Errorf("example.test resolves to %v (%v)", got, err)
	}
}

func TestTheNameServersOfANetworkChangeUnderItsGuests(t *testing.T) {
	w := newWorld(t)
	w.outside().answer("example.test", "198.51.100.8")
	hostStation(w).answer("example.test", "198.51.100.7")
	spec := natSpec("10.20.0.0/24")
	spec.DnsServers = []string{"203.0.113.1"}
	n := w.create("net-one", spec)
	alpha := n.guest("alpha", 0)
	n.mustApply(&driverpb.Rule{Type: "egress", Action: "deny", Protocol: "icmp"})
	if got, err := alpha.resolve("example.test."); err != nil || got[0] != "198.51.100.7" {
		t.Errorf("at first example.test resolves to %v (%v)", got, err)
	}
	n.spec.DnsServers = []string{"203.0.113.2"}
	n.recreate()
	for name, want := range map[string]string{"example.test.": "198.51.100.8", "alpha.internal.": alpha.address()} {
		if got, err := alpha.resolve(name); err != nil || got[0] != want {
			t.Errorf("with another name server %s resolves to %v (%v), want %s", name, got, err, want)
		}
	}
	if !strings.Contains(list(t, n.inside()), "admin-prohibited") {
		t.Error("the rules are gone")
	}
	n.guest("beta", 1) // attached to what the network is now
	if got, err := alpha.resolve("example.test."); err != nil || got[0] != "198.51.100.8" {
		t.Errorf("after another nic example.test resolves to %v (%v)", got, err)
	}
}

func TestWithoutNamesGuestsAreSentToTheUpstreams(t *testing.T) {
	w := newWorld(t)
	w.outside()
	spec := natSpec("10.20.0.0/24")
	spec.Dns = false
	n := w.create("net-one", spec)
	if lease := n.mute("alpha", 0).configure(); lease["dns"] != "203.0.113.2" {
		t.Errorf("the lease offers name server %q", lease["dns"])
	}
	if n.facts["dns"] != "off" {
		t.Errorf("dns is %q", n.facts["dns"])
	}
}

func TestLargeFramesPass(t *testing.T) {
	w := newWorld(t)
	w.outside()
	spec := natSpec("10.20.0.0/24")
	spec.Mtu = 9000
	n := w.create("net-one", spec)
	alpha, beta := n.mute("alpha", 0), n.guest("beta", 1)
	if lease := alpha.configure(); lease["mtu"] != "9000" {
		t.Errorf("the lease says mtu=%q", lease["mtu"])
	}
	arrived := beta.receive(beta.address() + ":7")
	const payload = 9000 - 20 - 8 // what headers leave
	if err := alpha.sendWhole(beta.address()+":7", payload); err != nil {
		t.Fatalf("sending a packet of 9000 bytes: %v", err)
	}
	select {
	case size := <-arrived:
		if size != payload {
			t.Errorf("%d bytes arrived, want %d", size, payload)
		}
	case <-w.context().Done():
		t.Error("a packet of 9000 bytes does not arrive")
	}
}

func TestANetworkInUseIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	_, err := w.driver.Networks.DeleteNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", n.id, n.handle), Network: n.spec,
	})
	fault := wantFault(t, err, driverpb.Class_CLASS_CONFLICT, "network-in-use", "")
	if !strings.Contains(fault.GetMessage(), alpha.nic) {
		t.Errorf("the fault does not name the nic: %s", fault.GetMessage())
	}
	w.mustBeReady("network", n.id, n.handle)
}

func TestCreatingWhatIsThereSucceedsAndInAnotherShapeFails(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	n.mustApply(&driverpb.Rule{Type: "egress", Action: "deny", Protocol: "icmp"})
	outer := n.outer()
	n.recreate()
	n.handle = nil // as if the answer had been lost
	n.recreate()
	if n.outer() != outer {
		t.Errorf("the outer address changed from %s to %s", outer, n.outer())
	}
	if rules := n.inside(); !strings.Contains(list(t, rules), "admin-prohibited") {
		t.Error("to create it again threw its rules away")
	}
	if err := alpha.ping("10.20.0.1"); err != nil {
		t.Errorf("alpha gets no echo: %v", err)
	}
	for name, change := range map[string]func(*driverpb.NetworkSpec){
		"range":   func(s *driverpb.NetworkSpec) { s.Cidr, s.Gateway = "10.22.0.0/24", "" },
		"mtu":     func(s *driverpb.NetworkSpec) { s.Mtu = 1400 },
		"gateway": func(s *driverpb.NetworkSpec) { s.Gateway = "10.20.0.254" },
		"mode":    func(s *driverpb.NetworkSpec) { s.Mode = "isolated" },
		"dhcp":    func(s *driverpb.NetworkSpec) { s.Dhcp = false },
		"domain":  func(s *driverpb.NetworkSpec) { s.Domain = "elsewhere" },
	} {
		other := proto.CloneOf(n.spec)
		change(other)
		_, err := w.driver.Networks.CreateNetwork(w.context(), &driverpb.NetworkRequest{
			Call: w.call("network", n.id, nil), Network: other,
		})
		if fault := sdk.FaultOf(err); fault.GetCode() != "network-differs" {
			t.Errorf("with another %s: %v", name, err)
		}
	}
	w.mustBeReady("network", n.id, n.handle)
}

func TestStatAndObserveTellWhatThereIs(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	if err := n.inside().Do(func() error { return addStray("stray0", "br0") }); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("ip", "netns", "add", "strangers").Run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "strangers").Run() })

	seen := map[string]string{}
	observe := func(kind, id string) {
		err := w.driver.Resources.Observe(w.context(), w.call(kind, id, nil), func(o *driverpb.Observed) error {
			seen[o.GetName()] = o.GetState() + " " + o.GetResource().GetId()
			return nil
		})
		if err != nil {
			t.Errorf("observing %s: %v", kind, err)
		}
	}
	observe("network", n.id)
	observe("host", "host-one")
	wantFault(t, w.driver.Resources.Observe(w.context(), w.call("network", "net-nowhere", nil), nil),
		driverpb.Class_CLASS_NOT_FOUND, "network-missing", "")
	want := map[string]string{
		portOf(alpha): "present " + alpha.nic, "stray0": "foreign ", spaceOf(n): "present " + n.id, "strangers": "foreign ",
	}
	for name, state := range want {
		if seen[name] != state {
			t.Errorf("%s is observed as %q, want %q", name, seen[name], state)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("observed %v", seen)
	}
	reply, err := w.driver.Networks.StatNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", n.id, nil), Network: n.spec,
	})
	if err != nil || reply.GetFacts()["outerAddress"] != n.outer() || reply.GetBridge() != "br0" {
		t.Errorf("stat without a handle: %v, %v", reply, err)
	}
	_, err = w.driver.Networks.StatNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", "net-nowhere", nil), Network: n.spec,
	})
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "network-missing", "")
}

func TestAGoneNicLeavesNameAddressAndLeaseToTheNext(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha, beta := n.guest("alpha", 0), n.guest("beta", 1)
	served := w.units.started("dns-" + hashOf(n.id))
	alpha.detach()
	if got, err := beta.resolve("alpha.internal."); err == nil {
		t.Errorf("alpha is gone and still resolves to %v", got)
	}
	heir := n.mute("heir", 0) // the same address, another machine
	heir.spec.Mac = "52:54:00:99:99:99"
	if err := n.detach(heir.nic, heir.spec, heir.handle); err != nil {
		t.Fatal(err)
	}
	heir.stop()
	reply, err := n.attach(heir.nic, heir.spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	heir.reply, heir.handle = reply, reply.GetHandle()
	heir.boot()
	if lease := heir.configure(); lease["ip"] != alpha.address() {
		t.Errorf("heir got %q, want %s", lease["ip"], alpha.address())
	}
	if got, err := beta.resolve("heir.internal."); err != nil || got[0] != alpha.address() {
		t.Errorf("heir resolves to %v (%v)", got, err)
	}
	if now := w.units.started("dns-" + hashOf(n.id)); now != served {
		t.Errorf("names were interrupted %d times", now-served)
	}
}

func TestManyNicsOfManyNetworksComeAndGoAtOnce(t *testing.T) {
	w := newWorld(t)
	w.outside()
	const networks, nics = 3, 5
	var made sync.WaitGroup
	all := make([]*network, networks)
	for i := range all {
		all[i] = &network{world: w, id: fmt.Sprintf("net-%d", i)}
		all[i].spec = w.design(all[i].id, natSpec(fmt.Sprintf("10.2%d.0.0/24", i)))
		request := &driverpb.NetworkRequest{Call: w.call("network", all[i].id, nil), Network: all[i].spec}
		made.Go(func() {
			reply, err := w.driver.Networks.CreateNetwork(t.Context(), request)
			if err != nil {
				t.Errorf("creating %s: %v", all[i].id, err)
			}
			all[i].handle = reply.GetHandle()
		})
	}
	made.Wait()
	// Each machine has a nic in every network, so that networks meet in the machines' namespaces.
	for _, call := range []func(context.Context, *driverpb.NicCallRequest) error{
		func(ctx context.Context, request *driverpb.NicCallRequest) error {
			_, err := w.driver.Networks.AttachNic(ctx, request)
			return err
		},
		func(ctx context.Context, request *driverpb.NicCallRequest) error {
			_, err := w.driver.Networks.DetachNic(ctx, request)
			return err
		},
	} {
		var running sync.WaitGroup
		for i, n := range all {
			for j := range nics {
				id := fmt.Sprintf("nic-%d-%d", i, j)
				request := &driverpb.NicCallRequest{
					Call: w.call("nic", id, nil), Network: n.ref(), Spec: n.spec,
					Nic: nicSpec(fmt.Sprintf("mac-%d", j), fmt.Sprintf("52:54:00:00:%02x:%02x", i, j),
						fmt.Sprintf("10.2%d.0.%d", i, 10+j), id),
				}
				running.Go(func() {
					if err := call(t.Context(), request); err != nil {
						t.Errorf("%s: %v", id, err)
					}
				})
			}
		}
		running.Wait()
	}
	for _, n := range all {
		w.mustBeReady("network", n.id, n.handle)
		n.delete()
	}
}
