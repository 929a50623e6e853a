package actors_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// about is the id of the resource that a call is about.
func about(request any) string {
	asked, ok := request.(interface{ GetCall() *driverpb.Call })
	if !ok {
		return ""
	}
	return asked.GetCall().GetResource().GetId()
}

// What a version was making when the rest was moved goes to the new version as well, and back with the rest.
func TestSwapMovesWhatIsJustBeingMade(t *testing.T) {
	for name, swapped := range map[string]bool{"by the old version": true, "by the new version": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, 3)
				var begun atomic.Bool
				slow := newVersion
				if swapped {
					slow = oldVersion
				}
				z.Behave(func(ctx context.Context, version, method string, _ any) error {
					if version == slow && method == "CreateVolume" {
						begun.Store(true)
						select {
						case <-time.After(10 * time.Minute):
						case <-ctx.Done():
						}
					}
					return nil
				})
				begin := func() *resources.Operation {
					op := z.Submit(resources.Submission{
						Action: "create", Target: resources.Ref{Kind: resources.KindVolume},
						Resource: &resources.Volume{
							Meta: resources.Meta{Kind: resources.KindVolume, Name: "slow"}, Spec: resources.VolumeSpec{SizeBytes: gib},
						},
					})
					for !begun.Load() {
						time.Sleep(time.Second)
					}
					return op
				}
				var made *resources.Operation
				want, phase := oldVersion, resources.PhaseRolledBack
				spec := resources.SwapSpec{SettleSeconds: 3600}
				if swapped {
					made, want, phase, spec.SettleSeconds = begin(), newVersion, resources.PhaseCommitted, 10
				}
				id, start := z.swap(spec)
				if !swapped {
					for z.bound()[oldVersion] > 0 {
						time.Sleep(time.Second)
					}
					made = begin()
					z.Cancel(start.ID)
				}
				z.Wait(start.ID)
				if s := z.get(id); s.Phase != phase {
					t.Fatalf("the swap is %s", s.Phase)
				}
				if op := z.Wait(made.ID); op.Phase != resources.PhaseSucceeded {
					t.Errorf("the volume: %s: %v", op.Phase, op.Error)
				}
				if got := z.bound(); got[want] != 5 || len(got) != 1 {
					t.Errorf("bound are %v, want all to %s", got, want)
				}
			})
		})
	}
}

// What a driver can't find any more can be moved, and back, and keeps nothing else from it.
func TestSwapMovesWhatIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 5)
		if err := z.World.Vanish(simworld.Key{Kind: simworld.KindVolume, Scope: z.pool.ID, ID: z.volumes[2].ID}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute) // it is noted
		id, start := z.swap(resources.SwapSpec{})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		if got := z.bound(); got[newVersion] != 6 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
		back := z.Do(resources.Ref{Kind: resources.KindSwap, ID: id}, "roll-back", resources.Arguments{})
		if got := z.bound(); back.Phase != resources.PhaseSucceeded || got[oldVersion] != 6 || len(got) != 1 {
			t.Errorf("rolled back as %s: %v; bound are %v", back.Phase, back.Error, got)
		}
	})
}

// What is lost and nobody has noted is a reason to go back, and keeps nothing from it either.
func TestSwapGoesBackForWhatIsLostUnnoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 5)
		lost := z.volumes[2]
		if err := z.World.Vanish(simworld.Key{Kind: simworld.KindVolume, Scope: z.pool.ID, ID: lost.ID}); err != nil {
			t.Fatal(err)
		}
		_, start := z.swap(resources.SwapSpec{ObserveSeconds: 1})
		op := z.Wait(start.ID)
		if op.Phase != resources.PhaseFailed || op.Error == nil || len(op.Error.Reasons) != 1 ||
			op.Error.Reasons[0].Candidate != lost {
			t.Errorf("the swap ended as %s: %+v", op.Phase, op.Error)
		}
		if got := z.bound(); got[oldVersion] != 6 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
	})
}

