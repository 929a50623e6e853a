package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Host is a candidate with what the planner needs to know of it.
type Host struct {
	*resources.Host
	// Capacity is what can be given out, with over-commit.
	Capacity resources.Quantities
	// Groups and AntiGroups are the affinity and anti-affinity groups of the
	// machines placed on it.
	Groups, AntiGroups map[string]bool
}

// check is one condition a host must meet. It returns why it does not, or nil.
type check struct {
	name string
	test func(m *resources.Machine, h Host) *resources.Reason
}

func hostChecks(group map[resources.HostID]bool, ties []Tie) []check {
	return []check{
		{"phase", hostReady},
		{"schedulable", hostSchedulable},
		{"placement", hostPlacement},
		{CheckNode, func(_ *resources.Machine, h Host) *resources.Reason { return hostNode(ties, h) }},
		{"scope", func(_ *resources.Machine, h Host) *resources.Reason { return hostReach(ties, h) }},
		{"tags", hostTags},
		{"anti-affinity", hostAntiAffinity},
		{"affinity", func(m *resources.Machine, h Host) *resources.Reason { return hostAffinity(m, h, group) }},
		{"cpus", hostCPUs},
		{"memory", hostMemory},
	}
}

// Hosts chooses a host for a machine among candidates, on the node that ties keep it to.
func Hosts(m *resources.Machine, ties []Tie, candidates []Host) resources.Choice {
	choice := resources.Choice{For: "host", Refused: []resources.Reason{}}
	checks := hostChecks(affinityHosts(m, candidates), ties)
	var best *Host
	for i, h := range candidates {
		if why := refuse(m, h, checks); why != nil {
			choice.Refused = append(choice.Refused, *why)
			continue
		}
		if score := hostScore(m, h); best == nil || score > choice.Score ||
			score == choice.Score && h.ID < best.ID {
			best, choice.Score = &candidates[i], score
		}
	}
	if best != nil {
		ref := best.Ref()
		choice.Chosen, choice.Name = &ref, best.Name
	}
	slices.SortFunc(choice.Refused, func(a, b resources.Reason) int { return cmp.Compare(a.Candidate.ID, b.Candidate.ID) })
	return choice
}

func refuse(m *resources.Machine, h Host, checks []check) *resources.Reason {
	for _, c := range checks {
		if why := c.test(m, h); why != nil {
			why.Candidate, why.Name, why.Check = h.Ref(), h.Name, c.name
			return why
		}
	}
	return nil
}

// affinityHosts are the hosts that have a machine of the machine's group already.
func affinityHosts(m *resources.Machine, candidates []Host) map[resources.HostID]bool {
	hosts := map[resources.HostID]bool{}
	for _, h := range candidates {
		if m.Spec.Placement.Affinity != "" && h.Groups[m.Spec.Placement.Affinity] {
			hosts[resources.HostID(h.ID)] = true
		}
	}
	return hosts
}

func hostReady(_ *resources.Machine, h Host) *resources.Reason {
	if h.Phase == resources.PhaseReady {
		return nil
	}
	return &resources.Reason{Available: string(h.Phase), Needed: "ready", Message: "the host is " + string(h.Phase)}
}

func hostSchedulable(_ *resources.Machine, h Host) *resources.Reason {
	if !h.Spec.Unschedulable {
		return nil
	}
	return &resources.Reason{Message: "the host takes no new machines"}
}

func hostPlacement(m *resources.Machine, h Host) *resources.Reason {
	p := m.Spec.Placement
	if p.HostID != "" && string(p.HostID) != h.ID {
		return &resources.Reason{Needed: string(p.HostID), Available: h.ID, Message: "another host was asked for"}
	}
	if p.ClusterID != "" && p.ClusterID != h.Spec.ClusterID {
		return &resources.Reason{
			Needed: string(p.ClusterID), Available: string(h.Spec.ClusterID),
			Message: "the host is not in the cluster asked for",
		}
	}
	return nil
}

func hostTags(m *resources.Machine, h Host) *resources.Reason {
	return missingTag(m.Spec.Placement.HostTags, h.Spec.Tags)
}

func missingTag(wanted, has []string) *resources.Reason {
	for _, t := range wanted {
		if !slices.Contains(has, t) {
			return &resources.Reason{Needed: t, Message: fmt.Sprintf("it has no tag %q", t)}
		}
	}
	return nil
}

func hostAntiAffinity(m *resources.Machine, h Host) *resources.Reason {
	group := m.Spec.Placement.AntiAffinity
	if group == "" || !h.AntiGroups[group] {
		return nil
	}
	return &resources.Reason{Needed: group, Message: fmt.Sprintf("it has a machine of anti-affinity group %q", group)}
}

func hostAffinity(m *resources.Machine, h Host, group map[resources.HostID]bool) *resources.Reason {
	if len(group) == 0 || group[resources.HostID(h.ID)] {
		return nil
	}
	return &resources.Reason{
		Needed:  m.Spec.Placement.Affinity,
		Message: fmt.Sprintf("affinity group %q is on another host", m.Spec.Placement.Affinity),
	}
}

func hostCPUs(m *resources.Machine, h Host) *resources.Reason {
	if uint64(m.Spec.CPUs) > h.Status.CPUs {
		return &resources.Reason{
			Needed: fmt.Sprint(m.Spec.CPUs), Available: fmt.Sprint(h.Status.CPUs),
			Message: "the machine has more CPUs than the host",
		}
	}
	free := h.Capacity.Minus(h.Status.Reserved).CPUs
	if uint64(m.Spec.CPUs) <= free {
		return nil
	}
	return &resources.Reason{
		Needed: fmt.Sprint(m.Spec.CPUs), Available: fmt.Sprint(free),
		Message: "not enough CPUs are left",
	}
}

func hostMemory(m *resources.Machine, h Host) *resources.Reason {
	free := h.Capacity.Minus(h.Status.Reserved).MemoryBytes
	if m.Spec.MemoryBytes <= free {
		return nil
	}
	return &resources.Reason{Needed: size(m.Spec.MemoryBytes), Available: size(free), Message: "not enough memory is left"}
}

// hostScore spreads: the share of memory and CPUs that stays free, the scarcer of
// the two.
func hostScore(m *resources.Machine, h Host) float64 {
	left := h.Capacity.Minus(h.Status.Reserved.Plus(m.Needs()))
	return min(share(left.MemoryBytes, h.Capacity.MemoryBytes), share(left.CPUs, h.Capacity.CPUs))
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// size writes bytes for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), 0
	for value >= unit && prefix < len("KMGTPE") {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix-1])
}
