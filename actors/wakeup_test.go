package actors_test

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// slowState answers the first turn that finds work, once armed, only when it is told to: with what was true when it was
// asked.
type slowState struct {
	actors.State
	ref      resources.Ref
	armed    atomic.Bool
	answered chan struct{}
}

func (s *slowState) View(fn func(v *persistence.View) error) error {
	var waits bool
	err := s.State.View(func(v *persistence.View) error {
		if s.armed.Load() && fromTurn() {
			head, _, err := v.Head(persistence.ShardOf(s.ref, actorstest.Shards), s.ref)
			if err != nil {
				return err
			}
			waits = head != nil
		}
		return fn(v)
	})
	if waits && s.armed.CompareAndSwap(true, false) {
		<-s.answered
	}
	return err
}

// fromTurn reports whether a turn's first look at the state is on the stack.
func fromTurn() bool {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "(*runner).turn") {
			return true
		}
		if !more {
			return false
		}
	}
}

// TestADecisionDuringATurnIsNotLost: a turn found the resource suspended, and before it says so somebody resumes it.
func TestADecisionDuringATurnIsNotLost(t *testing.T) {
	z := actorstest.Prepare(t)
	state := &slowState{State: z.Machine, answered: make(chan struct{})}
	z.State = state
	z.Start()
	pool := z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
	})
	volume := func(name string) string {
		return z.Must(&resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: name}, Spec: resources.VolumeSpec{SizeBytes: 1 << 30},
		})
	}
	id, other := volume("data"), volume("other")
	ref := resources.Ref{Kind: resources.KindVolume, ID: id}
	state.ref = ref
	suspend := func(on bool) {
		if _, err := z.Engine().Suspend(t.Context(), ref, on, resources.Origin{}); err != nil {
			t.Fatal(err)
		}
	}
	inspect := func(ref resources.Ref) *actors.Inspection {
		i, err := z.System.Inspect(ref)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, quiet := range []resources.Ref{{Kind: resources.KindPool, ID: pool}, {Kind: resources.KindVolume, ID: other}} {
		for i := inspect(quiet); i.Working || i.Queued > 0; i = inspect(quiet) { // its turn is not the one to answer late
			runtime.Gosched()
		}
	}
	suspend(true)
	state.armed.Store(true)
	op := z.Submit(resources.Submission{
		Action: "grow", Target: ref, Arguments: resources.Arguments{SizeBytes: 2 << 30},
	})
	for state.armed.Load() { // the turn has not looked yet
		runtime.Gosched()
	}
	suspend(false)
	// Events are dispatched in order: when this is done, the actor was told; when it answers, it has heard.
	z.Do(resources.Ref{Kind: resources.KindVolume, ID: other}, "grow", resources.Arguments{SizeBytes: 2 << 30})
	inspect(ref)
	close(state.answered)
	ended, err := z.Engine().Wait(ctx, resources.OperationID(op.ID))
	if err != nil || ended.Phase != resources.PhaseSucceeded {
		t.Errorf("it never went on: %v; the actor says %+v", err, inspect(ref))
	}
}

// TestAdoptBeforeStartIsDoneAtStart: a driver's process may be there before its resources' actors are.
func TestAdoptBeforeStartIsDoneAtStart(t *testing.T) {
	z := actorstest.New(t)
	pool := z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
	})
	z.Kill()
	z.BeforeStart = func(s *actors.System) {
		if err := s.Adopt(operations.Started{Product: "bulkhead/sim", Node: "node-1"}); err != nil {
			t.Error(err)
		}
	}
	z.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for adopted := false; !adopted; {
		if ctx.Err() != nil {
			t.Fatal("the pool was never given back to its driver")
		}
		truth, err := z.World.Truth()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range truth.EffectsOf(simworld.Ref{Kind: string(resources.KindPool), ID: pool}) {
			adopted = adopted || e.What == simworld.EffectAdopt
		}
	}
}
