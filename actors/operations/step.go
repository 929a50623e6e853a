package operations

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Definition says how an action is carried out.
type Definition struct {
	Kind   resources.Kind
	Action string
	// Steps of one operation. They follow from the operation's arguments and the
	// resource's spec alone, so that they are the same after a restart.
	Steps func(op *resources.Operation, r resources.Resource) []Step
	// Check, if set, refuses what can be seen to fail before it is accepted, so that nothing is left of it. What it
	// looks at may change until the operation begins: the steps look again.
	Check func(v *persistence.View, op *resources.Operation, r resources.Resource) error
	// After, if set, gives the phase once it succeeded, by the resource as its last step leaves it.
	After func(op *resources.Operation, r resources.Resource) resources.Phase
	// Undone, if set, gives the phase once it failed and was undone as far as can be, by the resource as that leaves it.
	Undone func(op *resources.Operation, r resources.Resource) resources.Phase
}

// Step is the smallest part of an operation that can fail on its own.
type Step struct {
	Name string
	// Do does it. Done twice, it has the effect of once.
	Do func(ctx context.Context, c *Context) error
	// Undo takes back what Do did, or may have done; nil = there is nothing to
	// take back. Undone twice, it has the effect of once.
	Undo func(ctx context.Context, c *Context) error
	// Local says that Do has no effect but its Outcome, and asks nobody but the
	// state: where it comes first it is done and written as the operation begins.
	Local bool
	// Ahead says that Do may be done before anybody noted that it has begun, if it is the only step: it takes nothing
	// for granted that an attempt before it did. What is cancelled meanwhile is undone.
	Ahead bool
	// Timeout bounds one attempt; 0 = the default.
	Timeout time.Duration
}

// DefaultTimeout bounds one attempt of a step.
const DefaultTimeout = 2 * time.Minute

// Definitions lists what can be done: the one place to add a line.
func Definitions() []Definition {
	var all []Definition
	for _, kind := range [][]Definition{
		hostOperations(), poolOperations(), imageStoreOperations(), templateOperations(), networkOperations(),
		ruleOperations(), nicOperations(), volumeOperations(), snapshotOperations(), machineOperations(),
		rebindOperations(), swapOperations(),
	} {
		all = append(all, kind...)
	}
	return all
}

// Table is the definitions by kind and action.
type Table map[resources.Kind]map[string]Definition

// NewTable indexes Definitions.
func NewTable() Table {
	t := Table{}
	for _, d := range Definitions() {
		if t[d.Kind] == nil {
			t[d.Kind] = map[string]Definition{}
		}
		t[d.Kind][d.Action] = d
	}
	return t
}

// Find returns the definition of an action. An action without one is instant: it
// is done once it is accepted.
func (t Table) Find(kind resources.Kind, action string) (Definition, bool) {
	d, ok := t[kind][action]
	return d, ok
}

// steps makes a Steps function of a fixed list.
func steps(list ...Step) func(*resources.Operation, resources.Resource) []Step {
	return func(*resources.Operation, resources.Resource) []Step { return list }
}
