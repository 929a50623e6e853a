package operations

import (
	"cmp"
	"context"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ProgressOf says how far a swap is, with so many at most of the resources that are left. It goes through all that the
// swap is for until ctx ends, and takes its time.
func ProgressOf(
	ctx context.Context, v *persistence.View, s *resources.Swap, most int,
) (resources.SwapProgress, error) {
	if s.Status.Product == "" { // it was not planned
		return resources.SwapProgress{}, nil
	}
	versions, err := v.Versions(s.Status.Product)
	if err != nil {
		return resources.SwapProgress{}, err
	}
	shards, err := v.Shards()
	if err != nil {
		return resources.SwapProgress{}, err
	}
	t := tally{most: most, some: map[resources.SwapMemberState][]resources.SwapMember{}}
	breath := &breath{}
	var failed error
	err = eachInScope(v, s.Spec.Scope, s.Status.Product, func(r resources.Resource, b *persistence.Binding) bool {
		breath.take()
		if b != nil && covers(s.Spec.Scope, r) {
			failed = t.count(v, s, r, resources.DriverOf(versions, b.Version), shards)
		}
		failed = cmp.Or(failed, context.Cause(ctx))
		return failed == nil
	})
	return t.told(), cmp.Or(err, failed)
}

// tally counts what is left of a swap.
type tally struct {
	resources.SwapProgress
	most int // of each state are kept
	some map[resources.SwapMemberState][]resources.SwapMember
}

// count counts a resource that a version acts for; nil = one that is not installed.
func (t *tally) count(
	v *persistence.View, s *resources.Swap, r resources.Resource, acting *resources.Driver, shards int,
) error {
	switch {
	case acting == nil:
		return nil
	case acting.ID == string(s.Spec.To):
		t.Moved++
		return nil
	case acting.ID == string(s.Spec.From):
		return t.left(v, r, shards)
	}
	return nil
}

// left counts a resource that the version of before acts for.
func (t *tally) left(v *persistence.View, r resources.Resource, shards int) error {
	m := r.Metadata()
	head, _, err := v.Head(persistence.ShardOf(m.Ref(), shards), m.Ref())
	if err != nil {
		return err
	}
	one := resources.SwapMember{Resource: m.Ref(), Name: m.Name, State: resources.MemberIdle}
	if head != nil {
		one.Operation, one.Action = resources.OperationID(head.ID), head.Action
	}
	t.Left++
	switch {
	case m.Suspended:
		one.State = resources.MemberSuspended
		t.Suspended++
	case head != nil && head.Phase == resources.PhaseNeedsOperator && head.Resolution == "":
		one.State = resources.MemberNeedsOperator
		t.NeedsOperator++
	case head != nil:
		one.State = resources.MemberBusy
		t.Busy++
	}
	if len(t.some[one.State]) < t.most {
		t.some[one.State] = append(t.some[one.State], one)
	}
	return nil
}

// told is what was counted, those first that something keeps.
func (t *tally) told() resources.SwapProgress {
	p := t.SwapProgress
	p.Items = slices.Concat(t.some[resources.MemberNeedsOperator], t.some[resources.MemberSuspended],
		t.some[resources.MemberBusy], t.some[resources.MemberIdle])
	p.Items = p.Items[:min(len(p.Items), t.most)]
	return p
}
