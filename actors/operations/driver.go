package operations

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// driver is a connection to the driver of a resource, with what every call about
// the resource carries.
type driver struct {
	conn    grpc.ClientConnInterface
	call    *driverpb.Call
	place   Place
	version string
}

// driver connects to the driver of owner, on its node, for calls about ref: the owner
// itself or what is in or on it. Settings of resources of its own go over the owner's.
func (c *Context) driver(
	ctx context.Context, owner resources.Resource, ref resources.Ref, own ...resources.Resource,
) (driver, error) {
	return c.driverAt(ctx, PlaceOf(owner), owner.Metadata().Ref(), ref, own...)
}

// driverAt is driver at a place that is not the owner's own.
func (c *Context) driverAt(
	ctx context.Context, place Place, owner, ref resources.Ref, own ...resources.Resource,
) (driver, error) {
	var err error
	if place.Version = c.acting; place.Version == "" {
		refs := []resources.Ref{ref}
		for _, r := range own { // a snapshot that no version has yet is taken by the one that has its volume
			refs = append(refs, r.Metadata().Ref())
		}
		if place.Version, err = c.version(place.Product, append(refs, owner)...); err != nil {
			return driver{}, err
		}
	}
	open, secrets, err := c.Engine.Part(resources.Settings{
		Owner: owner, Product: place.Product, Scope: place.Scope, Values: place.Properties,
	}, place.Version)
	if err != nil {
		return driver{}, err
	}
	for _, r := range own {
		for _, mine := range resources.SettingsOf(r) {
			mine.Product = place.Product
			more, hidden, err := c.Engine.Part(mine, place.Version)
			if err != nil {
				return driver{}, err
			}
			maps.Copy(open, more)
			maps.Copy(secrets, hidden)
		}
	}
	place.Properties = maps.Clone(open) // whoever reaches the driver needs no secret for that, nor what this alone has
	if err := c.forOperation(place, open, secrets); err != nil {
		return driver{}, err
	}
	conn, version, err := c.Engine.Conn(ctx, place)
	if err != nil {
		return driver{}, err
	}
	handle, err := c.handle(ref)
	if err != nil {
		return driver{}, err
	}
	values, err := structpb.NewStruct(plain(open))
	if err != nil {
		return driver{}, fmt.Errorf("passing properties of %s: %w", ref, err)
	}
	return driver{conn: conn, place: place, version: version, call: &driverpb.Call{
		Token: c.Token(), Repeat: c.Repeat, Resource: protoRef(ref), Epoch: c.Epoch, Handle: handle, Properties: values,
		Secrets: secrets,
	}}, nil
}

// forOperation adds the settings that were given for this operation alone: they go over those of resources. Which the
// version takes that acts now is looked at now; what is undone is undone without them.
func (c *Context) forOperation(place Place, open map[string]any, secrets map[string]string) error {
	if c.Undoing {
		return nil
	}
	for _, given := range resources.SettingsOf(c.Operation) {
		given.Product = place.Product
		if err := c.takes(place, given); err != nil {
			return err
		}
		more, hidden, err := c.Engine.Part(given, place.Version)
		if err != nil {
			return err
		}
		maps.Copy(open, more)
		maps.Copy(secrets, hidden)
	}
	return nil
}

// takes fails if the version that acts at a place does not take the settings for the operation: another one may have
// acted when they were accepted, or none been chosen.
func (c *Context) takes(place Place, given resources.Settings) error {
	var acting *resources.Driver
	err := c.Engine.View(func(v *persistence.View) error {
		versions, err := v.Versions(place.Product)
		acting = resources.DriverOf(versions, place.Version)
		return err
	})
	if err != nil || acting == nil { // it is not reached either, which says more
		return err
	}
	sheet, err := property.Compile(slices.DeleteFunc(slices.Clone(acting.Status.Properties),
		func(p resources.Property) bool { return p.Scope != string(given.Scope) }))
	if err != nil {
		return fmt.Errorf("reading what version %s describes: %w", acting.Spec.Version, err)
	}
	err = sheet.Validate(property.Values{
		Driver: place.Product + " " + acting.Spec.Version, Scope: string(given.Scope),
		Given: property.WithUnseen(given.Values),
	})
	e, refused := errors.AsType[*resources.Error](err)
	if !refused {
		return err
	}
	for i := range e.Fields {
		e.Fields[i].Pointer = "/properties" + e.Fields[i].Pointer
	}
	return e
}

// version is the one that acts for the first of some resources that is bound to a product; "" = none is.
func (c *Context) version(product string, refs ...resources.Ref) (version string, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		for _, ref := range refs {
			b, bound, err := v.Binding(ref)
			if err != nil {
				return err
			}
			if bound && b.Product == product && b.Version != "" {
				version = b.Version
				return nil
			}
		}
		return nil
	})
	return version, err
}

// plain turns the integer types that decoding yields into those structpb takes.
func plain(properties map[string]any) map[string]any {
	for k, v := range properties {
		switch n := v.(type) {
		case uint64:
			properties[k] = float64(n)
		case time.Time:
			properties[k] = n.Format(time.RFC3339)
		}
	}
	return properties
}

// handle returns what the driver remembers of a resource; nil at first.
func (c *Context) handle(ref resources.Ref) (*driverpb.Handle, error) {
	var handle *driverpb.Handle
	err := c.Engine.View(func(v *persistence.View) error {
		b, bound, err := v.Binding(ref)
		if err != nil || !bound || len(b.Handle) == 0 {
			return err
		}
		handle = &driverpb.Handle{Version: b.HandleVersion, Data: b.Handle}
		return nil
	})
	return handle, err
}

// bind notes that the target is bound to the driver, with what the driver is to
// remember.
func (c *Context) bind(d driver, h *driverpb.Handle) {
	c.Outcome.Unbind = false
	c.Outcome.Binding = &persistence.Binding{
		Ref: c.Operation.Target, Product: d.place.Product, Version: d.version,
		Handle: h.GetData(), HandleVersion: h.GetVersion(),
	}
}

// unbind notes that the target is bound to no driver any more.
func (c *Context) unbind() {
	c.Outcome.Binding = &persistence.Binding{Ref: c.Operation.Target}
	c.Outcome.Unbind = true
}

// unreached is for steps that take something back: when the driver can't even be
// given what it needs to reach the resource, because that is refused for good, it
// never did anything there.
func unreached(err error) error {
	if err != nil && resources.AsError(err).Code == resources.CodeSecretLost {
		return err // it could be reached before
	}
	switch resources.ClassOf(FromFault(err)) {
	case resources.ClassInvalid, resources.ClassNotFound, resources.ClassDenied, resources.ClassConflict:
		return nil
	default:
		return err
	}
}

// gone makes a fault that says the thing is not there into success: what was to
// be removed is removed.
func gone(err error) error {
	if err != nil && resources.ClassOf(FromFault(err)) == resources.ClassNotFound {
		return nil
	}
	return FromFault(err)
}

func protoRef(ref resources.Ref) *driverpb.Ref {
	return &driverpb.Ref{Kind: string(ref.Kind), Id: ref.ID}
}
