package actors_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// growing has the old version take long to grow a volume, and begins that.
func (z *versions) growing(ref resources.Ref, takes time.Duration) *resources.Operation {
	z.t.Helper()
	z.Behave(func(ctx context.Context, version, method string, _ any) error {
		if version == oldVersion && method == "GrowVolume" {
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
		}
		return nil
	})
	return z.Submit(resources.Submission{
		Action: "grow", Target: ref, Arguments: resources.Arguments{SizeBytes: 2 * gib},
	})
}

func (z *versions) suspend(ref resources.Ref, on bool) {
	z.t.Helper()
	if _, err := z.Engine().Suspend(z.t.Context(), ref, on, resources.Origin{}); err != nil {
		z.t.Fatal(err)
	}
}

// versionOf is the version that a resource is bound to.
func (z *versions) versionOf(ref resources.Ref) (version string) {
	z.t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		b, _, err := v.Binding(ref)
		version = b.Version
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return version
}

// waitsFor has a swap move all but a volume that it waits for.
func (z *versions) waitsFor(ref resources.Ref, takes time.Duration) (id string, start, grow *resources.Operation) {
	z.t.Helper()
	grow = z.growing(ref, takes)
	time.Sleep(time.Second)
	id, start = z.swap(resources.SwapSpec{ObserveSeconds: 1, SettleSeconds: 1})
	for z.bound()[newVersion] < len(z.volumes)-1 {
		time.Sleep(time.Second)
	}
	time.Sleep(10 * time.Second)
	return id, start, grow
}

// wrote counts how often an operation had a message written down.
func (z *versions) wrote(id, message string) (times int) {
	z.t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Events(resources.Position{}, func(e resources.Event) bool {
			if op, ok := e.Resource.(*resources.Operation); ok && op.ID == id && op.Message == message {
				times++
			}
			return true
		})
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return times
}

// progress is how far a swap is.
func (z *versions) progress(id string, most int) (p resources.SwapProgress) {
	z.t.Helper()
	swap := actorstest.Get[*resources.Swap](z.Zone, resources.KindSwap, id)
	err := z.Machine.View(func(v *persistence.View) (err error) {
		p, err = operations.ProgressOf(z.t.Context(), v, swap, most)
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return p
}

// How far a swap is can be seen at any time, and what keeps those that are left.
func TestSwapTellsWhatIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 6)
		ended := make(chan struct{})
		defer close(ended)
		broken, aside, busy, both := z.volumes[1], z.volumes[2], z.volumes[3], z.volumes[4]
		z.Behave(func(_ context.Context, version, method string, request any) error {
			switch of := about(request); {
			case version != oldVersion || method == "Probe" || method == "Release" || method == "Adopt":
			case of == broken.ID || of == both.ID:
				return sdk.Internal("bug", context.Canceled)
			case of == busy.ID:
				<-ended
			}
			return nil
		})
		grow := func(ref resources.Ref) *resources.Operation {
			return z.Submit(resources.Submission{
				Action: "grow", Target: ref, Arguments: resources.Arguments{SizeBytes: 2 * gib},
			})
		}
		failing, growing := grow(broken), grow(busy)
		z.stuck(failing)
		z.stuck(grow(both))
		z.suspend(aside, true)
		z.suspend(both, true)
		id := z.Must(&resources.Swap{
			Meta: resources.Meta{Kind: resources.KindSwap},
			Spec: resources.SwapSpec{To: resources.DriverID(z.new), Canaries: z.volumes[:1]},
		})
		left := func(most int) (
			states []resources.SwapMemberState, p resources.SwapProgress, at map[resources.Ref]resources.SwapMember,
		) {
			p, at = z.progress(id, most), map[resources.Ref]resources.SwapMember{}
			for _, one := range p.Items {
				states, at[one.Resource] = append(states, one.State), one
			}
			return states, p, at
		}
		const needs, suspended = resources.MemberNeedsOperator, resources.MemberSuspended
		states, p, at := left(4)
		want := []resources.SwapMemberState{needs, suspended, suspended, resources.MemberBusy}
		if p.Moved != 0 || p.Left != 7 || p.NeedsOperator != 1 || p.Suspended != 2 || p.Busy != 1 ||
			!slices.Equal(states, want) || string(at[broken].Operation) != failing.ID || at[aside].State != suspended ||
			at[busy] != (resources.SwapMember{
				Resource: busy, Name: "data-3", State: resources.MemberBusy, Operation: resources.OperationID(growing.ID),
				Action: "grow",
			}) {
			t.Errorf("planned: %+v", p)
		}
		z.Submit(resources.Submission{Action: "start", Target: resources.Ref{Kind: resources.KindSwap, ID: id}})
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for seconds := 0; p.Moved < 3 && seconds < 60; seconds++ { // those first that are observed
			<-second.C
			states, p, at = left(100)
		}
		want = []resources.SwapMemberState{suspended, suspended, resources.MemberBusy, resources.MemberIdle}
		if p.Moved != 3 || p.Left != 4 || p.NeedsOperator != 0 || !slices.Equal(states, want) ||
			at[both].State != suspended || at[aside].Operation != "" || at[z.pool].Name != "fast" {
			t.Errorf("while it waits: %+v", p)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := z.Machine.View(func(v *persistence.View) error {
			_, err := operations.ProgressOf(ctx, v, z.get(id), 1)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits for it, and it ends with %v", err)
		}
	})
}

