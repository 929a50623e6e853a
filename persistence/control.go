package persistence

import (
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Resolve is somebody's word on an operation: stop it, or what to do with one
// that needs an operator.
type Resolve struct {
	Operation  string               `json:"o"`
	Resolution resources.Resolution `json:"r"`
	Origin     resources.Origin     `json:"w"`
	// Unwinding lets an operation be abandoned that is being undone: entries of before this could be are not read so.
	Unwinding bool `json:"u,omitempty"`
	// Whole lets deletions that have begun go on to their end: what they took down is
	// not put up again. Entries of before this could be are not read so.
	Whole bool `json:"h,omitempty"`
}

func (*Resolve) commandName() string { return "resolve" }

func (c *Resolve) apply(t *tx) (Result, error) {
	old, err := t.Operation(resources.OperationID(c.Operation))
	if err != nil {
		return Result{}, err
	}
	t.principal, t.operation = c.Origin.Principal, old.ID
	clone, err := t.codec.Clone(old)
	if err != nil {
		return Result{}, err
	}
	op, ok := clone.(*resources.Operation)
	if !ok {
		return Result{}, fmt.Errorf("resolving %s: found a %T", c.Operation, clone)
	}
	if err := c.write(t, old, op); err != nil {
		return Result{}, err
	}
	err = t.audit(resources.Audit{
		Principal: c.Origin.Principal, Source: c.Origin.Source, RequestID: c.Origin.RequestID,
		Action: string(c.Resolution), Target: op.Ref(), Decision: "accepted", Digest: c.Origin.Digest,
	})
	return Result{Operation: op}, err
}

func (c *Resolve) write(t *tx, old, op *resources.Operation) error {
	if old.Ended() {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "operation-ended",
			Message: fmt.Sprintf("the operation has ended already: %s", old.Phase),
		}
	}
	if !c.open(old) {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "needs-no-operator",
			Message: fmt.Sprintf("the operation is %s; %s is for those that need an operator", old.Phase, c.Resolution),
			Remedy:  "cancel it, or wait for it to end",
		}
	}
	if err := c.mayCancel(t, old); err != nil {
		return err
	}
	if c.Resolution != resources.ResolutionCancel {
		op.Resolution = string(c.Resolution)
		return t.update(old, op)
	}
	op.Cancel = true
	if old.Phase != resources.PhaseQueued || op.Action == "create" {
		return t.update(old, op) // its owner ends it
	}
	zone, err := t.Zone()
	if err != nil {
		return err
	}
	ahead, err := t.mayBeAhead(zone, op)
	if err != nil {
		return err
	}
	if ahead {
		return t.update(old, op) // the same
	}
	op.Phase, op.EndedAt = resources.PhaseCancelled, t.at
	op.Error = &resources.Error{Class: resources.ClassCancelled, Code: "cancelled", Message: "cancelled before it began"}
	t.pending.remove(queueKey(ShardOf(op.Target, zone.Status.Shards), op.Target, op.Place()))
	t.ended(op)
	return t.update(old, op)
}

// mayBeAhead reports whether an operation that has not begun may have had an effect: resources are handed over before
// that is noted, when it is their turn.
func (t *tx) mayBeAhead(zone *resources.Zone, op *resources.Operation) (bool, error) {
	if op.Action != "rebind" {
		return false, nil
	}
	head, _, err := t.Head(ShardOf(op.Target, zone.Status.Shards), op.Target)
	if err != nil || head == nil || head.ID != op.ID {
		return false, err
	}
	r, err := t.stored(op.Target)
	return err == nil && !r.Metadata().Suspended, err
}

// mayCancel refuses to stop a deletion that has begun.
func (c *Resolve) mayCancel(t *tx, op *resources.Operation) error {
	if !c.Whole || c.Resolution != resources.ResolutionCancel || op.Phase == resources.PhaseQueued {
		return nil
	}
	action, _ := t.codec.vocabulary.Action(op.Target.Kind, op.Action)
	if !action.Deletes {
		return beforeFinal(op, action.Final)
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "deletion-begun",
		Message: "the deletion has begun: it can't be stopped any more",
		Remedy:  "wait for it to end",
	}
}

// beforeFinal refuses to stop an operation whose last step that can be stopped is done.
func beforeFinal(op *resources.Operation, final string) error {
	if op.Phase != resources.PhaseRunning || !op.Passed(final) {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "too-late",
		Message: fmt.Sprintf("step %s is done: the operation can't be stopped any more", final),
		Remedy:  "wait for it to end",
	}
}

// open reports whether an operation can be decided on like this: one that is being undone can be abandoned before that
// has failed for good, since what it waits for may be lost.
func (c *Resolve) open(op *resources.Operation) bool {
	return c.Resolution == resources.ResolutionCancel || op.Phase == resources.PhaseNeedsOperator ||
		c.Unwinding && c.Resolution == resources.ResolutionAbandon && op.Phase == resources.PhaseUnwinding
}

// Suspend holds back work on a resource, or lets it go on.
type Suspend struct {
	Ref       resources.Ref    `json:"r"`
	Suspended bool             `json:"s"`
	Origin    resources.Origin `json:"w"`
	// Reason, if set, says why work is held back (resources.ParkedReason).
	Reason string `json:"y,omitempty"`
}

func (*Suspend) commandName() string { return "suspend" }

func (c *Suspend) apply(t *tx) (Result, error) {
	t.principal = c.Origin.Principal
	current, err := t.stored(c.Ref)
	if err != nil {
		return Result{}, err
	}
	next, err := t.codec.Clone(current)
	if err != nil {
		return Result{}, err
	}
	m := next.Metadata()
	m.Suspended = c.Suspended
	if c.Reason != "" || strings.HasPrefix(m.Reason, resources.ParkedReason) {
		m.Reason = c.Reason
	}
	if err := t.update(current, next); err != nil {
		return Result{}, err
	}
	action := "resume-work"
	if c.Suspended {
		action = "suspend-work"
	}
	err = t.audit(resources.Audit{
		Principal: c.Origin.Principal, Source: c.Origin.Source, RequestID: c.Origin.RequestID,
		Action: action, Target: c.Ref, Decision: "accepted", Digest: c.Origin.Digest,
	})
	return Result{Resource: next}, err
}

// DecisionDenied is what the audit log says of a request that a policy did not allow.
const DecisionDenied = "denied"

// Refuse writes down that somebody was not allowed something. Nothing else is changed.
type Refuse struct {
	Action string           `json:"a"`
	Target resources.Ref    `json:"r"`
	Why    string           `json:"y"`
	Origin resources.Origin `json:"w"`
}

func (*Refuse) commandName() string { return "refuse" }

func (c *Refuse) apply(t *tx) (Result, error) {
	t.principal = c.Origin.Principal
	return Result{}, t.audit(resources.Audit{
		Principal: c.Origin.Principal, Source: c.Origin.Source, RequestID: c.Origin.RequestID, Action: c.Action,
		Target: c.Target, Decision: DecisionDenied, Statement: c.Why, Digest: c.Origin.Digest,
	})
}
