package operations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// handOverTimeout bounds one attempt to hand a resource over: nothing else is done for it meanwhile.
	handOverTimeout = 15 * time.Second
	// releaseTimeout is how long the version of before has to let a resource go.
	releaseTimeout = 5 * time.Second
)

// Rebindable are the kinds that drivers remember, those in or on others before what they are in or on: a version reads
// what the one of before remembers, and need not be read by it.
func Rebindable() []resources.Kind {
	return []resources.Kind{
		resources.KindNic, resources.KindSnapshot, resources.KindTemplate, resources.KindVolume, resources.KindMachine,
		resources.KindNetwork, resources.KindImageStore, resources.KindPool, resources.KindHost,
	}
}

// rebindOperations have another version of its driver act for a resource. They wait in the queue of the resource as
// anything else does, so that nothing is done for it meanwhile and what waits goes to the version that it is bound to
// then.
func rebindOperations() []Definition {
	var all []Definition
	for _, kind := range Rebindable() {
		all = append(all, Definition{Kind: kind, Action: "rebind", Steps: steps(
			Step{Name: "hand-over", Do: handOver, Undo: takeBack, Timeout: handOverTimeout, Ahead: true},
		)})
	}
	return all
}

// handOver has the version that acts let the resource go, and the other one take it. The binding changes with the
// outcome of this step, or not at all.
func handOver(ctx context.Context, c *Context) error {
	to, already, err := c.successor()
	if err != nil || already {
		return err
	}
	if err := c.stillWanted(); err != nil {
		return err
	}
	next := *c
	next.acting = to.Spec.Version
	if !heldByDriver(c.Resource) {
		return c.rebindOnly(to)
	}
	handle, err := c.letGo(ctx)
	if err != nil {
		return err
	}
	d, err := next.server(ctx)
	if err != nil {
		return FromFault(err)
	}
	if handle != nil {
		d.call.Handle = handle
	}
	if err := next.take(ctx, &d); err != nil {
		return err
	}
	c.bind(d, d.call.GetHandle())
	return nil
}

// stillWanted fails if the swap that asked for this is being taken back, or has ended: who took it up after a crash did
// not wait for what it had asked for before.
func (c *Context) stillWanted() error {
	if c.Operation.ParentID == "" || c.goesBack() {
		return nil
	}
	var parent *resources.Operation
	err := c.Engine.View(func(v *persistence.View) (err error) {
		parent, err = v.Operation(c.Operation.ParentID)
		return unlessGone(err)
	})
	if err != nil || parent != nil && parent.Phase == resources.PhaseRunning {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "swap-taken-back", Message: "the swap that asked for it is being taken back",
		Remedy: "nothing is left to do",
	}
}

// goesBack reports whether the target is moved back, which succeeds whatever the version says that loses it: not if it
// overtakes only what an operator has not decided on.
func (c *Context) goesBack() bool {
	if !c.Operation.Urgent {
		return false
	}
	forth := false
	err := c.Engine.View(func(v *persistence.View) error {
		parent, err := v.Operation(c.Operation.ParentID)
		if err != nil {
			return unlessGone(err)
		}
		s, err := persistence.Find[*resources.Swap](v, resources.KindSwap, parent.Target.ID)
		forth = err == nil && s.Spec.To == c.Operation.Arguments.DriverID
		return unlessGone(err)
	})
	return err != nil || !forth
}

// successor is the version that is to act, and whether it does already.
func (c *Context) successor() (to *resources.Driver, already bool, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		id := string(c.Operation.Arguments.DriverID)
		if to, err = persistence.Find[*resources.Driver](v, resources.KindDriver, id); err != nil {
			return err
		}
		b, bound, err := v.Binding(c.Operation.Target)
		if err != nil || !bound {
			already = true // whichever it gets is that of its owner
			return err
		}
		if b.Product != to.Spec.Product {
			return &resources.Error{
				Class: resources.ClassConflict, Code: "other-driver",
				Message: fmt.Sprintf("%s is bound to driver %s, not %s", c.Operation.Target, b.Product, to.Spec.Product),
			}
		}
		already, err = acts(v, to, b)
		return err
	})
	return to, already, err
}

