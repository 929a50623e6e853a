package ruleset_test

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
)

// accepted asks nft, in a network namespace that lives only for the question, to take transactions one after another.
func accepted(t rapid.TB, transactions ...string) string {
	t.Helper()
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, transaction := range transactions {
		script.WriteString("nft -f - <<'TRANSACTION'\n" + transaction + "TRANSACTION\n")
	}
	script.WriteString("nft -j -n list ruleset\n")
	command := exec.Command("unshare", "--net", "sh", "-c", script.String())
	var said strings.Builder
	command.Stderr = &said
	output, err := command.Output()
	if err != nil {
		t.Fatalf("nft (apt-get install nftables; needs root) does not take this: %v: %s\n%s", err, said.String(),
			strings.Join(transactions, "---\n"))
	}
	return string(output)
}

func prefixes() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		address := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		return netip.PrefixFrom(address, rapid.IntRange(0, 32).Draw(t, "bits"))
	})
}

func rules() *rapid.Generator[ruleset.Rule] {
	return rapid.Custom(func(t *rapid.T) ruleset.Rule {
		rule := ruleset.Rule{
			ID: rapid.StringN(1, 8, 8).Draw(t, "id"), Priority: rapid.Uint32Range(0, 2).Draw(t, "priority"),
			Kind:    rapid.SampledFrom([]ruleset.Kind{ruleset.Ingress, ruleset.Egress, ruleset.Forward}).Draw(t, "kind"),
			Allow:   rapid.Bool().Draw(t, "allow"),
			Remotes: rapid.SliceOfN(prefixes(), 0, 8).Draw(t, "remotes"),
		}
		if rule.Kind == ruleset.Forward {
			rule.Allow, rule.Protocol = true, rapid.SampledFrom([]uint8{ruleset.TCP, ruleset.UDP}).Draw(t, "protocol")
			rule.OuterPort = rapid.Uint16Range(1, 65535).Draw(t, "outer port")
			rule.Target = netip.AddrPortFrom(netip.MustParseAddr("10.20.0.7"), rapid.Uint16Range(1, 65535).Draw(t, "port"))
			return rule
		}
		rule.Protocol = rapid.SampledFrom([]uint8{0, ruleset.ICMP, ruleset.TCP, ruleset.UDP}).Draw(t, "protocol")
		if rule.Protocol != ruleset.ICMP && rapid.Bool().Draw(t, "ports") {
			rule.PortFrom = rapid.Uint16Range(1, 65535).Draw(t, "from")
			rule.PortTo = rapid.Uint16Range(rule.PortFrom, 65535).Draw(t, "to")
		}
		return rule
	})
}

func TestWhateverTheRulesNFTTakesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		edge := ruleset.Edge{
			CIDR: netip.MustParsePrefix("10.20.0.0/24"), Gateway: netip.MustParseAddr("10.20.0.1"),
			DHCP: rapid.Bool().Draw(t, "dhcp"), DNS: rapid.Bool().Draw(t, "dns"),
			Rules: rapid.SliceOfN(rules(), 0, 6).Draw(t, "rules"),
		}
		if rapid.Bool().Draw(t, "nat") {
			edge.Outer = netip.MustParseAddr("100.64.0.2")
		}
		once := accepted(t, edge.Text())
		again := accepted(t, ruleset.Edge{CIDR: edge.CIDR, Gateway: edge.Gateway}.Text(), edge.Text())
		if withoutHandles(once) != withoutHandles(again) {
			t.Errorf("it depends on what was there before:\n%s\n%s", once, again)
		}
	})
}

func TestRulesOfOnePriorityHaveOneOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(rules(), 0, 6, func(r ruleset.Rule) string { return r.ID }).Draw(t, "rules")
		sorted := slices.SortedFunc(slices.Values(all), ruleset.Compare)
		shuffled := slices.SortedFunc(slices.Values(rapid.Permutation(all).Draw(t, "shuffled")), ruleset.Compare)
		for i, rule := range sorted {
			if rule.ID != shuffled[i].ID {
				t.Fatalf("%v or %v, by the order in which they came", sorted, shuffled)
			}
			for _, later := range sorted[i+1:] {
				tie := rule.Priority == later.Priority
				if rule.Priority > later.Priority || tie && rule.Allow && !later.Allow ||
					tie && rule.Kind == ruleset.Forward && later.Kind != ruleset.Forward {
					t.Errorf("%+v is asked before %+v", rule, later)
				}
			}
		}
	})
}

func withoutHandles(listing string) string {
	var kept []string
	for part := range strings.SplitSeq(listing, `"handle": `) {
		kept = append(kept, strings.TrimLeft(part, "0123456789"))
	}
	return strings.Join(kept, "")
}

func TestMergedPrefixesCoverTheSameAndDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(prefixes(), 0, 12).Draw(t, "prefixes")
		merged := ruleset.Merge(all)
		for i, one := range merged {
			for _, other := range merged[i+1:] {
				if one.Overlaps(other) {
					t.Errorf("%s overlaps %s", one, other)
				}
			}
		}
		covered := func(address netip.Addr, by []netip.Prefix) bool {
			for _, prefix := range by {
				if prefix.Contains(address) {
					return true
				}
			}
			return false
		}
		for _, prefix := range all {
			if !covered(prefix.Masked().Addr(), merged) {
				t.Errorf("%s is lost in %v", prefix, merged)
			}
		}
		for _, prefix := range merged {
			if !covered(prefix.Addr(), all) {
				t.Errorf("%s was not there", prefix)
			}
		}
	})
}

