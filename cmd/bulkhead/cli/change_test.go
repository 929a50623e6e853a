package cli_test

import (
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestRulesAndNetworksChange(t *testing.T) {
	s := newSite(t, false)
	s.zone.AddDriver("bulkhead/sim", []string{"network"})
	network := s.zone.Add(&resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, Name: "changing"},
		Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.9.0.0/24"},
	})
	rule := s.zone.Add(&resources.Rule{
		Meta: resources.Meta{Kind: resources.KindRule, Name: "web"},
		Spec: resources.RuleSpec{NetworkID: resources.NetworkID(network), Type: "ingress", Protocol: "tcp", Ports: "80"},
	})
	last := func() resources.Submission {
		all := s.zone.Submissions()
		return all[len(all)-1]
	}
	r := s.run("rule", "update", "web", "--ports", "81", "--cidr", "192.0.2.0/24,198.51.100.0/24", "--priority", "5")
	if r.code != 0 {
		t.Fatalf("changing a rule: exit %d: %s", r.code, r.err)
	}
	changed, ok := last().Resource.(*resources.Rule)
	if !ok || last().Target.ID != rule || changed.Spec.Ports != "81" || changed.Spec.Priority != 5 ||
		changed.Spec.Protocol != "tcp" || !slices.Equal(changed.Spec.CIDRs, []string{"192.0.2.0/24", "198.51.100.0/24"}) {
		t.Errorf("submitted %+v", last().Resource)
	}
	r = s.run("network", "update", "changing", "--dns-server", "192.0.2.53")
	if net, ok := last().Resource.(*resources.Network); r.code != 0 || !ok ||
		!slices.Equal(net.Spec.DNSServers, []string{"192.0.2.53"}) {
		t.Errorf("changing a network: exit %d: %s; submitted %+v", r.code, r.err, last().Resource)
	}
	if r := s.run("network", "update", "changing", "--cidr", "10.8.0.0/24"); r.code == 0 {
		t.Error("the range of a network is changed")
	}
}
