package operations

import (
	"cmp"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// planOf says what a swap comes to now.
func planOf(v *persistence.View, s swap) (resources.SwapPlan, error) {
	plan, unfit := termsOf(v, s)
	members, err := gather(v, s, s.from, unfit.look, &breath{})
	plan.PropertiesMissing = append(plan.PropertiesMissing, unfit.missing.list()...)
	plan.PropertiesInWords = append(plan.PropertiesInWords, unfit.refused.list()...)
	for _, m := range members {
		switch {
		case m.suspended:
			plan.Suspended++
			continue
		case m.busy:
			plan.Busy++
		}
		plan.Resources[string(m.ref.Kind)]++
	}
	return plan, err
}

// acceptedOf is what of the plan of a swap somebody has to accept, or to mend: all that it is for is looked at only if
// settings may be missing.
func acceptedOf(v *persistence.View, s swap) (resources.SwapPlan, error) {
	plan, unfit := termsOf(v, s)
	if unfit.sheet == nil {
		return plan, nil
	}
	_, err := gather(v, s, s.from, unfit.look, &breath{})
	plan.PropertiesMissing = append(plan.PropertiesMissing, unfit.missing.list()...)
	return plan, err
}

// termsOf is what of the plan follows from the two versions alone, and what looks at the settings of resources.
func termsOf(v *persistence.View, s swap) (resources.SwapPlan, *unfit) {
	plan := resources.SwapPlan{
		Resources: map[string]int{}, NoReturn: "commit",
		PermissionsAdded:   lacking(s.to.Status.Permissions, s.from.Status.Permissions),
		PermissionsRemoved: lacking(s.from.Status.Permissions, s.to.Status.Permissions),
		SettingsChanged:    resources.SettingsThatDiffer(s.from, s.to),
		OneWay:             !reads(s.from, s.to.Status.HandleWrites),
	}
	if plan.OneWay {
		plan.NoReturn = "canary"
	}
	changes := propertyChanges(s)
	for _, change := range changes {
		name := change.Scope + "/" + change.Key
		plan.PropertiesInWords = append(plan.PropertiesInWords, change.String())
		switch change.Kind {
		case property.Added:
			plan.PropertiesAdded = append(plan.PropertiesAdded, name)
		case property.Removed:
			plan.PropertiesRemoved = append(plan.PropertiesRemoved, name)
		case property.Changed:
			plan.PropertiesChanged = append(plan.PropertiesChanged, name)
		}
	}
	plan.PropertiesMissing = needsInput(s)
	return plan, unfitSettings(v, s, changes)
}

// lacking lists what is in all and not in some.
func lacking(all, some []string) (list []string) {
	for _, one := range all {
		if !slices.Contains(some, one) {
			list = append(list, one)
		}
	}
	return list
}

// reads reports whether a version can read a format of handles; 0 = nothing is said of formats.
func reads(d *resources.Driver, format uint32) bool {
	return format == 0 || d.Status.HandleWrites == 0 || d.Status.HandleWrites == format ||
		slices.Contains(d.Status.HandleReads, format)
}

// member is a resource that a swap is for.
type member struct {
	ref, owner      resources.Ref
	labels          map[string]string
	busy, suspended bool
	// stuck: what was begun goes on when an operator has decided.
	stuck   bool
	created int64
	// held reports whether a driver has something of it now that can be asked how it is.
	held bool
	// unbound: no version acts for it yet, and it is being worked on. Which one does now nobody has noted.
	unbound bool
}

// gathering lists what a version acts for, and what it may be making just now.
type gathering struct {
	view     *persistence.View
	shards   int
	versions []*resources.Driver
	acting   *resources.Driver
	list     []member
	err      error
	// each is called with all that is listed; nil = nobody looks at them.
	each func(r resources.Resource) error
	// breath is taken between two; nil = there is no time for that.
	breath *breath
}

func newGathering(v *persistence.View, acting *resources.Driver) (*gathering, error) {
	shards, err := v.Shards()
	if err != nil {
		return nil, err
	}
	versions, err := v.Versions(acting.Spec.Product)
	return &gathering{view: v, shards: shards, versions: versions, acting: acting}, err
}

// add adds a resource if the version acts for it, and reports whether there may be more.
func (g *gathering) add(r resources.Resource, b *persistence.Binding) bool {
	g.breath.take()
	if b != nil {
		if now := resources.DriverOf(g.versions, b.Version); now == nil || now.ID != g.acting.ID {
			return true
		}
	}
	var m member
	m, g.err = memberOf(g.view, r, g.shards)
	if m.unbound = b == nil; m.unbound && !m.busy {
		return g.err == nil // it gets the version of its owner when somebody makes it
	}
	m.held = m.held && !m.unbound
	g.list = append(g.list, m)
	if g.each != nil && g.err == nil {
		g.err = g.each(r)
	}
	return g.err == nil
}

// membersOf lists what a version acts for in the scope of a swap, those that stand on others first. It takes its time.
func membersOf(v *persistence.View, s swap, acting *resources.Driver) ([]member, error) {
	return gather(v, s, acting, nil, &breath{})
}

// gather is membersOf for somebody who looks at the resources.
func gather(
	v *persistence.View, s swap, acting *resources.Driver, each func(r resources.Resource) error, breath *breath,
) ([]member, error) {
	g, err := newGathering(v, acting)
	if err != nil {
		return nil, err
	}
	g.each, g.breath = each, breath
	err = eachInScope(v, s.Spec.Scope, acting.Spec.Product, func(r resources.Resource, b *persistence.Binding) bool {
		return !covers(s.Spec.Scope, r) || g.add(r, b)
	})
	slices.SortStableFunc(g.list, byRank)
	return g.list, cmp.Or(err, g.err)
}

// byRank sorts those that stand on others first.
func byRank(a, b member) int {
	return cmp.Compare(slices.Index(Rebindable(), a.ref.Kind), slices.Index(Rebindable(), b.ref.Kind))
}

// eachInScope goes through what a product acts for, as far as the scope may have it, and through what it may be making.
func eachInScope(
	v *persistence.View, scope resources.SwapScope, product string,
	yield func(r resources.Resource, b *persistence.Binding) bool,
) error {
	switch {
	case !scope.Resource.IsZero():
		r, err := v.Get(scope.Resource)
		if err != nil {
			return unlessGone(err)
		}
		b, bound, err := v.Binding(scope.Resource)
		if err == nil && bound && b.Product == product {
			yield(r, &b)
		}
		return err
	case !scope.Owner.IsZero():
		owner, err := v.Get(scope.Owner)
		if err != nil {
			return unlessGone(err)
		}
		_, err = v.EachInside(owner, product, yield)
		return err
	}
	return v.EachServed(product, yield)
}

// covers reports whether a scope has a resource in it.
func covers(scope resources.SwapScope, r resources.Resource) bool {
	m := r.Metadata()
	if !scope.Resource.IsZero() && scope.Resource != m.Ref() ||
		!scope.Owner.IsZero() && scope.Owner != resources.OwnerOf(r) {
		return false
	}
	for key, value := range scope.Labels {
		if has, labelled := m.Labels[key]; !labelled || has != value {
			return false
		}
	}
	return true
}

func memberOf(v *persistence.View, r resources.Resource, shards int) (m member, err error) {
	meta := r.Metadata()
	m = member{
		ref: meta.Ref(), owner: resources.OwnerOf(r), labels: meta.Labels, suspended: meta.Suspended,
		created: meta.CreatedAt.UnixNano(), held: heldByDriver(r),
	}
	head, stuck, err := atHead(v, m.ref, shards)
	m.busy, m.stuck = head != nil && !stuck, stuck
	return m, err
}

// atHead is what a resource is at, nil if nothing is done for it and nothing waits, and whether that waits for an
// operator to decide first.
func atHead(v *persistence.View, ref resources.Ref, shards int) (head *resources.Operation, stuck bool, err error) {
	head, _, err = v.Head(persistence.ShardOf(ref, shards), ref)
	if err != nil || head == nil || head.Phase != resources.PhaseNeedsOperator || head.Resolution != "" {
		return head, false, err
	}
	r, err := v.Get(ref)
	if err != nil {
		return head, true, unlessGone(err)
	}
	machine, ok := r.(*resources.Machine)
	return head, !ok || machine.Status.Moving == nil, nil // else it may be on either side
}
