package operationstest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/operationstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestEveryOperationHasAScenario(t *testing.T) {
	covered := map[string]bool{}
	for _, s := range operationstest.Scenarios() {
		covered[string(s.Kind)+"."+s.Action] = true
	}
	for _, d := range operations.Definitions() {
		if name := string(d.Kind) + "." + d.Action; !covered[name] {
			t.Errorf("operation %s has no scenario in the operation kit", name)
		}
	}
}

func TestEveryOperationEndsWellWithAFaultAtEveryStep(t *testing.T) {
	mutate := mutation()
	for _, s := range operationstest.Scenarios() {
		s.Mutate = mutate
		t.Run(s.Name(), func(t *testing.T) {
			for _, step := range operationstest.Steps(t, s) {
				for _, form := range operationstest.Forms() {
					t.Run(step+"/"+string(form), func(t *testing.T) {
						check(t, s, step, form, operationstest.Run(t, s, step, form))
					})
				}
			}
		})
	}
}

// mutationVar names the mutation that a child process runs the kit with.
const mutationVar = "BULKHEAD_TEST_MUTATION"

func mutation() func(operations.Table) {
	for _, m := range operationstest.Mutations() {
		if m.Name == os.Getenv(mutationVar) {
			return m.Break
		}
	}
	return nil
}

// TestTheKitFindsWhatIsBroken runs the kit on operations that were broken on
// purpose, each in a process of its own: it must turn red.
func TestTheKitFindsWhatIsBroken(t *testing.T) {
	for _, m := range operationstest.Mutations() {
		t.Run(m.Name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0],
				"-test.run=^TestEveryOperationEndsWellWithAFaultAtEveryStep$/^"+m.Scenario+"$", "-test.count=1")
			cmd.Env = append(os.Environ(), mutationVar+"="+m.Name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("the kit stays green:\n%s", out)
			}
			if !strings.Contains(string(out), "--- FAIL") {
				t.Errorf("the kit did not fail on a check: %v\n%s", err, out)
			}
		})
	}
}

func check(t *testing.T, s operationstest.Scenario, step string, form operationstest.Form, r operationstest.Result) {
	t.Helper()
	if r.Hit == 0 {
		t.Fatalf("the fault was never met: %+v", r.Operation.Steps)
	}
	want := resources.PhaseSucceeded
	switch {
	case form.Fails():
		want = resources.PhaseFailed
	case form == operationstest.Cancel && !pastCancel(s, step, r):
		want = resources.PhaseCancelled
	}
	if r.Operation.Phase != want {
		t.Errorf("%s ended as %s, want %s: %v", s.Name(), r.Operation.Phase, want, r.Operation.Error)
	}
	if form.Fails() && r.Operation.FailedStep != step {
		t.Errorf("step %q failed, the fault was in %q", r.Operation.FailedStep, step)
	}
}

// pastCancel reports whether it was too late to cancel: a deletion that has begun goes on,
// and so does what is behind its final step.
func pastCancel(s operationstest.Scenario, step string, r operationstest.Result) bool {
	if s.Action == "delete" {
		return len(r.Operation.Steps) > 0
	}
	top := r.Top
	action, _ := resources.NewVocabulary().Action(top.Target.Kind, top.Action)
	if action.Deletes {
		return false
	}
	for i, one := range top.Steps {
		if one.Name == action.Final && i+1 < len(top.Steps) {
			return top.Phase == resources.PhaseSucceeded && step != action.Final
		}
	}
	return false
}

// TestRefusedRequestsChangeNothing asks for what can't be done: the operation
// fails, and everything is as it was.
func TestRefusedRequestsChangeNothing(t *testing.T) {
	for _, s := range operationstest.Refusals() {
		t.Run(s.Name(), func(t *testing.T) {
			r := operationstest.Run(t, s, "", operationstest.None)
			if r.Operation.Phase != resources.PhaseFailed || r.Operation.Error == nil || r.Operation.Error.Remedy == "" {
				t.Errorf("ended as %s: %+v", r.Operation.Phase, r.Operation.Error)
			}
		})
	}
}

// TestWhatIsSeenToFailIsNotAccepted: it is refused with a remedy, and no operation and no resource tells of it.
func TestWhatIsSeenToFailIsNotAccepted(t *testing.T) {
	for _, s := range operationstest.NotAccepted() {
		t.Run(s.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(10 * time.Second) }) // the actor library's own timers
				z := actorstest.New(t)
				submission := s.Prepare(z)
				before := z.Machine.AppliedIndex()
				_, err := z.Engine().Submit(t.Context(), submission)
				e := resources.AsError(err)
				if err == nil || e.Class != resources.ClassConflict && e.Class != resources.ClassInvalid || e.Remedy == "" {
					t.Errorf("it is answered with %+v", err)
				}
				if z.Machine.AppliedIndex() != before {
					t.Error("something was written")
				}
			})
		})
	}
}