// What the new version has deleted and says that it could not is moved back all the same: the old one finds nothing,
// and deletes the record.
func TestSwapGoesBackThoughTheNewVersionDeleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		down := sdk.Transient("driver-unavailable", "it does not run")
		z.Behave(func(_ context.Context, version, method string, request any) error {
			if version != newVersion || method != "DeleteVolume" {
				return nil
			}
			key := simworld.Key{Kind: simworld.KindVolume, Scope: z.pool.ID, ID: about(request)}
			if err := z.World.Vanish(key); err != nil {
				t.Log(err) // it is gone already
			}
			return down
		})
		id, start := z.swap(resources.SwapSpec{Canaries: []resources.Ref{z.volumes[0]}})
		for z.bound()[newVersion] == 0 {
			time.Sleep(time.Second)
		}
		deletion := z.Submit(resources.Submission{Action: "delete", Target: z.volumes[0]})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseFailed || z.get(id).Phase != resources.PhaseRolledBack {
			t.Errorf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		if op := z.Wait(deletion.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("the deletion: %s: %v", op.Phase, op.Error)
		}
		if got := z.bound(); got[oldVersion] != 4 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
	})
}

// What is usual is known from before the first was moved, also to who takes the swap up after a crash in the middle.
func TestSwapKnowsWhatIsUsualAfterACrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 6)
		var killed atomic.Bool
		z.Behave(func(ctx context.Context, version, method string, request any) error {
			switch {
			case version == newVersion && method == "Probe" && about(request) != "":
				time.Sleep(2 * time.Second) // it is slow
			case version == newVersion && method == "Adopt" && about(request) == z.volumes[1].ID && !killed.Load():
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		id, start := z.swap(resources.SwapSpec{Canaries: []resources.Ref{z.volumes[0], z.volumes[1]}})
		for z.bound()[newVersion] == 0 {
			time.Sleep(time.Second)
		}
		killed.Store(true)
		z.Restart()
		op := z.Wait(start.ID)
		if s := z.get(id); s.Phase != resources.PhaseRolledBack || op.Error == nil || op.Error.Code != "worse-than-before" {
			t.Errorf("it is %s: %v; before %+v, after %+v", s.Phase, op.Error, s.Status.Before, s.Status.After)
		}
	})
}

// What always took longer to answer than the canary is not worse than before.
func TestSwapDoesNotBlameWhatWasAlwaysSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 6)
		z.Behave(func(_ context.Context, _, method string, request any) error {
			if id := about(request); method == "Probe" && id != "" && id != z.volumes[0].ID {
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		})
		_, start := z.swap(resources.SwapSpec{Canaries: []resources.Ref{z.volumes[0]}})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("the swap ended as %s: %v", op.Phase, op.Error)
		}
	})
}

// label changes the labels of a volume.
func (z *versions) label(ref resources.Ref, labels map[string]string) {
	z.t.Helper()
	var next *resources.Volume
	err := z.Machine.View(func(v *persistence.View) error {
		found, err := persistence.Find[*resources.Volume](v, ref.Kind, ref.ID)
		if err == nil {
			changed := *found
			changed.Labels = labels
			next = &changed
		}
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	op := z.Ask(resources.Submission{Action: "update", Target: ref, Resource: next})
	if op.Phase != resources.PhaseSucceeded {
		z.t.Fatalf("labelling %s: %v", ref, op.Error)
	}
}

// What was moved by its labels goes back whatever labels it has then, with what was made in it.
func TestSwapGoesBackWhateverBecameOfLabels(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 0)
		labels := map[string]string{"tier": "test"}
		pool := resources.Ref{Kind: resources.KindPool, ID: z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "marked", Labels: labels},
			Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})}
		in := func(name string, labels map[string]string) resources.Ref {
			return resources.Ref{Kind: resources.KindVolume, ID: z.Must(&resources.Volume{
				Meta: resources.Meta{Kind: resources.KindVolume, Name: name, Labels: labels},
				Spec: resources.VolumeSpec{SizeBytes: gib, PoolID: resources.PoolID(pool.ID)},
			})}
		}
		volume := in("marked", labels)
		time.Sleep(time.Minute)
		id, start := z.swap(resources.SwapSpec{Scope: resources.SwapScope{Labels: labels}, SettleSeconds: 600})
		for z.bound()[newVersion] < 2 {
			time.Sleep(time.Second)
		}
		z.label(volume, nil)
		in("later", nil)
		z.Cancel(start.ID)
		z.Wait(start.ID)
		if got := z.bound(); z.get(id).Phase != resources.PhaseRolledBack || len(got) != 1 || got[oldVersion] != 4 {
			t.Errorf("it is %s, bound are %v", z.get(id).Phase, got)
		}
	})
}

// holders notes which versions have a resource: those that took it and did not let it go since.
type holders struct {
	mu  sync.Mutex
	has map[string][]string // by id
}

