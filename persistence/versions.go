package persistence

import (
	"errors"
	"fmt"
	"strings"

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

// EachBinding calls yield for all bindings, until it answers false.
func (v *View) EachBinding(yield func(b Binding) bool) error {
	return v.r.Scan([]byte(familyBinding), nil, func(_, data []byte) (bool, error) {
		var b Binding
		if err := v.codec.unmarshal("a binding", data, &b); err != nil {
			return false, fmt.Errorf("reading bindings: %w", err)
		}
		return yield(b), nil
	})
}

// BoundTo lists what a version acts for: what is bound to it and, if it is the current one, what names its product and
// is bound to none yet. Kinds come in the order of what stands on what, from below.
func (v *View) BoundTo(d *resources.Driver) (list []resources.Ref, err error) {
	versions, err := v.Versions(d.Spec.Product)
	if err != nil {
		return nil, err
	}
	acts := func(version string) bool {
		found := resources.DriverOf(versions, version)
		return found != nil && found.ID == d.ID
	}
	if acts("") {
		if list, err = v.unbound(d.Spec.Product); err != nil {
			return nil, err
		}
	}
	err = v.EachBinding(func(b Binding) bool {
		if b.Product == d.Spec.Product && acts(b.Version) {
			list = append(list, b.Ref)
		}
		return true
	})
	return list, err
}

// unbound lists what names a product and is bound to no version of it yet.
func (v *View) unbound(product string) (list []resources.Ref, err error) {
	for _, kind := range resources.Bindable() {
		var failed error
		err := v.Each(kind, map[string]string{"driver": product}, func(r resources.Resource) bool {
			ref := r.Metadata().Ref()
			_, bound, err := v.Binding(ref)
			if err != nil {
				failed = err
			} else if !bound {
				list = append(list, ref)
			}
			return failed == nil
		})
		if err = errors.Join(err, failed); err != nil {
			return nil, err
		}
	}
	return list, nil
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

// namedUsers is how many of the resources that are bound to a version a refusal names.
const namedUsers = 5

// removable refuses to remove a version of a driver that ships with the server, that acts for resources, or that is the
// current one of several.
func (t *tx) removable(r resources.Resource) error {
	d, ok := r.(*resources.Driver)
	if !ok {
		return nil
	}
	ref := d.Ref()
	if d.Spec.BuiltIn {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "built-in", Resource: &ref,
			Message: fmt.Sprintf("driver %s %s ships with the server", d.Spec.Product, d.Spec.Version),
			Remedy:  "disable it if nothing is to use it",
		}
	}
	bound, err := t.BoundTo(d)
	if err != nil {
		return err
	}
	if len(bound) > 0 {
		return DriverInUse(d, bound)
	}
	versions, err := t.Versions(d.Spec.Product)
	if err != nil || len(versions) == 1 || resources.CurrentDriver(versions).ID != d.ID {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "version-current", Resource: &ref,
		Message: fmt.Sprintf("%s is the current version of driver %s", d.Spec.Version, d.Spec.Product),
		Remedy:  "make another version current first: bulkhead driver update ANOTHER --current",
	}
}

// DriverInUse says that a version of a driver acts for resources.
func DriverInUse(d *resources.Driver, bound []resources.Ref) *resources.Error {
	var names []string
	for _, ref := range bound[:min(len(bound), namedUsers)] {
		names = append(names, fmt.Sprintf("%s %s", ref.Kind, ref.ID))
	}
	if len(bound) > len(names) {
		names = append(names, "...")
	}
	ref := d.Ref()
	return &resources.Error{
		Class: resources.ClassConflict, Code: "driver-in-use", Resource: &ref,
		Message: fmt.Sprintf("%d resources are bound to driver %s %s: %s", len(bound), d.Spec.Product, d.Spec.Version,
			strings.Join(names, ", ")),
		Remedy: "delete them first, or have another version act for them; to hold work on single ones back, suspend them",
	}
}