// What is suspended while a swap waits for it stays as it is, as what was suspended before: the swap goes on, also
// back.
func TestSwapPassesOverWhatIsSuspendedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		busy := z.volumes[2]
		id, start, grow := z.waitsFor(busy, 100*time.Second)
		want := "3 resources have gone to version 1.1.0, 2 are left; it waits for " + busy.String() +
			", which is at grow (operation " + grow.ID + ")"
		op := actorstest.Get[*resources.Operation](z.Zone, resources.KindOperation, start.ID)
		if !strings.Contains(op.Message, want) {
			t.Errorf("while %s, it says %q", want, op.Message)
		}
		if times := z.wrote(start.ID, op.Message); times != 1 {
			t.Errorf("it wrote down %d times that %s", times, want)
		}
		z.suspend(busy, true)
		began := time.Now()
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded || time.Since(began) > 30*time.Second {
			t.Fatalf("after %s the swap ended as %s: %v", time.Since(began), op.Phase, op.Error)
		}
		if got := z.bound(); got[oldVersion] != 1 || z.versionOf(busy) != oldVersion {
			t.Errorf("bound are %v", got)
		}
		z.suspend(busy, false)
		if op := z.Wait(grow.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("growing: %s: %v", op.Phase, op.Error)
		}
		time.Sleep(time.Minute)
		if z.versionOf(busy) != oldVersion {
			t.Error("it was moved though nobody asked any more")
		}
		z.suspend(z.volumes[0], true)
		back := z.Do(resources.Ref{Kind: resources.KindSwap, ID: id}, "roll-back", resources.Arguments{})
		if got := z.bound(); back.Phase != resources.PhaseSucceeded || got[oldVersion] != 5 || len(got) != 1 {
			t.Errorf("rolled back as %s: %v; bound are %v", back.Phase, back.Error, got)
		}
	})
}

// What is suspended while it is handed over, in vain, stays with the old version alone, and holds nothing up.
func TestSwapPassesOverWhatIsSuspendedAtItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		ref, asked, h := z.volumes[2], make(chan struct{}, 100), &holders{}
		h.note(oldVersion, "Adopt", ref.ID)
		z.Behave(func(ctx context.Context, version, method string, request any) error {
			if about(request) != ref.ID {
				return nil
			}
			if version == newVersion && method == "Adopt" {
				asked <- struct{}{}
				<-ctx.Done()
				return sdk.Transient("driver-unavailable", "it does not run")
			}
			h.note(version, method, ref.ID)
			return nil
		})
		_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 1, SettleSeconds: 1})
		<-asked
		z.suspend(ref, true)
		began := time.Now()
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded || time.Since(began) > 2*time.Minute {
			t.Fatalf("after %s the swap ended as %s: %v", time.Since(began), op.Phase, op.Error)
		}
		z.suspend(ref, false)
		time.Sleep(time.Minute)
		if got := h.of(ref.ID); z.versionOf(ref) != oldVersion || !slices.Equal(got, []string{oldVersion}) {
			t.Errorf("it is bound to %s, and with %v", z.versionOf(ref), got)
		}
		if op := z.Do(ref, "grow", resources.Arguments{SizeBytes: 2 * gib}); op.Phase != resources.PhaseSucceeded {
			t.Errorf("growing: %s: %v", op.Phase, op.Error)
		}
	})
}

// A canary that is suspended while it is waited for does not hold the swap either.
func TestSwapDoesNotWaitForASuspendedCanary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 3)
		z.growing(z.volumes[0], 100*time.Second)
		time.Sleep(time.Second)
		_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1]})
		time.Sleep(10 * time.Second)
		z.suspend(z.volumes[0], true)
		began := time.Now()
		op := z.Wait(start.ID)
		if op.Error == nil || op.Error.Code != "canaries-suspended" || time.Since(began) > 30*time.Second {
			t.Errorf("after %s the swap ended as %s: %v", time.Since(began), op.Phase, op.Error)
		}
		if got := z.bound(); got[oldVersion] != 4 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
	})
}

