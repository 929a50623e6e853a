package actorstest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// patience bounds every wait of a test.
const patience = 3 * time.Hour

// Create submits a creation and waits for its end.
func (z *Zone) Create(r resources.Resource) *resources.Operation {
	z.t.Helper()
	return z.Ask(resources.Submission{Action: "create", Target: resources.Ref{Kind: r.Metadata().Kind}, Resource: r})
}

// Must creates a resource, fails the test if that fails, and returns its id.
func (z *Zone) Must(r resources.Resource) string {
	z.t.Helper()
	op := z.Create(r)
	if op.Phase != resources.PhaseSucceeded {
		z.t.Fatalf("creating %s %s: %s: %v", r.Metadata().Kind, r.Metadata().Name, op.Phase, op.Error)
	}
	return op.Target.ID
}

// Do submits an action on a resource and waits for its end.
func (z *Zone) Do(ref resources.Ref, action string, args resources.Arguments) *resources.Operation {
	z.t.Helper()
	return z.Ask(resources.Submission{Action: action, Target: ref, Arguments: args})
}

// Ask submits and waits for the end.
func (z *Zone) Ask(s resources.Submission) *resources.Operation {
	z.t.Helper()
	op := z.Submit(s)
	return z.Wait(op.ID)
}

// Submit submits and fails the test if it is not accepted.
func (z *Zone) Submit(s resources.Submission) *resources.Operation {
	z.t.Helper()
	op, err := z.Engine().Submit(context.Background(), s)
	if err != nil {
		z.t.Fatalf("submitting %s of %s: %v", s.Action, s.Target, err)
	}
	return op
}

// Wait waits for the end of an operation, or that it needs an operator, through
// any number of restarts of the zone.
func (z *Zone) Wait(id string) *resources.Operation {
	z.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		op := z.waitOnce(id)
		if op.Ended() || op.Phase == resources.PhaseNeedsOperator {
			return op
		}
		if time.Now().After(deadline) {
			z.t.Fatalf("operation %s did not end: %s, %q: %s", id, op.Phase, op.Message, describe(op))
		}
	}
}

// waitOnce waits as long as one system lives, but not for ever.
func (z *Zone) waitOnce(id string) *resources.Operation {
	z.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	op, err := z.Engine().Wait(ctx, resources.OperationID(id))
	if err != nil {
		z.t.Fatalf("waiting for operation %s: %v", id, err)
	}
	return op
}

func describe(op *resources.Operation) string {
	var text strings.Builder
	for _, s := range op.Steps {
		text.WriteString(s.Name + "=" + string(s.State) + " ")
	}
	return text.String()
}

// Get reads a resource.
func Get[R resources.Resource](z *Zone, kind resources.Kind, id string) R {
	z.t.Helper()
	var found R
	err := z.Machine.View(func(v *persistence.View) error {
		var err error
		found, err = persistence.Find[R](v, kind, id)
		return err
	})
	if err != nil {
		z.t.Fatalf("reading %s %s: %v", kind, id, err)
	}
	return found
}

// Known reports whether the state has a resource.
func (z *Zone) Known(ref resources.Ref) bool {
	known := false
	err := z.Machine.View(func(v *persistence.View) error {
		_, err := v.Get(ref)
		known = err == nil
		return nil
	})
	return err == nil && known
}

// CheckState fails the test if the state is not consistent in itself.
func (z *Zone) CheckState() {
	z.t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		found, err := v.Check()
		for _, f := range found {
			z.t.Errorf("state: %s", f)
		}
		return err
	})
	if err != nil {
		z.t.Errorf("checking the state: %v", err)
	}
}

// CheckTruth compares what simulated hardware has with what a state says, of a zone that somebody else made.
func CheckTruth(t testing.TB, machine *persistence.Machine, world *simworld.World) {
	t.Helper()
	z := &Zone{t: t, Machine: machine, World: world}
	z.CheckState()
	z.CheckTruth()
}

