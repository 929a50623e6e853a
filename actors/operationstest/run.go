package operationstest

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Result is what came of one run.
type Result struct {
	// Operation watched: the one submitted or, for internal ones, its child.
	Operation *resources.Operation
	// Top is the operation submitted.
	Top *resources.Operation
	Hit int
}

// settle is what the actor library's own timers need to end, in fake time.
const settle = 10 * time.Second

// Run carries a scenario out with a fault and checks everything that can be
// checked without knowing the scenario. It fails t on every finding.
func Run(t *testing.T, s Scenario, step string, form Form) (result Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(settle) })
		fault := NewFault(s.Kind, s.Action, step, form)
		fault.Mutate = s.Mutate
		z := actorstest.Prepare(t)
		z.Table = fault.Table()
		z.Start()
		submission := s.Prepare(z)
		before := specOf(z, submission)
		fault.Arm()
		top := z.Submit(submission)
		stop := interfere(z, fault, s, top)
		result.Top = z.Wait(top.ID)
		stop()
		result.Operation, result.Hit = watched(t, z, s, result.Top), fault.Hit()
		z.CheckState()
		checkOnce(t, z, s, result.Top)
		checkNothingHeld(t, z, result.Top)
		checkSpec(t, z, submission, before, result.Top)
		if s.After != nil {
			s.After(t, z)
		}
		if !s.Irreversible || !form.Fails() && form != Cancel {
			z.CheckTruth()
		} else {
			checkNoOrphans(t, z)
		}
	})
	return result
}

func checkNoOrphans(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	for _, o := range z.Orphans() {
		t.Errorf("truth: orphan %s", o)
	}
}

// checkNothingHeld looks that a creation that failed gave everything back.
func checkNothingHeld(t *testing.T, z *actorstest.Zone, top *resources.Operation) {
	t.Helper()
	if top.Action != "create" || top.Phase == resources.PhaseSucceeded {
		return
	}
	err := z.Machine.View(func(v *persistence.View) error {
		held, err := v.Held(top.Target)
		for _, h := range held {
			t.Errorf("state: %s failed and still holds %s", top.Target, h)
		}
		return err
	})
	if err != nil {
		t.Errorf("reading what %s holds: %v", top.Target, err)
	}
}

// specOf is the target of an update as JSON shows it; "" for other actions.
func specOf(z *actorstest.Zone, s resources.Submission) string {
	if s.Action != "update" {
		return ""
	}
	return shown(actorstest.Get[resources.Resource](z, s.Target.Kind, s.Target.ID))
}

// shown is what JSON shows of a spec.
func shown(r resources.Resource) string {
	var whole struct {
		Spec json.RawMessage `json:"spec"`
	}
	data, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(data, &whole)
	}
	if err != nil {
		return err.Error()
	}
	return string(whole.Spec)
}

// checkSpec looks that an update that succeeded changed the spec as asked, and
// that one that failed left it as it was.
func checkSpec(t *testing.T, z *actorstest.Zone, s resources.Submission, before string, top *resources.Operation) {
	t.Helper()
	want := before
	if s.Action == "update" && top.Phase == resources.PhaseSucceeded {
		want = shown(s.Resource)
	}
	if after := specOf(z, s); after != want {
		t.Errorf("state: after an update that %s the spec is %s, want %s", top.Phase, after, want)
	}
}

// checkOnce counts the effect that must have happened once.
func checkOnce(t *testing.T, z *actorstest.Zone, s Scenario, top *resources.Operation) {
	t.Helper()
	if s.Once == "" || top.Phase != resources.PhaseSucceeded {
		return
	}
	truth, err := z.World.Truth()
	if err != nil {
		t.Fatalf("reading the truth: %v", err)
	}
	n := 0
	for _, e := range truth.Effects() {
		if e.Call == s.Once {
			n++
		}
	}
	if n != 1 {
		t.Errorf("truth: %s took effect %d times", s.Once, n)
	}
}

// interfere kills the zone and starts it again, or cancels, when the fault says so.
func interfere(z *actorstest.Zone, f *Fault, s Scenario, top *resources.Operation) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-f.Killed:
				z.Restart()
			case <-f.Reached:
				z.Cancel(top.ID)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// watched finds the operation the fault was put into.
func watched(t *testing.T, z *actorstest.Zone, s Scenario, top *resources.Operation) *resources.Operation {
	t.Helper()
	if !s.Internal {
		return top
	}
	var found *resources.Operation
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindOperation, map[string]string{"action": s.Action, "target-kind": string(s.Kind)},
			func(r resources.Resource) bool {
				op, ok := r.(*resources.Operation)
				if ok && op.Sequence < top.Sequence {
					return true
				}
				if ok && (found == nil || hasInjected(op) || !hasInjected(found) && op.Sequence < found.Sequence) {
					found = op
				}
				return true
			})
	})
	if err != nil || found == nil {
		t.Errorf("no %s was asked for by %s (%v)", s.Name(), top.Action, err)
		return top
	}
	return found
}

func hasInjected(op *resources.Operation) bool {
	return op.Error != nil && op.Error.Code == "injected"
}

// Steps returns the names of the steps of a scenario, from a run without fault.
func Steps(t *testing.T, s Scenario) []string {
	t.Helper()
	result := Run(t, s, "", None)
	if result.Top.Phase != resources.PhaseSucceeded {
		t.Fatalf("%s without a fault: %s: %v", s.Name(), result.Top.Phase, result.Top.Error)
	}
	var names []string
	for _, step := range result.Operation.Steps {
		names = append(names, step.Name)
	}
	return names
}