func TestThePortsOfAGuardComeAndGoAlone(t *testing.T) {
	one := ruleset.Port{Interface: "p1", MAC: "52:54:00:00:00:01", Address: netip.MustParseAddr("10.20.0.5")}
	two := ruleset.Port{Interface: "p2", MAC: "52:54:00:00:00:02", Address: netip.MustParseAddr("10.20.0.6")}
	both := accepted(t, ruleset.Guard(), one.Admit(), two.Admit(), one.Admit(), ruleset.Guard())
	for _, part := range []string{`"p1", {"jump": {"target": "p1"}}`, `"p2", {"jump": {"target": "p2"}}`} {
		if !strings.Contains(both, part) {
			t.Errorf("%s is missing in %s", part, both)
		}
	}
	if n := strings.Count(both, `"chain": "prerouting"`); n != 1 {
		t.Errorf("%d rules send packets to the ports, want 1", n)
	}
	left := accepted(t, one.Admit(), two.Admit(), one.Expel(), one.Expel())
	if strings.Contains(left, `"p1"`) || !strings.Contains(left, `"p2"`) {
		t.Errorf("after one port went: %s", left)
	}
}

func TestTheHostsTableSaysWhatWasChanged(t *testing.T) {
	inner := netip.MustParseAddrPort("100.64.0.2:20001")
	lan := ruleset.Claim{Listen: netip.MustParseAddr("203.0.113.1"), Protocol: ruleset.TCP, Port: 80, Inner: inner}
	all := ruleset.Claim{Listen: netip.IPv4Unspecified(), Protocol: ruleset.UDP, Port: 53, Inner: inner}
	other := ruleset.Claim{
		Listen: netip.MustParseAddr("203.0.113.1"), Protocol: ruleset.TCP, Port: 81,
		Inner: netip.MustParseAddrPort("100.64.0.6:81"),
	}
	resolver := ruleset.Resolver{Link: "bht1", Address: netip.MustParseAddr("203.0.113.1")}
	first := ruleset.Change{
		AddOuters: []netip.Addr{inner.Addr(), other.Inner.Addr()}, AddClaims: []ruleset.Claim{lan, all, other},
		AddResolvers: []ruleset.Resolver{resolver}, MarkForwardingOff: true,
	}
	state, err := ruleset.ParseHost([]byte(accepted(t, first.Text(), ruleset.Change{}.Text())))
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Outers) != 2 || len(state.Claims) != 3 || len(state.Resolvers) != 1 || !state.ForwardingWasOff {
		t.Errorf("the table holds %+v", state)
	}
	for _, want := range []ruleset.Claim{lan, all, other} {
		found := false
		for _, claim := range state.Claims {
			found = found || claim == want
		}
		if !found {
			t.Errorf("%s is not in %v", want, state.Claims)
		}
	}
	leave := state.Without("bht1", []netip.Addr{inner.Addr()})
	state, err = ruleset.ParseHost([]byte(accepted(t, first.Text(), leave.Text())))
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Outers) != 1 || len(state.Claims) != 1 || state.Claims[0] != other || len(state.Resolvers) != 0 {
		t.Errorf("after one network left the table holds %+v", state)
	}
	if gone := accepted(t, first.Text(), ruleset.Drop()); strings.Contains(gone, "bulkhead") {
		t.Errorf("after the last one left: %s", gone)
	}
}

func TestParsePorts(t *testing.T) {
	const guard = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"map": {"name": "ports", "type": "ifname",
		"map": "verdict", "elem": [["p1", {"jump": {"target": "p1"}}], ["p2", {"jump": {"target": "p2"}}]]}}]}`
	for output, want := range map[string][]string{
		guard: {"p1", "p2"}, `{"nftables": [{"map": {"name": "ports"}}]}`: nil, `{}`: nil,
	} {
		if got, err := ruleset.ParsePorts([]byte(output)); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
	for _, output := range []string{`{"nftables": 1}`, `{"nftables": [{"map": {"name": "ports", "elem": [1]}}]}`} {
		if got, err := ruleset.ParsePorts([]byte(output)); err == nil {
			t.Errorf("%s is read as %v", output, got)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	f.Add([]byte(`{"nftables": [{"map": {"name": "ports", "elem": [["p1", {"jump": {"target": "p1"}}]]}}]}`))
	f.Fuzz(func(_ *testing.T, output []byte) { _, _ = ruleset.ParsePorts(output) })
}

func FuzzParseHost(f *testing.F) {
	f.Add([]byte(`{"nftables": [{"map": {"name": "claims", "elem": [[{"concat": ["1.2.3.4", "udp", 53]},` +
		` {"concat": ["100.64.0.2", 20000]}]]}}, {"set": {"name": "outers", "elem": ["100.64.0.2"]}}]}`))
	f.Add([]byte(`{"nftables": [{"map": {"name": "wildcards", "elem": [[{"concat": [6, 53]},` +
		` {"concat": ["1.1.1.1", 1]}]]}}]}`))
	f.Fuzz(func(t *testing.T, output []byte) {
		state, err := ruleset.ParseHost(output)
		if err != nil {
			return
		}
		for _, claim := range state.Claims {
			if claim.String() == "" {
				t.Error("a claim without words")
			}
		}
	})
}
