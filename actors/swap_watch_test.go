package actors_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// with lists the volumes that are bound to a version.
func (z *versions) with(version string) (list []resources.Ref) {
	z.t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		for _, ref := range z.volumes {
			b, _, err := v.Binding(ref)
			if err != nil {
				return err
			}
			if b.Version == version {
				list = append(list, ref)
			}
		}
		return nil
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return list
}

// What fails on a resource that was moved ends the swap while most are still to be moved, though the canaries are well;
// what failed before it was moved does not count.
func TestSwapGoesBackForWhatFailsWhileOthersAreMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const volumes, slow = 60, 3 * time.Second
		z := newVersions(t, volumes)
		var bad atomic.Value // the version that can't
		z.Behave(func(_ context.Context, version, method string, request any) error {
			switch {
			case method == "Adopt" && version == newVersion:
				time.Sleep(slow)
			case method == "GrowVolume" && bad.Load() == version:
				return sdk.Transient("busy", "it can't now")
			}
			return nil
		})
		grow := func(ref resources.Ref) *resources.Operation {
			return z.Submit(resources.Submission{
				Action: "grow", Target: ref, Arguments: resources.Arguments{SizeBytes: 2 * gib},
			})
		}
		bad.Store(oldVersion)
		before := z.Wait(grow(z.volumes[volumes-1]).ID)
		if before.Phase != resources.PhaseFailed {
			t.Fatalf("growing with the version that is bad: %s", before.Phase)
		}
		canary := z.volumes[0]
		id, start := z.swap(resources.SwapSpec{Canaries: []resources.Ref{canary}, AtOnce: 1, ObserveSeconds: 1})
		for len(z.with(newVersion)) < volumes/6 {
			time.Sleep(slow)
		}
		bad.Store(newVersion)
		moved := z.with(newVersion)
		op := grow(moved[len(moved)/2])
		time.Sleep(slow)
		for z.get(id).Phase == resources.PhaseSwapping && len(z.with(newVersion)) > 0 {
			if got := len(z.with(newVersion)); got > volumes/2 {
				t.Fatalf("%d of %d were moved, and nobody saw that one can't be grown", got, volumes)
			}
			time.Sleep(slow)
		}
		end := z.Wait(start.ID)
		if end.Phase != resources.PhaseFailed || end.Error == nil || end.Error.Code != "worse-than-before" {
			t.Errorf("the swap ended as %s: %v", end.Phase, end.Error)
		}
		if got := z.Wait(op.ID); got.Phase != resources.PhaseSucceeded {
			t.Errorf("what was asked for meanwhile: %s, %v", got.Phase, got.Error)
		}
		if got := len(z.with(oldVersion)); got != volumes {
			t.Errorf("%d of %d are with the version of before", got, volumes)
		}
	})
}

// While others are moved answers take longer, with any version: that is no reason to go back.
func TestSwapDoesNotBlameTheMovingItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 30)
		canary := z.volumes[0]
		var moving atomic.Bool
		z.Behave(func(_ context.Context, _, method string, request any) error {
			switch id := about(request); {
			case method == "Adopt" && id != canary.ID:
				moving.Store(true)
				time.Sleep(2 * time.Second)
				moving.Store(false)
			case method == "Probe" && id == canary.ID && moving.Load():
				time.Sleep(time.Second)
			}
			return nil
		})
		_, start := z.swap(resources.SwapSpec{Canaries: []resources.Ref{canary}, AtOnce: 1})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("the swap ended as %s: %v", op.Phase, op.Error)
		}
	})
}

// What failed since it was moved ends the swap however much was done on the same resource afterwards.
func TestSwapLooksBackToWhenItWasMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 3)
		canary := z.volumes[0]
		var bad atomic.Bool
		z.Behave(func(_ context.Context, version, method string, _ any) error {
			if method == "GrowVolume" && version == newVersion && bad.Load() {
				return sdk.Transient("busy", "it can't now")
			}
			return nil
		})
		id, start := z.swap(resources.SwapSpec{Canaries: []resources.Ref{canary}, ObserveSeconds: 3600})
		for z.versionOf(canary) != newVersion {
			time.Sleep(time.Second)
		}
		grow := func(bytes uint64) *resources.Operation {
			return z.Submit(resources.Submission{
				Action: "grow", Target: canary, Arguments: resources.Arguments{SizeBytes: bytes},
			})
		}
		z.suspend(resources.Ref{Kind: resources.KindSwap, ID: id}, true)
		bad.Store(true)
		if op := z.Wait(grow(2 * gib).ID); op.Phase != resources.PhaseFailed {
			t.Fatalf("growing with the bad version: %s", op.Phase)
		}
		bad.Store(false)
		for i := range uint64(6) {
			z.Wait(grow((3 + i) * gib).ID)
		}
		z.suspend(resources.Ref{Kind: resources.KindSwap, ID: id}, false)
		if op := z.Wait(start.ID); op.Error == nil || op.Error.Code != "worse-than-before" {
			t.Errorf("the swap ended as %s: %v", op.Phase, op.Error)
		}
	})
}
