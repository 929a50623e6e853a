package operations

import (
	"context"
	"errors"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Place is where a driver acts, and what it was told to act by.
type Place struct {
	Product string
	// Version of the product that acts; "" = the current one.
	Version string
	// Node whose process of the driver it is; "" if a zone of an older version says none.
	Node       string
	Properties map[string]any
	// Scope of the properties: the kind of what names the driver.
	Scope resources.Kind
}

// PlaceOf returns the place of the driver that a resource names itself; the zero
// Place for kinds that are realised by the driver of something above them.
func PlaceOf(r resources.Resource) Place {
	switch x := r.(type) {
	case *resources.Host:
		return Place{Product: x.Spec.Driver, Node: x.Spec.Node, Properties: x.Spec.Properties, Scope: x.Kind}
	case *resources.Pool:
		return Place{Product: x.Spec.Driver, Node: x.Spec.Node, Properties: x.Spec.Properties, Scope: x.Kind}
	case *resources.ImageStore:
		return Place{Product: x.Spec.Driver, Node: x.Spec.Node, Properties: x.Spec.Properties, Scope: x.Kind}
	case *resources.Network:
		return Place{Product: x.Spec.Driver, Node: x.Spec.Node, Properties: x.Spec.Properties, Scope: x.Kind}
	}
	return Place{}
}

// checkPlace refuses a pool or an image store whose directory is that of another
// one, inside of it or around it: each would take the other's files for its own.
// Of two that are made at the same time the one that was asked for first is let through.
func checkPlace(ctx context.Context, c *Context) error {
	var others []resources.Resource
	err := c.Engine.View(func(v *persistence.View) error {
		for _, kind := range []resources.Kind{resources.KindPool, resources.KindImageStore} {
			var failed error
			err := v.Each(kind, nil, func(other resources.Resource) bool {
				var before bool
				if before, failed = precedes(v, other, c); before {
					others = append(others, other)
				}
				return failed == nil
			})
			if err = errors.Join(err, failed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	mine := PlaceOf(c.Resource)
	for _, other := range others { // not in the view: a file system may be slow
		theirs := PlaceOf(other)
		if IsShared(c.Resource) || IsShared(other) {
			theirs.Node = mine.Node // what is the same directory everywhere is on this node too
		}
		property, err := c.Engine.Overlap(ctx, mine, theirs)
		if err != nil {
			return err
		}
		if property != "" {
			return placeTaken(c.Resource, other, property)
		}
	}
	return nil
}

// IsShared reports whether a resource is a pool whose directory is the same on all nodes.
func IsShared(r resources.Resource) bool {
	p, ok := r.(*resources.Pool)
	return ok && p.Spec.Shared
}

// precedes reports whether other has a place already, or was asked for before the target.
func precedes(v *persistence.View, other resources.Resource, c *Context) (bool, error) {
	m := other.Metadata()
	switch m.Phase {
	case resources.PhaseFailed, resources.PhaseDeleted:
		return false, nil
	case resources.PhasePending, resources.PhaseCreating:
		shards, err := v.Shards()
		if err != nil {
			return false, err
		}
		first, _, err := v.Head(persistence.ShardOf(m.Ref(), shards), m.Ref())
		return first != nil && first.Sequence < c.Operation.Sequence, err
	default:
		return m.ID != c.Resource.Metadata().ID, nil
	}
}

func placeTaken(r, other resources.Resource, property string) error {
	o := other.Metadata()
	ref := o.Ref()
	message := fmt.Sprintf("is the directory of %s %s (%s), inside of it or around it", o.Kind, o.Name, o.ID)
	return &resources.Error{
		Class: resources.ClassConflict, Code: "place-taken",
		Message: fmt.Sprintf("the %s of this %s %s", property, r.Metadata().Kind, message),
		Remedy:  "give it a directory of its own, beside the other one", Resource: &ref,
		Fields: []resources.FieldError{{Pointer: "/spec/properties/" + property, Code: "taken", Message: message}},
	}
}
