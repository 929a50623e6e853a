package door

import (
	"context"
	"io"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Get loads one resource of the kind the grant is for.
func (d *Door) Get(ctx context.Context, g Grant, id string) (resources.Resource, error) {
	ref := resources.Ref{Kind: g.permission.Kind, ID: id}
	if !g.covers(ref.Kind) {
		return nil, ungranted(g)
	}
	r, revision, err := d.reader.Get(ctx, ref)
	g.first(revision)
	if err != nil {
		return nil, err
	}
	if r.Metadata().Kind != ref.Kind || !d.visible(g.principal.role, r) {
		return nil, resources.NotFound(ref)
	}
	return r, nil
}

// List returns a page of resources of the kind the grant is for. What its holder
// may not see is left out, so a page can be shorter than its limit while Next is
// set.
func (d *Door) List(ctx context.Context, g Grant, q resources.Query) (resources.Page, error) {
	if !g.covers(q.Kind, VerbList, VerbGet) {
		return resources.Page{}, ungranted(g)
	}
	page, err := d.reader.List(ctx, q)
	if err != nil {
		return resources.Page{}, err
	}
	g.first(page.Revision)
	page.Items = slices.DeleteFunc(slices.Clone(page.Items), func(r resources.Resource) bool {
		return !d.visible(g.principal.role, r)
	})
	return page, nil
}

// Events follows the events its holder may see, as Reader.Events does.
func (d *Door) Events(
	ctx context.Context, g Grant, from resources.Position, yield func(resources.Event) bool,
) error {
	if !g.covers(KindEvent, VerbWatch) {
		return ungranted(g)
	}
	return d.reader.Events(ctx, from, func(e resources.Event) bool {
		if !d.allows(g.principal.role, To(VerbGet, e.Ref.Kind)) {
			return true
		}
		if e.Resource != nil && !d.visible(g.principal.role, e.Resource) {
			return true
		}
		return yield(e)
	})
}

// AuditLog returns at most limit lines that come after a position in an order.
func (d *Door) AuditLog(
	ctx context.Context, g Grant, after resources.Position, order resources.Order, limit int,
) ([]resources.Audit, error) {
	if !g.covers(KindAudit, VerbList) {
		return nil, ungranted(g)
	}
	lines, revision, err := d.reader.AuditLog(ctx, after, order, limit)
	g.first(revision)
	return lines, err
}

// verbUpload is the permission to bring the content of a template: it ends in
// the action "create", which its creation put off.
const verbUpload = "upload"

// verbPlan is the permission to ask what a creation would do.
const verbPlan = "plan"

// VerbForget is the permission to delete what can't be removed from where it is,
// VerbForgetVolume that to detach it.
const (
	VerbForget       = "forget"
	VerbForgetVolume = "forget-volume"
	// VerbAttest is the permission to say that a host does not run.
	VerbAttest = "attest-off"
)

func (g Grant) submits(s resources.Submission) bool {
	if !g.covers(s.Target.Kind) {
		return false
	}
	switch g.permission.Verb {
	case verbUpload:
		return s.Action == "create"
	case VerbForget:
		return s.Action == "delete" && s.Arguments.Forget
	case VerbForgetVolume:
		return s.Action == "detach-volume" && s.Arguments.Forget
	}
	return g.permission.Verb == s.Action && !s.Arguments.Forget
}

// Submit asks the engine for the action the grant is for. The holder is written
// into the operation.
func (d *Door) Submit(ctx context.Context, g Grant, s resources.Submission) (*resources.Operation, error) {
	if !g.submits(s) {
		return nil, ungranted(g)
	}
	if err := d.mayUse(ctx, g, s); err != nil {
		// What was allowed when it was asked for first is answered as then.
		if o, unlike := d.Repeated(ctx, g, s.IdempotencyKey, s.Fingerprint); o != nil || unlike != nil {
			g.later(o, unlike)
			return o, unlike
		}
		d.refuse(ctx, g, s, err)
		return nil, err
	}
	s.Origin.Principal = g.principal.String()
	o, err := d.engine.Submit(ctx, s)
	g.later(o, err)
	return o, err
}

// Repeated returns the operation that an equal request of the holder became
// before, by its idempotency key; nil = there was none. A repetition is answered
// with it before anything else is looked at: what the first request stood on may
// be gone by now.
func (d *Door) Repeated(ctx context.Context, g Grant, key string, fingerprint []byte) (*resources.Operation, error) {
	if g.principal.id == "" {
		return nil, ungranted(g)
	}
	if key == "" {
		return nil, nil
	}
	return d.reader.Repeated(ctx, g.principal.String(), key, fingerprint)
}

// Plan asks the engine what a creation would do.
func (d *Door) Plan(ctx context.Context, g Grant, s resources.Submission) (*resources.Plan, error) {
	if !g.covers(s.Target.Kind, verbPlan) {
		return nil, ungranted(g)
	}
	if err := d.mayUse(ctx, g, s); err != nil {
		return nil, err // what was not asked for in earnest is not written down
	}
	s.Origin.Principal = g.principal.String()
	return d.engine.Plan(ctx, s)
}

// Wait waits for an operation that the holder can see: one it was answered with
// by Submit, or any that its grant to get operations lets it read.
func (d *Door) Wait(ctx context.Context, g Grant, id resources.OperationID) (*resources.Operation, error) {
	if g.principal.id == "" {
		return nil, ungranted(g)
	}
	o, err := d.engine.Wait(ctx, id)
	if err != nil {
		return nil, err
	}
	if !d.visible(g.principal.role, o) {
		return nil, resources.NotFound(resources.Ref{Kind: resources.KindOperation, ID: string(id)})
	}
	g.later(o, nil)
	return o, nil
}

// Resolve takes down what the holder decides on an operation.
func (d *Door) Resolve(
	ctx context.Context, g Grant, id resources.OperationID, r resources.Resolution, o resources.Origin,
) (*resources.Operation, error) {
	if !g.covers(resources.KindOperation, string(r)) {
		return nil, ungranted(g)
	}
	found, err := d.Get(ctx, g, string(id))
	if err != nil {
		return nil, err
	}
	if err := d.mayDecide(ctx, g, found); err != nil {
		return nil, err
	}
	o.Principal = g.principal.String()
	op, err := d.engine.Resolve(ctx, id, r, o)
	g.later(op, err)
	return op, err
}

// mayDecide fails unless the holder may begin what an operation does, and what those do that asked for it: who may not
// begin a swap may not stop one either, nor a part of it.
func (d *Door) mayDecide(ctx context.Context, g Grant, r resources.Resource) error {
	for {
		o, ok := r.(*resources.Operation)
		if !ok {
			return nil
		}
		began := To(o.Action, o.Target.Kind)
		if o.Arguments.Forget {
			began.Verb = VerbForget
		}
		if !d.allows(g.principal.role, began) {
			e := denied(began)
			e.Message = "your role does not allow to decide on this: it is part of " + began.String()
			return e
		}
		if o.ParentID == "" {
			return nil
		}
		var err error
		r, _, err = d.reader.Get(ctx, resources.Ref{Kind: resources.KindOperation, ID: string(o.ParentID)})
		if resources.ClassOf(err) == resources.ClassNotFound { // it ended long ago
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// The verbs of Suspend.
const (
	VerbSuspend = "suspend-work"
	VerbResume  = "resume-work"
)

// Suspend holds back work on a resource, or lets it go on, as the grant says.
func (d *Door) Suspend(ctx context.Context, g Grant, id string, o resources.Origin) (resources.Resource, error) {
	if !g.covers(g.permission.Kind, VerbSuspend, VerbResume) {
		return nil, ungranted(g)
	}
	ref := resources.Ref{Kind: g.permission.Kind, ID: id}
	asked := resources.Submission{Action: g.permission.Verb, Target: ref, Origin: o}
	if err := d.mayUse(ctx, g, asked); err != nil {
		d.refuse(ctx, g, asked, err)
		return nil, err
	}
	o.Principal = g.principal.String()
	r, err := d.engine.Suspend(ctx, ref, g.permission.Verb == VerbSuspend, o)
	g.later(r, err)
	return r, err
}

// Use loads the resource that the grant is for an action on which not the engine does. It fails as Get does, and with
// class denied unless the policies allow it.
func (d *Door) Use(ctx context.Context, g Grant, id string, o resources.Origin) (resources.Resource, error) {
	r, err := d.Get(ctx, g, id)
	if err != nil {
		return nil, err
	}
	asked := resources.Submission{Action: g.permission.Verb, Target: r.Metadata().Ref(), Origin: o}
	if err := d.mayUse(ctx, g, asked); err != nil {
		d.refuse(ctx, g, asked, err)
		return nil, err
	}
	return r, nil
}

// Console connects to a machine's console. The caller closes it.
func (d *Door) Console(
	ctx context.Context, g Grant, id resources.MachineID, kind string,
) (io.ReadWriteCloser, error) {
	if !g.covers(resources.KindMachine, "console") {
		return nil, ungranted(g)
	}
	asked := resources.Submission{
		Action: g.permission.Verb, Target: resources.Ref{Kind: resources.KindMachine, ID: string(id)},
	}
	if err := d.mayUse(ctx, g, asked); err != nil {
		d.refuse(ctx, g, asked, err)
		return nil, err
	}
	return d.engine.Console(ctx, id, kind)
}
