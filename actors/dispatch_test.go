package actors_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// brokenState can't be read for a while.
type brokenState struct {
	actors.State
	broken atomic.Bool
}

func (s *brokenState) View(fn func(v *persistence.View) error) error {
	if s.broken.Load() {
		return errors.New("the disk does not answer")
	}
	return s.State.View(fn)
}

// TestWhatIsAcceptedIsDoneThoughNobodyHeardOfIt: its event could not be read.
func TestWhatIsAcceptedIsDoneThoughNobodyHeardOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) }) // the actor library's own timers
		z := actorstest.Prepare(t)
		state := &brokenState{State: z.Machine}
		z.State = state
		z.Start()
		z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})
		vol := &resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: "data"}, Spec: resources.VolumeSpec{SizeBytes: gib},
		}
		ref := resources.Ref{Kind: resources.KindVolume, ID: z.Must(vol)}
		state.broken.Store(true)
		z.System.Applied() // it reads now, and can't
		synctest.Wait()
		op := &resources.Operation{
			Meta:   resources.Meta{Kind: resources.KindOperation, ID: "op-00000000000000000000000000"},
			Action: "grow", Target: ref, Arguments: resources.Arguments{SizeBytes: 2 * gib},
		}
		document, err := z.Machine.Codec().Seal(op)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Propose(t.Context(), &persistence.Submit{Operation: document}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		state.broken.Store(false)
		if op := z.Wait(op.ID); op.Phase != resources.PhaseSucceeded {
			t.Errorf("it ended as %s: %v", op.Phase, op.Error)
		}
	})
}
