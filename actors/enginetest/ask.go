package enginetest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Create asks for a resource, and waits for the end of the operation.
func (z *Zone) Create(r resources.Resource) *resources.Operation {
	z.t.Helper()
	return z.Wait(z.Submit(creation(r)))
}

// Make creates a resource, and fails the test if that fails.
func (z *Zone) Make(r resources.Resource) resources.Ref {
	z.t.Helper()
	op := z.Create(r)
	z.Succeeded(op)
	return op.Target
}

// Do asks for an action on a resource, and waits for the end of the operation.
func (z *Zone) Do(ref resources.Ref, action string, args resources.Arguments) *resources.Operation {
	z.t.Helper()
	return z.Wait(z.Submit(resources.Submission{Action: action, Target: ref, Arguments: args}))
}

func creation(r resources.Resource) resources.Submission {
	return resources.Submission{Action: "create", Target: resources.Ref{Kind: r.Metadata().Kind}, Resource: r}
}

// Creation is what to submit to create a resource, for Scenario.Prepare.
func Creation(r resources.Resource) resources.Submission { return creation(r) }

// Action is what to submit for an action on a resource, for Scenario.Prepare.
func Action(ref resources.Ref, action string, args resources.Arguments) resources.Submission {
	return resources.Submission{Action: action, Target: ref, Arguments: args}
}

// Submit asks for something and does not wait. The settings of what is created are checked as the API checks them.
func (z *Zone) Submit(s resources.Submission) *resources.Operation {
	z.t.Helper()
	if s.Resource != nil && s.Action == "create" {
		z.validate(s.Resource)
	}
	return z.inner.Submit(s)
}

// Wait waits until an operation has ended, or needs an operator, through crashes of the engine.
func (z *Zone) Wait(op *resources.Operation) *resources.Operation {
	z.t.Helper()
	return z.inner.Wait(op.ID)
}

// Cancel asks for an operation to stop.
func (z *Zone) Cancel(op *resources.Operation) { z.inner.Cancel(op.ID) }

// Suspend holds back what is asked of a resource from here on, and Resume lets it go on.
func (z *Zone) Suspend(ref resources.Ref) {
	z.t.Helper()
	z.suspend(ref, true)
}

// Resume lets go on what Suspend held back.
func (z *Zone) Resume(ref resources.Ref) {
	z.t.Helper()
	z.suspend(ref, false)
}

func (z *Zone) suspend(ref resources.Ref, hold bool) {
	z.t.Helper()
	origin := resources.Origin{Principal: "test"}
	if _, err := z.inner.Engine().Suspend(z.t.Context(), ref, hold, origin); err != nil {
		z.t.Fatalf("suspending %s (%v): %v", ref, hold, err)
	}
}

// Known reports whether there is a resource.
func (z *Zone) Known(ref resources.Ref) bool { return z.inner.Known(ref) }

// Get reads a resource as its own type.
func Get[R resources.Resource](z *Zone, ref resources.Ref) R {
	z.t.Helper()
	return actorstest.Get[R](z.inner, ref.Kind, ref.ID)
}

// validate looks whether the settings for a driver are such as it describes.
func (z *Zone) validate(r resources.Resource) {
	z.t.Helper()
	for _, s := range resources.SettingsOf(r) {
		acting := z.acting(s.Product, "")
		if acting == nil {
			continue
		}
		err := acting.descriptor.Validate(property.Values{Driver: s.Product, Scope: string(s.Scope), Given: s.Values})
		if err != nil {
			z.t.Fatalf("enginetest: settings of the %s: %v", s.Scope, err)
		}
	}
}
