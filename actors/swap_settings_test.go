package actors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// heard is which settings each version was told, in any call.
type heard struct {
	mu  sync.Mutex
	all map[string]map[string]bool
}

func (h *heard) note(_ context.Context, version, _ string, request any) error {
	r, ok := request.(interface{ GetCall() *driverpb.Call })
	if !ok {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for key := range r.GetCall().GetProperties().GetFields() {
		if h.all[version] == nil {
			h.all[version] = map[string]bool{}
		}
		h.all[version][key] = true
	}
	return nil
}

// poolOf is a pool with settings and a volume in it.
func (z *versions) poolOf(name string, settings map[string]any) (pool, volume resources.Ref) {
	z.t.Helper()
	pool = resources.Ref{Kind: resources.KindPool, ID: z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: name},
		Spec: resources.PoolSpec{Driver: "bulkhead/sim", Properties: settings},
	})}
	return pool, resources.Ref{Kind: resources.KindVolume, ID: z.Must(&resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: name},
		Spec: resources.VolumeSpec{PoolID: resources.PoolID(pool.ID), SizeBytes: gib},
	})}
}

// TestAVersionHearsOnlyWhatItDescribes: what is given for the next one waits for that, and what only the one of before
// knew waits for the way back.
func TestAVersionHearsOnlyWhatItDescribes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersionsWith(t, 0, map[string][]resources.Property{
			oldVersion: {{Key: "mode", Scope: "pool", Type: "string"}, {Key: "both", Scope: "pool", Type: "string"}},
			newVersion: {
				{Key: "quota", Scope: "pool", Type: "number", Required: true},
				{Key: "both", Scope: "pool", Type: "string"},
				{Key: "mode", Scope: "volume", Type: "string"},
			},
		})
		h := &heard{all: map[string]map[string]bool{}}
		z.Behave(h.note)
		z.Do(z.pool, "delete", resources.Arguments{})
		_, volume := z.poolOf("full", map[string]any{"mode": "slow", "quota": 5.0, "both": "x"})
		grow := func(to uint64) {
			t.Helper()
			if op := z.Do(volume, "grow", resources.Arguments{SizeBytes: to}); op.Phase != resources.PhaseSucceeded {
				t.Fatalf("growing ended as %s: %v", op.Phase, op.Error)
			}
		}
		grow(2 * gib)
		_, start := z.swap(resources.SwapSpec{})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		grow(3 * gib)
		h.mu.Lock()
		defer h.mu.Unlock()
		const want = "map[1.0.0:map[both:true mode:true] 1.1.0:map[both:true quota:true]]"
		if got := fmt.Sprint(h.all); got != want {
			t.Errorf("they heard %s, want %s", got, want)
		}
	})
}

// TestSwapWaitsForSettingsOfResources: what the new version can't do without must be there before it begins, also in
// the pool of what is moved alone; what it would refuse is told.
func TestSwapWaitsForSettingsOfResources(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersionsWith(t, 0, map[string][]resources.Property{
			oldVersion: {
				{Key: "level", Scope: "pool", Type: "number"}, {Key: "needed", Scope: "pool", Type: "string", Required: true},
			},
			newVersion: {
				{Key: "quota", Scope: "pool", Type: "number", Required: true},
				{Key: "easy", Scope: "pool", Type: "string", Required: true, Default: "x"},
				{Key: "level", Scope: "pool", Type: "number", Max: new(3.0), Label: "Level"},
				{Key: "tier", Scope: "volume", Type: "string", Required: true, Label: "Tier"},
				{Key: "needed", Scope: "pool", Type: "string", Required: true},
			},
		})
		z.Do(z.pool, "delete", resources.Arguments{})
		good, _ := z.poolOf("good", map[string]any{"quota": 5.0, "level": 2.0})
		bad, inBad := z.poolOf("bad", map[string]any{"level": 7.0})
		still, inStill := z.poolOf("still", nil)
		z.suspend(still, true)
		z.suspend(inStill, true)

		missing := "pool/quota of " + bad.ID
		for name, scope := range map[string]resources.SwapScope{
			"all": {}, "one volume": {Resource: inBad}, "the pool": {Owner: bad},
		} {
			id := z.Must(&resources.Swap{
				Meta: resources.Meta{Kind: resources.KindSwap},
				Spec: resources.SwapSpec{To: resources.DriverID(z.new), Scope: scope},
			})
			plan := z.get(id).Status.Plan
			if !slices.Equal(plan.PropertiesMissing, []string{missing}) {
				t.Errorf("%s: missing are %v, want %s alone", name, plan.PropertiesMissing, missing)
			}
			words := strings.Join(plan.PropertiesInWords, "; ")
			for _, want := range []string{
				"! " + bad.String() + ": Level (level) must be at most 3", "! " + inBad.String() + ": Tier (tier)",
			} {
				if !strings.Contains(words, want) {
					t.Errorf("%s: the plan says %q, not %q", name, words, want)
				}
			}
			if strings.Contains(words, "! "+good.String()) {
				t.Errorf("%s: the plan blames what is well: %q", name, words)
			}
			_, err := z.Engine().Submit(t.Context(), resources.Submission{
				Action: "start", Target: resources.Ref{Kind: resources.KindSwap, ID: id},
			})
			if e := resources.AsError(err); err == nil || len(e.Fields) == 0 || e.Fields[0].Code != "property-missing" ||
				!strings.Contains(e.Fields[0].Message, missing) {
				t.Errorf("%s: it begins, or is refused with %v", name, err)
			}
		}
		pool := *actorstest.Get[*resources.Pool](z.Zone, resources.KindPool, bad.ID)
		pool.Spec.Properties = map[string]any{"level": 7.0, "quota": 1.0}
		op := z.Ask(resources.Submission{Action: "update", Target: bad, Resource: &pool, IfRevision: pool.Revision})
		if op.Phase != resources.PhaseSucceeded {
			t.Fatalf("giving it ended as %s: %v", op.Phase, op.Error)
		}
		_, start := z.swap(resources.SwapSpec{})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("when it was given the swap ended as %s: %v", op.Phase, op.Error)
		}
	})
}

// TestManyMissingSettingsAreCounted: a plan names a few.
func TestManyMissingSettingsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersionsWith(t, 0, map[string][]resources.Property{
			oldVersion: {}, newVersion: {{Key: "quota", Scope: "pool", Type: "number", Required: true}},
		})
		for i := range 22 {
			z.Must(&resources.Pool{
				Meta: resources.Meta{Kind: resources.KindPool, Name: fmt.Sprintf("pool-%d", i)},
				Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
			})
		}
		id := z.Must(&resources.Swap{
			Meta: resources.Meta{Kind: resources.KindSwap}, Spec: resources.SwapSpec{To: resources.DriverID(z.new)},
		})
		if got := z.get(id).Status.Plan.PropertiesMissing; len(got) != 21 || got[20] != "and 3 more" {
			t.Errorf("it names %v", got)
		}
	})
}
