package persistence_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestWhatIsAskedInTheWrongPhase: the refusal says how to come into the right one.
func TestWhatIsAskedInTheWrongPhase(t *testing.T) {
	z := newZone(t)
	ref := resources.Ref{Kind: resources.KindMachine, ID: "mach-1"}
	made := z.create(&resources.Machine{Meta: resources.Meta{Kind: ref.Kind, ID: ref.ID, Name: "web"}}, true)
	made.Pending = true
	z.must(made)
	z.enter(ref, resources.PhaseCreating, resources.PhaseRunning)
	z.refuses(t, ref, map[string]string{"start": "nothing is left to do", "resume": "nothing is left to do"})
	z.enter(ref, resources.PhasePausing, resources.PhasePaused)
	z.refuses(t, ref, map[string]string{"start": "stop it first", "reboot": "resume it first"})
	z.enter(ref, resources.PhaseStopping)
	z.refuses(t, ref, map[string]string{
		"pause": "wait for what is under way with it; what failed can only be deleted",
	})
}

// enter brings a resource from phase to phase.
func (z *zone) enter(ref resources.Ref, phases ...resources.Phase) {
	for _, phase := range phases {
		cmd := &persistence.Commit{Fence: z.fence(ref)}
		z.view(func(v *persistence.View) error {
			r, err := v.Get(ref)
			if err != nil {
				return err
			}
			cmd.BaseRevision = r.Metadata().Revision
			r.Metadata().Phase = phase
			cmd.Resource = z.seal(r)
			return nil
		})
		z.must(cmd)
	}
}

// refuses checks that actions are refused for the phase, with these remedies.
func (z *zone) refuses(t *testing.T, ref resources.Ref, remedies map[string]string) {
	t.Helper()
	for action, want := range remedies {
		err := resources.AsError(z.apply(z.submit(action, ref, nil))[0].Err)
		if err.Code != "wrong-phase" || err.Remedy != want {
			t.Errorf("%s: refused as %s, to do: %q, want %q", action, err.Code, err.Remedy, want)
		}
	}
}

// TestWhatIsUnderWayIsNotTakenAwayAtOnce: an operation whose target is gone would never come to its end.
func TestWhatIsUnderWayIsNotTakenAwayAtOnce(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	ref := resources.Ref{Kind: resources.KindSwap, ID: "swp-1"}
	made := z.create(&resources.Swap{
		Meta: resources.Meta{Kind: ref.Kind, ID: ref.ID}, Spec: resources.SwapSpec{To: "drv-2", From: "drv-1"},
	}, true)
	made.Pending = true
	z.must(made)
	z.enter(ref, resources.PhaseCreating, resources.PhasePlanned)
	start := z.must(z.submit("start", ref, nil)).Operation
	gone := func() *persistence.Submit {
		deletion := z.submit("delete", ref, nil)
		deletion.Instant = true
		return deletion
	}
	z.refused(gone(), "operation-under-way")
	z.enter(ref, resources.PhaseSwapping)
	z.refused(gone(), "operation-under-way")
	start.Phase = resources.PhaseFailed
	z.must(&persistence.Commit{Fence: z.fence(ref), Operation: z.seal(start)})
	z.refused(gone(), "wrong-phase")
	z.enter(ref, resources.PhaseRolledBack)
	z.must(gone())
}
