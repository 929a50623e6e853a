package operationstest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/operationstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	product    = "bulkhead/sim"
	newVersion = "1.1.0"
)

// TestSwapMovesWhateverRests: something of each kind, in each phase that it can rest in, neither holds a swap nor sends
// it back, and is in that phase afterwards.
func TestSwapMovesWhateverRests(t *testing.T) {
	for _, kind := range operations.Rebindable() {
		for phase := range resources.NewVocabulary()[kind].Phases {
			if underWay(phase) || phase == resources.PhasePending || phase == resources.PhaseDeleted {
				continue
			}
			if kind == resources.KindNic && phase == resources.PhaseFailed {
				continue // its machine is in the way of making it so; the same table rules it
			}
			t.Run(string(kind)+"/"+string(phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					t.Cleanup(func() { time.Sleep(10 * time.Second) }) // the actor library's own timers
					z := actorstest.New(t)
					start := scenario(t, resources.KindSwap, "start").Prepare(z)
					ref := plant(t, z, unused(z, kind), phase)
					if op := z.Ask(start); op.Phase != resources.PhaseSucceeded {
						t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
					}
					checkMoved(t, z, ref, phase)
				})
			})
		}
	}
}

// underWay are the phases that last as long as an operation.
func underWay(phase resources.Phase) bool {
	for _, d := range resources.Definitions() {
		for _, a := range d.Actions {
			if a.During == phase {
				return true
			}
		}
	}
	return false
}

func scenario(t *testing.T, kind resources.Kind, action string) operationstest.Scenario {
	t.Helper()
	for _, s := range operationstest.Scenarios() {
		if s.Kind == kind && s.Action == action {
			return s
		}
	}
	t.Fatalf("there is no scenario of %s %s", action, kind)
	return operationstest.Scenario{}
}

// unused is a resource of a kind that nothing is in or on, where there is one, else any.
func unused(z *actorstest.Zone, kind resources.Kind) resources.Ref {
	meta := resources.Meta{Kind: kind, Name: "unused"}
	var r resources.Resource
	switch kind {
	case resources.KindHost:
		r = &resources.Host{Meta: meta, Spec: resources.HostSpec{Driver: product}}
	case resources.KindPool:
		r = &resources.Pool{Meta: meta, Spec: resources.PoolSpec{Driver: product}}
	case resources.KindImageStore:
		r = &resources.ImageStore{Meta: meta, Spec: resources.ImageStoreSpec{Driver: product}}
	case resources.KindNetwork:
		r = &resources.Network{Meta: meta, Spec: resources.NetworkSpec{Driver: product, CIDR: "10.77.0.0/24"}}
	case resources.KindVolume:
		r = &resources.Volume{Meta: meta, Spec: resources.VolumeSpec{SizeBytes: 1 << 30}}
	default:
		all, err := z.List(resources.Query{Kind: kind})
		if err != nil || len(all) == 0 {
			return resources.Ref{}
		}
		return all[0].Metadata().Ref()
	}
	return resources.Ref{Kind: kind, ID: z.Must(r)}
}

// plant has a resource be in a phase, as if operations on it had been abandoned.
func plant(t *testing.T, z *actorstest.Zone, ref resources.Ref, phase resources.Phase) resources.Ref {
	t.Helper()
	var found resources.Resource
	var owner persistence.Fence
	err := z.Machine.View(func(v *persistence.View) (err error) {
		if found, err = v.Get(ref); err != nil {
			return err
		}
		owners, err := v.Owners()
		owner.Shard = persistence.ShardOf(ref, len(owners))
		owner.Node, owner.Epoch = owners[owner.Shard].Node, owners[owner.Shard].Epoch
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range way(resources.NewVocabulary()[ref.Kind].Phases, found.Metadata().Phase, phase) {
		if found, err = z.Machine.Codec().Clone(found); err != nil {
			t.Fatal(err)
		}
		m := found.Metadata()
		m.Phase = next
		doc, err := z.Machine.Codec().Seal(found)
		if err != nil {
			t.Fatal(err)
		}
		done, err := z.Propose(t.Context(), &persistence.Commit{Fence: owner, Resource: doc, BaseRevision: m.Revision})
		if err != nil {
			t.Fatal(err)
		}
		found = done.Resource
	}
	return ref
}

// way is a shortest one from a phase to another.
func way(table resources.Table, from, to resources.Phase) []resources.Phase {
	ways := [][]resources.Phase{{from}}
	for seen := map[resources.Phase]bool{}; len(ways) > 0; ways = ways[1:] {
		last := ways[0][len(ways[0])-1]
		if last == to {
			return ways[0][1:]
		}
		if seen[last] {
			continue
		}
		seen[last] = true
		for _, next := range table[last] {
			ways = append(ways, append(slices.Clone(ways[0]), next))
		}
	}
	return nil
}

func checkMoved(t *testing.T, z *actorstest.Zone, ref resources.Ref, want resources.Phase) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		r, err := v.Get(ref)
		if err != nil {
			return err
		}
		m := r.Metadata()
		well := want == resources.PhaseDegraded && m.Phase == resources.PhaseReady // it was looked after since
		if m.Phase != want && !well {
			t.Errorf("%s is %s, and was %s", ref, m.Phase, want)
		}
		versions := map[string]int{}
		err = v.EachBound(product, func(_ resources.Resource, b *persistence.Binding) bool {
			versions[b.Version]++
			return true
		})
		if len(versions) != 1 || versions[newVersion] == 0 {
			t.Errorf("bound are %v", versions)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
