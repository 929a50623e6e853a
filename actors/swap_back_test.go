package actors_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What can't be moved back is tried for a while, then an operator is told, who has it tried again.
func TestSwapThatCanNotGoBackNeedsAnOperator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 4)
		var mended, ill atomic.Bool
		z.Behave(func(_ context.Context, version, method string, _ any) error {
			switch {
			case version == newVersion && method == "Adopt":
				time.AfterFunc(3*time.Second, func() { ill.Store(true) })
			case version == newVersion && method == "Probe" && ill.Load():
				return sdk.Internal("bug", context.Canceled)
			case version == oldVersion && method == "Adopt" && !mended.Load():
				return sdk.Unsupported("handle-version", "can't read it any more")
			}
			return nil
		})
		began := time.Now()
		id, start := z.swap(resources.SwapSpec{CanaryCount: 1})
		op := z.Wait(start.ID)
		told := slices.ContainsFunc(op.Steps, func(s resources.Step) bool {
			return s.Error != nil && s.Error.Code == "not-moved" && len(s.Error.Reasons) == 1 &&
				strings.Contains(s.Error.Remedy, "retry the operation")
		})
		if op.Phase != resources.PhaseNeedsOperator || !told {
			t.Fatalf("it is %s: %+v", op.Phase, op.Steps)
		}
		if took := time.Since(began); took < 5*time.Minute || took > 30*time.Minute {
			t.Errorf("the operator is told after %v", took)
		}
		mended.Store(true)
		z.resolve(start, resources.ResolutionRetry)
		ended, cancel := context.WithTimeout(t.Context(), time.Hour) // of the bubble
		defer cancel()
		for next := z.Engine().Changed(); !z.Wait(start.ID).Ended() && ended.Err() == nil; next = z.Engine().Changed() {
			<-next
		}
		if op, s := z.Wait(start.ID), z.get(id); op.Phase != resources.PhaseFailed || s.Phase != resources.PhaseRolledBack {
			t.Errorf("in the end it is %s, and the swap %s: %v", op.Phase, s.Phase, op.Error)
		}
		if got := z.bound(); got[oldVersion] != 5 || got[newVersion] != 0 {
			t.Errorf("bound are %v", got)
		}
	})
}

// A version that can't read what the other one remembers takes nothing over, neither there nor back.
func TestSwapRefusesAVersionThatCanNotReadHandles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 2)
		z.say(z.new, func(d *resources.Driver) { d.Status.HandleReads, d.Status.HandleWrites = []uint32{2}, 2 })
		planned := z.Must(&resources.Swap{
			Meta: resources.Meta{Kind: resources.KindSwap},
			Spec: resources.SwapSpec{To: resources.DriverID(z.new), AcceptOneWay: true},
		})
		begin := func(id, action string) error {
			_, err := z.Engine().Submit(t.Context(), resources.Submission{
				Action: action, Target: resources.Ref{Kind: resources.KindSwap, ID: id},
			})
			return err
		}
		if err := begin(planned, "start"); err == nil || resources.AsError(err).Code != "handles-unreadable" ||
			!strings.Contains(err.Error(), "format 1") {
			t.Errorf("the new one reads nothing: %v", err)
		}
		z.say(z.new, func(d *resources.Driver) { d.Status.HandleReads = []uint32{1, 2} })
		id, start := z.swap(resources.SwapSpec{AcceptOneWay: true})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("the new one reads both: %s: %v", op.Phase, op.Error)
		}
		if err := begin(id, "roll-back"); err == nil || resources.AsError(err).Code != "handles-unreadable" {
			t.Errorf("back: %v", err)
		}
		if got := z.bound(); got[newVersion] != 3 || z.current() != newVersion {
			t.Errorf("bound are %v, current is %s", got, z.current())
		}
	})
}

// A swap that is suspended moves nothing more, not even what was next to be.
func TestSuspendedSwapMovesNothingMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 20)
		var adopted atomic.Int32
		begun := make(chan struct{})
		z.Behave(func(_ context.Context, version, method string, _ any) error {
			if version == newVersion && method == "Adopt" {
				if adopted.Add(1) == 2 { // the first of the rest
					close(begun)
				}
				time.Sleep(3 * time.Second) // of the bubble
			}
			return nil
		})
		id, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 1})
		<-begun
		ref := resources.Ref{Kind: resources.KindSwap, ID: id}
		z.suspend(ref, true)
		time.Sleep(time.Minute) // of the bubble: long enough for all of them
		if got := adopted.Load(); got > 4 {
			t.Errorf("%d went to the new version, all but two or three after it was suspended", got)
		}
		z.suspend(ref, false)
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("it ended as %s: %v", op.Phase, op.Error)
		}
	})
}

// say has a version say something else of itself.
func (z *versions) say(id string, change func(d *resources.Driver)) {
	z.t.Helper()
	said := *actorstest.Get[*resources.Driver](z.Zone, resources.KindDriver, id)
	change(&said)
	doc, err := z.Machine.Codec().Seal(&said)
	if err != nil {
		z.t.Fatal(err)
	}
	if _, err := z.Propose(z.t.Context(), &persistence.Bootstrap{Documents: []*persistence.Document{doc}}); err != nil {
		z.t.Fatal(err)
	}
}

// A version that has no settings at all is acquainted once it has said so, and takes over like any other.
func TestSwapToAVersionWithoutSettings(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 2)
		z.new = z.AddVersion(&resources.Driver{
			Meta: resources.Meta{Kind: resources.KindDriver, Name: "sim-plain"},
			Spec: resources.DriverSpec{Product: "bulkhead/sim", Version: "1.2.0", Enabled: true},
		})
		z.say(z.new, func(d *resources.Driver) { d.Status.HandleReads, d.Status.HandleWrites = []uint32{1}, 1 })
		_, start := z.swap(resources.SwapSpec{})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("it ended as %s: %v", op.Phase, op.Error)
		}
		if got := z.bound(); got["1.2.0"] != 3 {
			t.Errorf("bound are %v", got)
		}
	})
}
