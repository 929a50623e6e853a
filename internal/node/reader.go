package node

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// reader is the zone's state as the API reads it.
type reader struct {
	machine *persistence.Machine
	cluster *cluster.Node
	engine  *actors.Engine
	drivers *driving.Drivers
	agents  *agents
	tokens  *tokens
	uses    *uses
}

// Consistent implements door.Reader.
func (r *reader) Consistent(ctx context.Context, c door.Consistency) (uint64, error) {
	need := c.AtLeast
	if !c.Stale {
		index, err := r.cluster.ReadIndex(ctx)
		if err != nil {
			return r.machine.AppliedIndex(), clusterError(err)
		}
		need = max(need, index)
	}
	err := r.cluster.WaitApplied(ctx, need)
	return r.machine.AppliedIndex(), clusterError(err)
}

// Get implements door.Reader. Of a driver it says how many resources it acts for.
func (r *reader) Get(_ context.Context, ref resources.Ref) (resources.Resource, uint64, error) {
	if ref.Kind != resources.KindToken {
		return r.read(ref)
	}
	if known, revision := r.tokens.find(ref.ID); known != nil {
		return known, revision, nil
	}
	changes := r.machine.Changes(resources.KindToken)
	found, revision, err := r.read(ref)
	if token, ok := found.(*resources.Token); ok {
		r.tokens.keep(token, changes)
	}
	return found, revision, err
}

// Changes implements door.Reader.
func (r *reader) Changes(kind resources.Kind) uint64 { return r.machine.Changes(kind) }

func (r *reader) read(ref resources.Ref) (found resources.Resource, revision uint64, err error) {
	err = r.machine.View(func(v *persistence.View) error {
		if revision, err = v.Applied(); err != nil {
			return err
		}
		found, err = v.Get(ref)
		return err
	})
	if err != nil {
		return nil, revision, err
	}
	found = r.agents.describe(r.drivers.Describe(found))
	if d, ok := found.(*resources.Driver); ok {
		d.Status.Bound, err = r.uses.total(d) // lists go without: each would read all bindings
	}
	return found, revision, err
}

// List implements door.Reader.
func (r *reader) List(_ context.Context, q resources.Query) (page resources.Page, err error) {
	err = r.machine.View(func(v *persistence.View) error {
		page, err = v.List(q)
		return err
	})
	for i := range page.Items {
		page.Items[i] = r.agents.describe(r.drivers.Describe(page.Items[i]))
	}
	return page, err
}

// Events implements door.Reader.
func (r *reader) Events(ctx context.Context, after resources.Position, yield func(resources.Event) bool) error {
	return r.engine.Events(ctx, after, yield)
}

// AuditLog implements door.Reader.
func (r *reader) AuditLog(
	_ context.Context, after resources.Position, order resources.Order, limit int,
) (lines []resources.Audit, revision uint64, err error) {
	err = r.machine.View(func(v *persistence.View) error {
		if revision, err = v.Applied(); err != nil {
			return err
		}
		lines, err = v.AuditLog(after, order, limit)
		return err
	})
	return lines, revision, err
}

// Repeated implements door.Reader.
func (r *reader) Repeated(
	_ context.Context, principal, key string, fingerprint []byte,
) (op *resources.Operation, err error) {
	err = r.machine.View(func(v *persistence.View) error {
		op, err = v.Repeated(principal, key, fingerprint)
		return err
	})
	return op, err
}
