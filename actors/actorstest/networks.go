package actorstest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Deviations lists the networks whose rules or name servers in the hardware are
// not those of the state, and the nics that are a way out there and should not be,
// or the other way round, and the volumes and snapshots that have another size.
func (z *Zone) Deviations() []string {
	z.t.Helper()
	truth, err := z.World.Truth()
	if err != nil {
		z.t.Fatalf("reading the truth: %v", err)
	}
	found := z.otherSizes(truth)
	for _, o := range truth.Objects(simworld.KindNetwork) {
		if must, _ := z.reality(resources.Ref{Kind: resources.KindNetwork, ID: o.ID}); !must || o.Detail == nil {
			continue
		}
		n := Get[*resources.Network](z, resources.KindNetwork, o.ID)
		if want := strings.Join(n.Spec.DNSServers, " "); o.Detail.Facts["dnsServers"] != want {
			found = append(found, fmt.Sprintf("network %s asks %q, the state says %q", o.ID, o.Detail.Facts["dnsServers"], want))
		}
		if has, want := z.rulesIn(o), z.rulesOf(o.ID); !slices.Equal(has, want) {
			found = append(found, fmt.Sprintf("network %s has the rules %v, the state says %v", o.ID, has, want))
		}
	}
	for _, o := range truth.Objects(simworld.KindNic) {
		must, _ := z.reality(resources.Ref{Kind: resources.KindNic, ID: o.ID})
		if !must || o.Detail == nil {
			continue
		}
		if want := z.secondary(o.ID); o.Detail.Facts["secondary"] != strconv.FormatBool(want) {
			found = append(found, fmt.Sprintf("nic %s is secondary: %s, the state says %v", o.ID,
				o.Detail.Facts["secondary"], want))
		}
	}
	return found
}

// otherSizes lists the volumes and snapshots whose size in the hardware is not that of the state.
func (z *Zone) otherSizes(truth *simworld.Truth) (found []string) {
	z.t.Helper()
	for _, o := range truth.Objects(simworld.KindVolume, simworld.KindSnapshot) {
		kind, want := resources.Kind(o.Kind), uint64(0)
		if must, _ := z.reality(resources.Ref{Kind: kind, ID: o.ID}); !must {
			continue
		}
		if kind == resources.KindVolume {
			want = Get[*resources.Volume](z, kind, o.ID).Status.SizeBytes
		} else {
			want = Get[*resources.Snapshot](z, kind, o.ID).Status.SizeBytes
		}
		if o.Bytes != want {
			found = append(found, fmt.Sprintf("%s %s has %d bytes, the state says %d", kind, o.ID, o.Bytes, want))
		}
	}
	return found
}

// secondary tells whether another nic than this one is its machine's way out: the
// first in a network that is not isolated.
func (z *Zone) secondary(id string) bool {
	z.t.Helper()
	nic := Get[*resources.Nic](z, resources.KindNic, id)
	for _, other := range Get[*resources.Machine](z, resources.KindMachine, string(nic.Spec.MachineID)).Status.NicIDs {
		n := Get[*resources.Nic](z, resources.KindNic, string(other))
		if Get[*resources.Network](z, resources.KindNetwork, string(n.Spec.NetworkID)).Spec.Mode != "isolated" {
			return n.ID != id
		}
	}
	return false
}

// rulesIn reads the rules that the hardware has.
func (z *Zone) rulesIn(o simworld.Object) []string {
	z.t.Helper()
	var rules []string
	for _, text := range o.Detail.Rules {
		var r driverpb.Rule
		if err := protojson.Unmarshal([]byte(text), &r); err != nil {
			z.t.Fatalf("reading a rule of network %s: %v", o.ID, err)
		}
		rules = append(rules, fmt.Sprint(r.GetResource().GetId(), " ", r.GetPortFrom(), "-", r.GetPortTo(), r.GetCidrs(),
			r.GetPriority(), " ", r.GetListenPort(), ">", r.GetTargetPort()))
	}
	slices.Sort(rules)
	return rules
}

// rulesOf reads the rules that the state has in force.
func (z *Zone) rulesOf(network string) []string {
	z.t.Helper()
	var rules []string
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindRule, map[string]string{"network": network}, func(r resources.Resource) bool {
			if rule, ok := r.(*resources.Rule); ok && rule.Status.InForce {
				from, to, _ := rule.Spec.PortRange()
				rules = append(rules, fmt.Sprint(rule.ID, " ", from, "-", to, rule.Spec.CIDRs, rule.Spec.Priority, " ",
					rule.Spec.ListenPort, ">", rule.Spec.TargetPort))
			}
			return true
		})
	})
	if err != nil {
		z.t.Fatalf("reading the rules: %v", err)
	}
	slices.Sort(rules)
	return rules
}
