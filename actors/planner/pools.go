package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Want is what a volume needs of a pool.
type Want struct {
	Bytes uint64
	// Pool, if not empty, is the one.
	Pool resources.PoolID
	Tags []string
	// Host, if not nil, must reach the pool.
	Host *resources.Host
	// Store, if not nil, has the template that the volume begins as a copy of.
	Store *resources.ImageStore
	Nodes Nodes
}

// Pools chooses a pool for a volume among candidates.
func Pools(w Want, candidates []*resources.Pool) resources.Choice {
	choice := resources.Choice{For: "pool", Refused: []resources.Reason{}}
	for _, p := range candidates {
		if why := refusePool(w, p); why != nil {
			why.Candidate, why.Name = p.Ref(), p.Name
			choice.Refused = append(choice.Refused, *why)
			continue
		}
		score := share(p.Capacity().Minus(p.Status.Reserved).StorageBytes-w.Bytes, p.Capacity().StorageBytes)
		if choice.Chosen == nil || score > choice.Score || score == choice.Score && p.ID < choice.Chosen.ID {
			ref := p.Ref()
			choice.Chosen, choice.Name, choice.Score = &ref, p.Name, score
		}
	}
	slices.SortFunc(choice.Refused, func(a, b resources.Reason) int { return cmp.Compare(a.Candidate.ID, b.Candidate.ID) })
	return choice
}

func refusePool(w Want, p *resources.Pool) *resources.Reason {
	for _, test := range []func(Want, *resources.Pool) *resources.Reason{
		poolAsked, poolReady, poolNode, poolReach, poolTags, poolThreshold, poolSpace,
	} {
		if why := test(w, p); why != nil {
			return why
		}
	}
	return nil
}

func poolAsked(w Want, p *resources.Pool) *resources.Reason {
	if w.Pool == "" || string(w.Pool) == p.ID {
		return nil
	}
	return &resources.Reason{
		Check: "placement", Needed: string(w.Pool), Available: p.ID,
		Message: "another pool was asked for",
	}
}

func poolReady(w Want, p *resources.Pool) *resources.Reason {
	if p.Phase != resources.PhaseReady {
		return &resources.Reason{
			Check: "phase", Needed: "ready", Available: string(p.Phase),
			Message: "the pool is " + string(p.Phase),
		}
	}
	if p.Spec.Unschedulable && w.Pool == "" {
		return &resources.Reason{Check: "schedulable", Message: "the pool takes no new volumes"}
	}
	return nil
}

func poolReach(w Want, p *resources.Pool) *resources.Reason {
	if w.Host == nil {
		return nil
	}
	if p.Spec.HostID != "" && string(p.Spec.HostID) != w.Host.ID {
		return &resources.Reason{
			Check: "scope", Needed: w.Host.ID, Available: string(p.Spec.HostID),
			Message: "the host does not reach the pool",
		}
	}
	if p.Spec.ClusterID != "" && p.Spec.ClusterID != w.Host.Spec.ClusterID {
		return &resources.Reason{
			Check: "scope", Needed: string(w.Host.Spec.ClusterID),
			Available: string(p.Spec.ClusterID), Message: "the host's cluster does not reach the pool",
		}
	}
	return nil
}

func poolTags(w Want, p *resources.Pool) *resources.Reason {
	why := missingTag(w.Tags, p.Spec.Tags)
	if why != nil {
		why.Check = "tags"
	}
	return why
}

func poolThreshold(w Want, p *resources.Pool) *resources.Reason {
	if p.Status.TotalBytes == 0 {
		return nil
	}
	used := float64(p.Status.UsedBytes) / float64(p.Status.TotalBytes)
	if used < p.Threshold() {
		return nil
	}
	return &resources.Reason{
		Check: "threshold", Needed: fmt.Sprintf("less than %.0f %% used", 100*p.Threshold()),
		Available: fmt.Sprintf("%.0f %% used", 100*used), Message: "the pool is filled up to its threshold",
	}
}

func poolSpace(w Want, p *resources.Pool) *resources.Reason {
	free := p.Capacity().Minus(p.Status.Reserved).StorageBytes
	if w.Bytes <= free {
		return nil
	}
	return &resources.Reason{
		Check: "space", Needed: size(w.Bytes), Available: size(free),
		Message: "not enough space is left",
	}
}