func (h *holders) note(version, method, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.has == nil {
		h.has = map[string][]string{}
	}
	others := slices.DeleteFunc(slices.Clone(h.has[id]), func(v string) bool { return v == version })
	switch method {
	case "Adopt", "CreateVolume":
		h.has[id] = append(others, version)
	case "Release":
		h.has[id] = others
	}
}

func (h *holders) of(id string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.has[id])
}

// A swap that is cancelled while a resource is handed over leaves it with the old version alone, also if the new one
// did not take it, and if the node was killed in between.
func TestCancelledHandOverIsTakenBack(t *testing.T) {
	for name, kill := range map[string]bool{"refused": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, 1)
				volume := z.volumes[0].ID
				h := &holders{}
				h.note(oldVersion, "Adopt", volume)
				var cancelled atomic.Bool
				var start atomic.Pointer[resources.Operation]
				asked := make(chan struct{}, 100)
				z.Behave(func(ctx context.Context, version, method string, request any) error {
					if about(request) != volume {
						return nil
					}
					if version == newVersion && method == "Adopt" && !cancelled.Load() {
						if kill {
							h.note(version, method, volume) // it has it, and nobody hears of it
						}
						asked <- struct{}{}
						<-ctx.Done()
						return sdk.Transient("driver-unavailable", "it does not run")
					}
					h.note(version, method, volume)
					return nil
				})
				_, op := z.swap(resources.SwapSpec{Canaries: z.volumes})
				start.Store(op)
				<-asked
				if kill {
					z.Kill()
				}
				cancelled.Store(true)
				z.Cancel(op.ID)
				if kill {
					z.cancelChildren(op.ID)
					z.Start()
				}
				z.Wait(op.ID)
				time.Sleep(time.Minute) // nobody waits for what was cancelled while no node ran
				if got := h.of(volume); !slices.Equal(got, []string{oldVersion}) {
					t.Errorf("the volume is with %v", got)
				}
				if got := z.bound(); got[oldVersion] != 2 || len(got) != 1 {
					t.Errorf("bound are %v", got)
				}
			})
		})
	}
}

// cancelChildren cancels what an operation has asked for, as it does itself.
func (z *versions) cancelChildren(parent string) {
	z.t.Helper()
	all, err := z.List(resources.Query{Kind: resources.KindOperation, Facets: map[string]string{"parent": parent}})
	if err != nil {
		z.t.Fatal(err)
	}
	for _, r := range all {
		z.Cancel(r.Metadata().ID)
	}
}

// A swap is rolled back whole though the records of its parts are forgotten before its own.
func TestRollBackAfterPartsAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		time.Sleep(time.Minute)
		id, start := z.swap(resources.SwapSpec{SettleSeconds: 3600})
		op := z.Wait(start.ID)
		compact := &persistence.Compact{OperationsBefore: op.EndedAt, Limit: 1000}
		if _, err := z.Propose(t.Context(), compact); err != nil {
			t.Fatal(err)
		}
		if !z.Known(op.Ref()) {
			t.Fatal("the operation itself is forgotten")
		}
		back := z.Do(resources.Ref{Kind: resources.KindSwap, ID: id}, "roll-back", resources.Arguments{})
		if got := z.bound(); back.Phase != resources.PhaseSucceeded || got[oldVersion] != 5 || len(got) != 1 {
			t.Errorf("rolled back as %s: %v; bound are %v", back.Phase, back.Error, got)
		}
	})
}

// A node that was killed takes a cancelled swap back with what it had asked for, and that waits still.
func TestCancelledSwapLeavesNothingWaitingAfterACrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		z.Behave(func(ctx context.Context, _, method string, _ any) error {
			if method == "GrowVolume" {
				select {
				case <-time.After(90 * time.Second):
				case <-ctx.Done():
				}
			}
			return nil
		})
		grow := z.Submit(resources.Submission{
			Action: "grow", Target: z.volumes[2], Arguments: resources.Arguments{SizeBytes: 2 * gib},
		})
		id, start := z.swap(resources.SwapSpec{ObserveSeconds: 1})
		for z.bound()[newVersion] < 3 {
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second) // it waits behind what is being done
		z.Kill()
		z.Cancel(start.ID)
		z.Start()
		if z.Wait(start.ID); z.get(id).Phase != resources.PhaseRolledBack {
			t.Errorf("the swap is %s", z.get(id).Phase)
		}
		if op := z.Wait(grow.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("growing: %s: %v", op.Phase, op.Error)
		}
		time.Sleep(time.Minute)
		if got := z.bound(); got[oldVersion] != 5 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
	})
}
