package layout_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
)

func TestInterfaceNamesFitAndDiffer(t *testing.T) {
	longest := strings.Repeat("x", 63)
	seen := map[string]bool{}
	for _, name := range []func(string) string{
		layout.HostLink, layout.Port, layout.Tap, layout.NicBridge, layout.NicLink,
	} {
		for _, id := range []string{"a", "b", longest} {
			made := name(id)
			if len(made) > 15 || seen[made] {
				t.Errorf("%q is too long or was there before", made)
			}
			seen[made] = true
		}
	}
}

// TestNamesNeverChange holds on to the names that exist on running hosts.
func TestNamesNeverChange(t *testing.T) {
	for got, want := range map[string]string{
		layout.Hash("net-one"):             "ehbvjkgfct",
		layout.NetworkSpace("net-one"):     "bhn-ehbvjkgfct",
		layout.MachineSpace("mac-one"):     "bh-" + layout.Hash("mac-one"),
		layout.DHCPUnit("net-one"):         "dhcp-ehbvjkgfct",
		layout.DNSUnit("net-one"):          "dns-ehbvjkgfct",
		layout.NetworkLabel("net-one"):     "bulkhead network net-one",
		layout.MachineLabel("mac-one"):     "bulkhead machine mac-one",
		layout.BridgeLabel("net-one", "s"): "bulkhead network net-one s",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestLabelsSayWhatWasWritten(t *testing.T) {
	id := rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`)
	hostname := rapid.OneOf(rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`), rapid.Just("secondary"))
	rapid.Check(t, func(t *rapid.T) {
		nic := layout.Nic{
			ID: id.Draw(t, "id"), Machine: id.Draw(t, "machine"), Hostname: hostname.Draw(t, "hostname"),
			MAC:       net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac")),
			Address:   netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))),
			Secondary: rapid.Bool().Draw(t, "secondary"),
		}
		if len(nic.Label()) > 255 {
			t.Errorf("%q is longer than Linux keeps", nic.Label())
		}
		read, err := layout.ParseNic(nic.Label())
		if err != nil || read.Label() != nic.Label() || read.Secondary != nic.Secondary {
			t.Errorf("%q was read as %v, %v", nic.Label(), read, err)
		}
		read.Secondary = !read.Secondary
		if read.Label() == nic.Label() || !read.SameShape(nic) {
			t.Errorf("%q and %q", read.Label(), nic.Label())
		}
		read.Machine += "x"
		if read.SameShape(nic) {
			t.Errorf("%q and %q are the same", read.Label(), nic.Label())
		}
		network := id.Draw(t, "network")
		if got, ok := layout.ParseNetwork(layout.NetworkLabel(network)); !ok || got != network {
			t.Errorf("network %q was read as %q", network, got)
		}
	})
}

func TestTransitsAreEachOfferedOnce(t *testing.T) {
	pool := netip.MustParsePrefix("100.64.0.0/24")
	firsts := map[netip.Prefix]bool{}
	for _, network := range []string{"net-a", "net-b", "net-c", "net-d", "net-e"} {
		seen := map[netip.Prefix]bool{}
		for transit := range layout.Transits(pool, network) {
			if len(seen) == 0 {
				firsts[transit.Subnet] = true
			}
			if seen[transit.Subnet] || !pool.Overlaps(transit.Subnet) || transit.Subnet.Bits() != layout.TransitBits {
				t.Fatalf("%s is offered %s", network, transit.Subnet)
			}
			seen[transit.Subnet] = true
			if transit != layout.TransitOf(transit.Host()) || !transit.Subnet.Contains(transit.Outer()) {
				t.Fatalf("%s has ends %s and %s", transit.Subnet, transit.Host(), transit.Outer())
			}
		}
		if len(seen) != 64 {
			t.Errorf("%s is offered %d, want 64", network, len(seen))
		}
	}
	if len(firsts) < 4 {
		t.Errorf("five networks begin at %d places", len(firsts))
	}
	for transit := range layout.Transits(netip.MustParsePrefix("10.0.0.0/8"), "net-a") {
		if got := transit.Subnet.Masked(); got != transit.Subnet {
			t.Errorf("%s is not a subnet", got)
		}
		break
	}
	for range layout.Transits(netip.MustParsePrefix("10.0.0.0/31"), "net-a") {
		t.Error("a /31 has no /30")
	}
}

func FuzzParseNic(f *testing.F) {
	f.Add("bulkhead nic nic-a mac-a 52:54:00:00:00:01 10.20.0.5 web")
	f.Add("bulkhead nic nic-a mac-a 52:54:00:00:00:01 10.20.0.5 web secondary")
	f.Add("bulkhead nic a b c d e")
	f.Fuzz(func(t *testing.T, label string) {
		nic, err := layout.ParseNic(label)
		if err == nil && nic.Label() != label {
			t.Errorf("%q was read as %q", label, nic.Label())
		}
	})
}
