package enginetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Scenario is an operation that EveryFault carries out, and the driver that it does that with.
type Scenario struct {
	Driver Driver
	// Prepare makes what is needed, and returns what to ask for: see Creation and Action.
	Prepare func(z *Zone) resources.Submission
	// After, if set, looks at what only this scenario knows, whatever went wrong.
	After func(z *Zone, op *resources.Operation)
	// What goes wrong; nil = All.
	What []What
	// Irreversible is set when a failure leaves things changed on purpose: what was deleted stays deleted.
	Irreversible bool
	// Dispensable are methods that may fail without the operation failing.
	Dispensable []string
}

// EveryFault carries a scenario out once as it is, and then once for each call that it made of the driver to change
// something and each thing that can go wrong with that call. Begin makes the scenario anew for each run, with a backend
// of its own. After each run the operation has ended as it must, which is well if what went wrong passes; the zone is
// as Check wants it; and the backend, if Driver.Remains tells, holds what it held before if a creation failed, and as
// much as without a fault if the operation succeeded.
func EveryFault(t *testing.T, begin func(t *testing.T) Scenario) {
	t.Helper()
	var calls []Call
	var whole int
	var what []What
	passed := t.Run("none", func(t *testing.T) {
		s := begin(t)
		what = s.What
		s.run(t, nil, func(t *testing.T, r outcome) {
			calls, whole = r.calls, r.remains
			if r.op.Phase != resources.PhaseSucceeded {
				t.Fatalf("without a fault it is %s: %v\n%s", r.op.Phase, r.op.Error, told(r.op))
			}
			if len(calls) == 0 {
				t.Fatal("it asks nothing of the driver: is the driver's name in the specs that Prepare makes?")
			}
		})
	})
	if !passed {
		return
	}
	if what == nil {
		what = All()
	}
	count := map[string]int{}
	for _, c := range calls {
		count[c.Method]++
		for _, w := range what {
			f := Fault{Method: c.Method, Call: count[c.Method], What: w}
			t.Run(fmt.Sprintf("%s-%d/%s", f.Method, f.Call, w), func(t *testing.T) {
				s := begin(t)
				s.run(t, &f, func(t *testing.T, r outcome) { s.judge(t, f, r, whole) })
			})
		}
	}
}

// outcome is what came of one run.
type outcome struct {
	op      *resources.Operation
	calls   []Call
	met     int
	remains int
}

// run carries it out once and has what came of it judged.
func (s Scenario) run(t *testing.T, f *Fault, judge func(t *testing.T, r outcome)) {
	t.Helper()
	d := s.Driver
	runWith(t, d, func(t *testing.T, z *Zone) {
		var r outcome
		submission := s.Prepare(z)
		before, begin := remains(d), len(z.Calls())
		var scripted *Scripted
		if f != nil {
			scripted = z.Script(*f)
		}
		op := z.Submit(submission)
		z.watch(op)
		r.op = z.Wait(op)
		for _, c := range z.Calls()[begin:] {
			if c.Changes() && c.Product == z.Product() {
				r.calls = append(r.calls, c)
			}
		}
		if scripted != nil {
			r.met = scripted.Met()
			scripted.Stop()
		}
		failed := r.op.Phase != resources.PhaseSucceeded
		z.check(!failed || !s.Irreversible)
		after := remains(d)
		r.remains = len(after)
		if failed && r.op.Action == "create" && !slices.Equal(before, after) {
			t.Errorf("it was undone, and the backend holds %q; before it held %q", after, before)
		}
		if s.After != nil {
			s.After(z, r.op)
		}
		judge(t, r)
	})
}

func (z *Zone) watch(op *resources.Operation) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.watched = op.ID
}

func remains(d Driver) []string {
	if d.Remains == nil {
		return nil
	}
	all := slices.Clone(d.Remains())
	slices.Sort(all)
	return all
}

// judge looks whether an operation ended as it must.
func (s Scenario) judge(t *testing.T, f Fault, r outcome, whole int) {
	t.Helper()
	want := []resources.Phase{resources.PhaseSucceeded}
	switch f.What {
	case Refuse, RefuseAfter:
		want = []resources.Phase{resources.PhaseFailed}
		if slices.Contains(s.Dispensable, f.Method) {
			want = append(want, resources.PhaseSucceeded)
		}
	case Cancel:
		want = append(want, resources.PhaseCancelled)
	case Busy, LoseRequest, LoseAnswer, Delay, Hang, CrashBefore, CrashAfter, EngineCrashBefore, EngineCrashAfter:
	}
	if r.met == 0 {
		t.Errorf("the fault was never met: are the calls of this operation the same each time?")
	}
	if !slices.Contains(want, r.op.Phase) {
		t.Errorf("%s is %s, want %s: %v\n%s", r.op.Action, r.op.Phase, want[0], r.op.Error, told(r.op))
	}
	if r.op.Phase == resources.PhaseSucceeded && r.remains != whole {
		t.Errorf("the backend holds %d things, and %d when nothing went wrong", r.remains, whole)
	}
}