// CheckTruth compares what the simulated hardware has with what the state says.
func (z *Zone) CheckTruth() {
	z.t.Helper()
	truth, err := z.World.Truth()
	if err != nil {
		z.t.Fatalf("reading the truth: %v", err)
	}
	for _, o := range z.Orphans() {
		z.t.Errorf("truth: orphan %s", o)
	}
	for _, m := range z.Missing() {
		z.t.Errorf("truth: %s is missing", m)
	}
	for _, d := range truth.Duplicates() {
		z.t.Errorf("truth: duplicate %+v", d)
	}
	for _, d := range z.Deviations() {
		z.t.Errorf("truth: %s", d)
	}
	for _, e := range truth.Stale() {
		z.t.Errorf("truth: stale effect %s", e)
	}
}

// real reports whether the hardware must have a resource that is in a phase:
// yes, no, or either while something is under way.
func real(kind resources.Kind, p resources.Phase) (must, may bool) {
	if kind == resources.KindMachine {
		must = p == resources.PhaseRunning || p == resources.PhasePaused
		return must, must
	}
	must = p == resources.PhaseReady || p == resources.PhaseDegraded || p == resources.PhaseMaintenance
	return must, must
}

// Orphans lists what the hardware has and the state does not account for.
func (z *Zone) Orphans() []string {
	truth, err := z.World.Truth()
	if err != nil {
		z.t.Fatalf("reading the truth: %v", err)
	}
	var found []string
	for _, o := range truth.Orphans(func(ref simworld.Ref) bool {
		_, may := z.reality(resources.Ref{Kind: resources.Kind(ref.Kind), ID: ref.ID})
		return may
	}) {
		found = append(found, o.String())
	}
	return found
}

func (z *Zone) reality(ref resources.Ref) (must, may bool) {
	err := z.Machine.View(func(v *persistence.View) error {
		r, err := v.Get(ref)
		if err != nil {
			return nil //nolint:nilerr // not there: not real
		}
		must, may = real(ref.Kind, r.Metadata().Phase)
		return nil
	})
	if err != nil {
		z.t.Fatalf("reading %s: %v", ref, err)
	}
	return must, may
}

// Missing lists what the state calls real and the hardware does not have.
func (z *Zone) Missing() []string {
	truth, err := z.World.Truth()
	if err != nil {
		z.t.Fatalf("reading the truth: %v", err)
	}
	elsewhere := z.elsewhere()
	var missing []string
	for _, kind := range []resources.Kind{
		resources.KindPool, resources.KindVolume, resources.KindSnapshot, resources.KindImageStore,
		resources.KindTemplate, resources.KindHost, resources.KindNetwork, resources.KindNic, resources.KindMachine,
	} {
		err := z.Machine.View(func(v *persistence.View) error {
			return v.Each(kind, nil, func(r resources.Resource) bool {
				m := r.Metadata()
				if must, _ := real(kind, m.Phase); must && truth.Count(string(kind), m.ID) != 1 && !boundTo(v, m.Ref(), elsewhere) {
					missing = append(missing, m.Ref().String())
				}
				return true
			})
		})
		if err != nil {
			z.t.Fatalf("reading the %ss: %v", kind, err)
		}
	}
	return missing
}

// boundTo reports whether one of some products is to have a resource.
func boundTo(v *persistence.View, ref resources.Ref, products map[string]bool) bool {
	b, bound, err := v.Binding(ref)
	return err == nil && bound && products[b.Product]
}

// Real reports whether hardware must have a resource, and whether it may, by what the state says of it.
func (z *Zone) Real(ref resources.Ref) (must, may bool) { return z.reality(ref) }

// List returns all resources that a query selects.
func (z *Zone) List(q resources.Query) (all []resources.Resource, err error) {
	err = z.Machine.View(func(v *persistence.View) error {
		for {
			page, err := v.List(q)
			if err != nil {
				return err
			}
			all = append(all, page.Items...)
			if q.After = page.Next; q.After == "" {
				return nil
			}
		}
	})
	return all, err
}