// acts reports whether a version is the one that acts for what has a binding to its product.
func acts(v *persistence.View, d *resources.Driver, b persistence.Binding) (bool, error) {
	if !d.Spec.BuiltIn && b.Version != "" { // only one that ships with the program acts for what names another
		return b.Version == d.Spec.Version, nil
	}
	versions, err := v.Versions(b.Product)
	now := resources.DriverOf(versions, b.Version)
	return now != nil && now.ID == d.ID, err
}

// heldByDriver reports whether a driver has something of a resource that it lets go and takes: of one that is off, or
// that is a file alone, or that was not made, there is nothing but what it remembers.
func heldByDriver(r resources.Resource) bool {
	m := r.Metadata()
	switch m.Kind {
	case resources.KindTemplate, resources.KindSnapshot:
		return false
	case resources.KindMachine:
		return m.Phase != resources.PhaseStopped && m.Phase != resources.PhaseStarting && m.Phase != resources.PhaseFailed
	default:
		return m.Phase != resources.PhaseFailed && m.Phase != resources.PhaseCreating
	}
}

// rebindOnly changes the binding of what no driver holds.
func (c *Context) rebindOnly(to *resources.Driver) error {
	return c.Engine.View(func(v *persistence.View) error {
		b, bound, err := v.Binding(c.Operation.Target)
		if err != nil || !bound {
			return err
		}
		b.Version = to.Spec.Version
		c.Outcome.Unbind, c.Outcome.Binding = false, &b
		return nil
	})
}

// letGo has the version that acts let the target go, and returns what it remembers then. One that is not there lets go
// of nothing: what it remembered last holds. When it is to lose the resource whatever it says, what it says counts only
// if it may still be at work on it.
func (c *Context) letGo(ctx context.Context) (*driverpb.Handle, error) {
	d, err := c.server(ctx)
	if err != nil {
		return c.letGoAnyhow(FromFault(err))
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	d.call.Token = c.Token() + "/release"
	reply, err := driverpb.NewBaseClient(d.conn).Release(ctx, &driverpb.ReleaseRequest{Call: d.call})
	switch {
	case lost(err):
		return nil, nil
	case err != nil:
		return c.letGoAnyhow(FromFault(err))
	}
	return reply.GetHandle(), nil
}

func (c *Context) letGoAnyhow(err error) (*driverpb.Handle, error) {
	if resources.ClassOf(err) == resources.ClassUnknown || !c.goesBack() {
		return nil, err
	}
	return nil, nil
}

// lost reports whether a driver answers that the thing is not there: there is nothing to let go of then, nor to take.
func lost(err error) bool {
	return err != nil && resources.ClassOf(FromFault(err)) == resources.ClassNotFound
}

// take has a version take the target, and asks it whether that is well. What was lost before, or may have been deleted
// since, is its own also if it finds nothing.
func (c *Context) take(ctx context.Context, d *driver) error {
	d.call.Token = c.Token() + "/adopt"
	reply, err := driverpb.NewBaseClient(d.conn).Adopt(ctx, &driverpb.AdoptRequest{Call: d.call})
	if lost(err) && (notedIll(c.Resource) || c.Operation.Urgent) {
		return nil
	}
	if err != nil {
		return FromFault(err)
	}
	if reply.GetHandle() != nil {
		d.call.Handle = reply.GetHandle()
	}
	found, err := c.probe(ctx, *d, "/probe")
	if err != nil || !found.ill() || notedIll(c.Resource) || c.Operation.Urgent {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "ill-with-version",
		Message: fmt.Sprintf("version %s says of it: %s", d.version, found.reason),
		Remedy:  "see what the driver says in its log; the version of before has it again",
	}
}

// takeBack has the version that acts take the resource again, which it let go in vain.
func takeBack(ctx context.Context, c *Context) error {
	to, already, err := c.successor()
	if resources.ClassOf(err) == resources.ClassNotFound || err == nil && (already || !heldByDriver(c.Resource)) {
		return nil
	}
	if err != nil {
		return err
	}
	other := *c
	other.acting = to.Spec.Version
	if _, err := other.letGo(ctx); resources.ClassOf(err) == resources.ClassUnknown {
		return fmt.Errorf("having version %s let it go: %w", to.Spec.Version, err)
	}
	d, err := c.server(ctx)
	if err != nil {
		return err
	}
	err = c.adopt(ctx, d)
	if errors.Is(err, context.DeadlineExceeded) {
		return FromFault(err)
	}
	return gone(err) // what it can't find is ill with it, as it would be had nobody asked
}