// A swap that is paused while it waits moves nothing until it is resumed, whatever ends meanwhile.
func TestSwapPausesWhileItWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		busy := z.volumes[2]
		id, start, grow := z.waitsFor(busy, 100*time.Second)
		swap := resources.Ref{Kind: resources.KindSwap, ID: id}
		z.suspend(swap, true)
		time.Sleep(10 * time.Second)
		z.Wait(grow.ID)
		time.Sleep(time.Minute)
		if z.versionOf(busy) != oldVersion {
			t.Error("it was moved by a swap that is suspended")
		}
		z.suspend(swap, false)
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		if got := z.bound(); got[newVersion] != 5 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
	})
}

// A version that is found to be changed has its resources no longer than it takes to move them back, whatever is waited
// for.
func TestQuarantineEndsTheWaitOfASwap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		id, start, grow := z.waitsFor(z.volumes[2], 100*time.Second)
		_, err := z.Propose(t.Context(), &persistence.NoteTrouble{
			Driver: z.new, Node: "node-1", State: resources.TroubleQuarantined, Reason: "LICENSE is another",
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		op := z.Wait(start.ID)
		if z.get(id).Phase != resources.PhaseRolledBack || op.Error == nil ||
			op.Error.Code != resources.CodeVersionQuarantined || time.Since(began) > 30*time.Second {
			t.Errorf("after %s the swap is %s: %v", time.Since(began), z.get(id).Phase, op.Error)
		}
		z.Wait(grow.ID)
		time.Sleep(time.Minute)
		if got := z.bound(); got[oldVersion] != 5 || len(got) != 1 {
			t.Errorf("bound are %v", got)
		}
	})
}

// What waits for an operator is moved as it is, and goes on with the new version when that has decided.
func TestSwapMovesWhatWaitsForAnOperator(t *testing.T) {
	for name, meanwhile := range map[string]bool{"before": false, "meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, 3)
				network := resources.Ref{Kind: resources.KindNetwork, ID: z.Must(&resources.Network{
					Meta: resources.Meta{Kind: resources.KindNetwork, Name: "net"},
					Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.20.0.0/24"},
				})}
				z.Behave(func(ctx context.Context, version, method string, request any) error {
					if version != oldVersion || about(request) != network.ID || method == "Probe" || method == "Release" ||
						method == "Adopt" {
						return nil
					}
					if meanwhile {
						select {
						case <-time.After(time.Minute):
						case <-ctx.Done():
						}
					}
					return sdk.Internal("bug", context.Canceled)
				})
				next := *actorstest.Get[*resources.Network](z.Zone, network.Kind, network.ID)
				next.Spec.DNSServers = []string{"10.20.0.9"}
				update := z.Submit(resources.Submission{Action: "update", Target: network, Resource: &next})
				if !meanwhile {
					z.stuck(update)
				}
				id, start := z.swap(resources.SwapSpec{ObserveSeconds: 1, SettleSeconds: 1})
				z.Wait(start.ID)
				if s := z.get(id); s.Phase != resources.PhaseCommitted {
					t.Errorf("the swap is %s", s.Phase)
				}
				z.stuck(update)
				if got := z.bound(); got[newVersion] != 5 || len(got) != 1 {
					t.Errorf("bound are %v", got)
				}
				z.resolve(update, resources.ResolutionRetry)
				if op := z.Wait(update.ID); !op.Ended() {
					t.Errorf("the change is %s: %v", op.Phase, op.Error)
				}
				if m := get(z.Zone, network.Kind, network.ID); m.Phase != resources.PhaseReady {
					t.Errorf("the network is %s", m.Phase)
				}
			})
		})
	}
}

func (z *versions) stuck(op *resources.Operation) {
	z.t.Helper()
	if got := z.Wait(op.ID); got.Phase != resources.PhaseNeedsOperator {
		z.t.Fatalf("%s is %s: %v", op.Action, got.Phase, got.Error)
	}
}

func (z *versions) resolve(op *resources.Operation, r resources.Resolution) {
	z.t.Helper()
	if _, err := z.Engine().Resolve(z.t.Context(), resources.OperationID(op.ID), r, resources.Origin{}); err != nil {
		z.t.Fatal(err)
	}
}
