package resources

import (
	"slices"
	"time"
)

// Phase is where a resource stands; each kind has a table of those it can be in.
type Phase string

// The phases. Those that end in -ing are transitional: an operation with a
// deadline is under way.
const (
	PhasePending  Phase = "pending" // accepted, nothing done yet
	PhaseCreating Phase = "creating"
	PhaseReady    Phase = "ready"
	PhaseUpdating Phase = "updating"
	PhaseDeleting Phase = "deleting"
	PhaseFailed   Phase = "failed"  // creation failed and was undone; only delete is left
	PhaseDeleted  Phase = "deleted" // gone from the state; seen in the last event only
	PhaseDegraded Phase = "degraded"

	PhaseMaintaining Phase = "maintaining" // hosts
	PhaseMaintenance Phase = "maintenance"

	PhaseRunning Phase = "running" // machines and operations
	PhaseStopped Phase = "stopped"
	PhasePaused  Phase = "paused"

	PhaseStarting   Phase = "starting"
	PhaseStopping   Phase = "stopping"
	PhaseRebooting  Phase = "rebooting"
	PhasePausing    Phase = "pausing"
	PhaseResuming   Phase = "resuming"
	PhaseMigrating  Phase = "migrating"
	PhaseRecovering Phase = "recovering"

	PhaseQueued        Phase = "queued" // operations
	PhaseUnwinding     Phase = "unwinding"
	PhaseSucceeded     Phase = "succeeded"
	PhaseCancelled     Phase = "cancelled"
	PhaseNeedsOperator Phase = "needs-operator"
)

// Table lists from each phase the phases that may follow. Staying in a phase is
// always allowed.
type Table map[Phase][]Phase

// Allows reports whether a resource may go from one phase to another.
func (t Table) Allows(from, to Phase) bool {
	if from == to {
		_, known := t[from]
		return known
	}
	return slices.Contains(t[from], to)
}

// rests are the phases that no operation needs to end, sorted.
func (t Table) rests() (list []Phase) {
	for phase := range t {
		if phase != PhaseDeleted && !phase.passes() {
			list = append(list, phase)
		}
	}
	slices.Sort(list)
	return list
}

// passes reports whether a resource is in a phase only while an operation is under way.
func (p Phase) passes() bool {
	switch p {
	case PhaseCreating, PhaseUpdating, PhaseDeleting, PhaseMaintaining, PhaseStarting, PhaseStopping, PhaseRebooting,
		PhasePausing, PhaseResuming, PhaseMigrating, PhaseRecovering, PhaseSwapping, PhaseRollingBack, PhaseUnwinding:
		return true
	default:
		return false
	}
}

// Action is something that can be asked of a resource of a kind.
type Action struct {
	Name string
	// From are the phases in which it can begin.
	From []Phase
	// During is the phase while it runs; "" = unchanged.
	During Phase
	// After is the phase once it succeeded; "" = as it was before.
	After Phase
	// Undone is the phase once it failed and was undone; "" = as it was before.
	Undone Phase
	// Deadline bounds the whole operation.
	Deadline time.Duration
	// Summary in a few words, for people.
	Summary string
	// Level of the zones that have it; 0 = all.
	Level uint32
	// Final is the step after which it can't be cancelled any more; "" = there is none.
	Final string
	// Internal actions are asked for by the engine alone.
	Internal bool
	// Deletes is set when the resource is gone once it succeeded.
	Deletes bool
	// Settable is set when the resource's driver can be given settings for this operation alone.
	Settable bool
}

// simpleTable is the life of a resource that is made, used, changed and deleted.
func simpleTable() Table {
	return Table{
		PhasePending:  {PhaseCreating, PhaseReady, PhaseFailed, PhaseDeleting, PhaseDeleted},
		PhaseCreating: {PhaseReady, PhaseFailed},
		PhaseReady:    {PhaseUpdating, PhaseDegraded, PhaseDeleting, PhaseDeleted},
		PhaseDegraded: {PhaseReady, PhaseUpdating, PhaseDeleting},
		PhaseUpdating: {PhaseReady, PhaseDegraded},
		PhaseFailed:   {PhaseDeleting, PhaseDeleted},
		PhaseDeleting: {PhaseDeleted, PhaseReady, PhaseDegraded, PhaseFailed, PhasePending},
		PhaseDeleted:  {},
	}
}

// made are the phases of a simple table in which a resource can be changed.
func made() []Phase { return []Phase{PhaseReady, PhaseDegraded} }

func createAction(deadline time.Duration) Action {
	return Action{
		Name: "create", From: []Phase{PhasePending}, During: PhaseCreating, After: PhaseReady,
		Undone: PhaseFailed, Deadline: deadline, Summary: "Create",
	}
}

func deleteAction(deadline time.Duration) Action {
	return Action{
		Name: "delete", From: []Phase{PhasePending, PhaseReady, PhaseDegraded, PhaseFailed}, During: PhaseDeleting,
		After: PhaseDeleted, Deadline: deadline, Summary: "Delete", Deletes: true,
	}
}

func updateAction() Action {
	return Action{
		Name: "update", From: []Phase{PhasePending, PhaseReady, PhaseDegraded, PhaseFailed},
		Deadline: time.Minute, Summary: "Change name, labels or settings",
	}
}

// realisedUpdate is updateAction for kinds whose spec is put in force by an
// operation, which needs them to be made.
func realisedUpdate(deadline time.Duration) Action {
	a := updateAction()
	a.From, a.During, a.Deadline = made(), PhaseUpdating, deadline
	return a
}

func actions(list ...Action) map[string]Action {
	m := make(map[string]Action, len(list))
	for _, a := range list {
		m[a.Name] = a
	}
	return m
}

// settable marks an action whose driver can be given settings for it alone.
func settable(a Action) Action {
	a.Settable = true
	return a
}

// internal marks an action that only the engine asks for.
func internal(a Action) Action {
	a.Internal = true
	return a
}
