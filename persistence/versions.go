package persistence

import (
	"errors"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Versions returns the versions of a product that the zone knows; of all products if it is "".
func (v *View) Versions(product string) (list []*resources.Driver, err error) {
	facets := map[string]string{}
	if product != "" {
		facets["product"] = product
	}
	err = v.Each(resources.KindDriver, facets, func(r resources.Resource) bool {
		if d, ok := r.(*resources.Driver); ok {
			list = append(list, d)
		}
		return true
	})
	return list, err
}

// EachBound calls yield for what the versions of a product act for, until it answers false: each resource that names
// the product, with no binding if it has none yet, and then what is in or on it.
func (v *View) EachBound(product string, yield func(r resources.Resource, b *Binding) bool) error {
	return v.eachOf(product, v.EachWithin, yield)
}

// EachServed is EachBound with what is in or on such a resource and bound to nothing yet: it may be just being made.
func (v *View) EachServed(product string, yield func(r resources.Resource, b *Binding) bool) error {
	return v.eachOf(product, v.EachInside, yield)
}

// within goes through a resource that names a product, and what is in or on it: EachWithin or EachInside.
type within func(
	owner resources.Resource, product string, yield func(r resources.Resource, b *Binding) bool,
) (more bool, err error)

func (v *View) eachOf(product string, each within, yield func(r resources.Resource, b *Binding) bool) error {
	for _, kind := range resources.Bindable() {
		var failed error
		more := true
		err := v.Each(kind, map[string]string{"driver": product}, func(owner resources.Resource) bool {
			more, failed = each(owner, product, yield)
			return more && failed == nil
		})
		if err = errors.Join(err, failed); err != nil || !more {
			return err
		}
	}
	return nil
}

// EachWithin is EachBound for one resource that names the product, and what is in or on it. It answers whether yield
// asked for more.
func (v *View) EachWithin(
	owner resources.Resource, product string, yield func(r resources.Resource, b *Binding) bool,
) (more bool, err error) {
	return v.EachInside(owner, product, func(r resources.Resource, b *Binding) bool {
		return b == nil && r.Metadata().Ref() != owner.Metadata().Ref() || yield(r, b)
	})
}

// EachInside is EachServed for one resource that names the product, as EachWithin is EachBound.
func (v *View) EachInside(
	owner resources.Resource, product string, yield func(r resources.Resource, b *Binding) bool,
) (more bool, err error) {
	b, bound, err := v.Binding(owner.Metadata().Ref())
	switch {
	case err != nil:
		return false, err
	case !bound && !yield(owner, nil), bound && !yield(owner, &b):
		return false, nil
	}
	more = true
	for _, q := range resources.Inside(owner.Metadata().Ref()) {
		var failed error
		err := v.Each(q.Kind, q.Facets, func(r resources.Resource) bool {
			b, bound, err := v.Binding(r.Metadata().Ref())
			switch failed = err; {
			case err != nil:
			case !bound:
				more = yield(r, nil)
			case b.Product == product:
				more = yield(r, &b)
			}
			return more && failed == nil
		})
		if err = errors.Join(err, failed); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// BoundTo lists what a version acts for: what is bound to it and, if it is the current one, what names its product and
// is bound to none yet.
func (v *View) BoundTo(d *resources.Driver) (list []resources.Ref, err error) {
	versions, err := v.Versions(d.Spec.Product)
	if err != nil {
		return nil, err
	}
	err = v.EachBound(d.Spec.Product, func(r resources.Resource, b *Binding) bool {
		version := ""
		if b != nil {
			version = b.Version
		}
		if acts := resources.DriverOf(versions, version); acts != nil && acts.ID == d.ID {
			list = append(list, r.Metadata().Ref())
		}
		return true
	})
	return list, err
}

// Acting tells which version acts for a resource: the one it is bound to; if it is bound to none, that of what it is in
// or on. It fails with class not-found if there is none.
func (v *View) Acting(r resources.Resource) (acting resources.ActingDriver, err error) {
	ref, owner := r.Metadata().Ref(), resources.OwnerOf(r)
	b, bound, err := v.Binding(ref)
	if err != nil {
		return acting, err
	}
	if acting.Bound = bound; bound {
		acting.HandleVersion = b.HandleVersion
	} else if b, err = v.toBeBound(r); err != nil {
		return acting, err
	}
	if b.Product == "" {
		return acting, &resources.Error{
			Class: resources.ClassNotFound, Code: "no-driver",
			Message: "no driver acts for " + ref.String() + ": it has no " + string(owner.Kind) + " yet",
			Remedy:  "see what it is waiting for; a machine has a host once it is started",
		}
	}
	versions, err := v.Versions(b.Product)
	if err != nil {
		return acting, err
	}
	d := resources.DriverOf(versions, b.Version)
	if d == nil {
		return acting, &resources.Error{
			Class: resources.ClassNotFound, Code: "no-such-driver",
			Message: "the driver that acts for " + ref.String() + " is not installed: " + b.Product + " " + b.Version,
			Remedy:  "install it again",
		}
	}
	acting.ID, acting.Product, acting.Version = resources.DriverID(d.ID), d.Spec.Product, d.Spec.Version
	return acting, nil
}

// toBeBound is what a resource that is bound to nothing would be bound to: a snapshot to the version that has its
// volume, all else to that of what it is in or on; nothing if that is not known yet.
func (v *View) toBeBound(r resources.Resource) (Binding, error) {
	if s, is := r.(*resources.Snapshot); is {
		b, bound, err := v.Binding(resources.Ref{Kind: resources.KindVolume, ID: string(s.Spec.VolumeID)})
		if err != nil || bound {
			return b, err
		}
	}
	ref := resources.OwnerOf(r)
	if ref.ID == "" {
		return Binding{}, nil
	}
	b, bound, err := v.Binding(ref)
	if err != nil || bound {
		return b, err
	}
	owner, err := v.Get(ref)
	if err != nil {
		return b, err
	}
	return Binding{Product: owner.Facets()["driver"]}, nil
}

// keepOneCurrent has a version of a driver that is made current take the place of the one that was.
func (t *tx) keepOneCurrent(old, next resources.Resource) error {
	is, ok := next.(*resources.Driver)
	was, had := old.(*resources.Driver)
	if !ok || !is.Spec.Current || had && was.Spec.Current {
		return nil
	}
	versions, err := t.Versions(is.Spec.Product)
	if err != nil {
		return err
	}
	for _, other := range versions {
		if other.ID == is.ID || !other.Spec.Current {
			continue
		}
		clone, err := t.codec.Clone(other)
		if err != nil {
			return err
		}
		if d, ok := clone.(*resources.Driver); ok {
			d.Spec.Current = false
			if err := t.write(other, d, resources.EventUpdated); err != nil {
				return err
			}
		}
	}
	return nil
}
