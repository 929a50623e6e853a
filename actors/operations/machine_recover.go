package operations

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// checkRecovery refuses to start a machine elsewhere that may still run.
func checkRecovery(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok {
		return nil
	}
	if move := m.Status.Moving; move != nil && string(move.OperationID) != op.ID {
		return onItsWay(m)
	}
	h, err := persistence.Find[*resources.Host](v, resources.KindHost, string(m.Status.HostID))
	if err != nil {
		return err
	}
	if h.Fenced() {
		return checkMove(v, op, r)
	}
	return unfenced(h)
}

// unfenced says how to get the proof that is missing.
func unfenced(h *resources.Host) *resources.Error {
	ref := h.Ref()
	e := &resources.Error{
		Class: resources.ClassConflict, Code: "not-fenced", Resource: &ref,
		Message: fmt.Sprintf("nothing proves that host %s (%s) does not run: what is on it may still run", h.Name, h.ID),
		Remedy: "fence it (bulkhead host fence " + h.Name + "); where it has no controller that answers, make sure that it " +
			"is off, and say so (bulkhead host attest-off " + h.Name + " --statement WORDS)",
	}
	switch {
	case h.Status.Suspicion == nil:
		e.Remedy = "the host answers: stop the machine, or migrate it"
	case h.Spec.OutOfBand == nil:
		e.Remedy = "make sure that the host is off, and say so (bulkhead host attest-off " + h.Name +
			" --statement WORDS), or tell how its controller is reached (bulkhead host update " + h.Name +
			" --out-of-band-driver ...) and fence it"
	}
	return e
}

func requireFence(_ context.Context, c *Context) error {
	return c.Engine.View(func(v *persistence.View) error { return checkRecovery(v, c.Operation, c.Resource) })
}

// takeOver puts the machine on the other host, where it does not run yet. The proof is
// looked at once more: the host may have come back meanwhile.
func takeOver(_ context.Context, c *Context) error {
	_, move, err := c.moving()
	if err != nil || move == nil || move.Moved {
		return err
	}
	h, err := Find[*resources.Host](c, resources.KindHost, string(move.FromHostID))
	if err != nil {
		return err
	}
	if !h.Fenced() {
		return unfenced(h)
	}
	old, err := c.handle(c.Operation.Target)
	if err != nil {
		return err
	}
	c.unbind()
	Change(c, func(m *resources.Machine) {
		move := m.Status.Moving
		m.Status.HostID, move.Moved = move.ToHostID, true
		move.Handle, move.HandleVersion = old.GetData(), old.GetVersion()
	})
	return nil
}

// handBack puts it back on its old host, as it was. It does not run on the other one.
func handBack(_ context.Context, c *Context) error {
	_, move, err := c.moving()
	if err != nil || move == nil || !move.Moved || c.startedElsewhere() {
		return err
	}
	h, err := Find[*resources.Host](c, resources.KindHost, string(move.FromHostID))
	if err != nil {
		return err
	}
	if len(move.Handle) > 0 {
		version, err := c.version(h.Spec.Driver, h.Ref())
		if err != nil {
			return err
		}
		c.Outcome.Binding = &persistence.Binding{
			Ref: c.Operation.Target, Product: h.Spec.Driver, Version: version,
			Handle: move.Handle, HandleVersion: move.HandleVersion,
		}
	}
	now := c.Engine.Now()
	Change(c, func(m *resources.Machine) {
		move := m.Status.Moving
		m.Status.HostID, move.Moved = move.FromHostID, false
		move.Handle, move.HandleVersion = nil, 0
		m.Status.StartedAt = now // it was on when its host was lost
	})
	return nil
}

// startRecovered starts the machine where it was taken to. A host that has come back
// meanwhile is asked to end what it has of it first.
func startRecovered(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil {
		return err
	}
	if err := c.endAt(ctx, m, move, move.FromHostID); err != nil {
		return err
	}
	return startMachine(ctx, c)
}

// stopRecovered stops it again, unless only what is left on its old host could not be
// taken away: then it stays where it runs.
func stopRecovered(ctx context.Context, c *Context) error {
	if c.startedElsewhere() {
		return nil
	}
	return cutPower(ctx, c)
}

func (c *Context) startedElsewhere() bool {
	return c.Operation.FailedStep == stepLeave || c.Operation.FailedStep == stepUnplace
}
