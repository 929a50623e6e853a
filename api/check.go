package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// checkNew reports all that can be seen to be wrong with a new resource: its
// spec, what it refers to, its driver's properties, and those given for its creation alone.
func (a *API) checkNew(
	ctx context.Context, g door.Grant, r resources.Resource, given map[string]any,
) error {
	p := resources.NewProblems("")
	r.Validate(p)
	if err := p.Err(); err != nil {
		return err
	}
	spec := reflect.ValueOf(r).Elem().FieldByName("Spec")
	found, err := a.checkReferences(ctx, g, "/spec", spec)
	if err != nil {
		return err
	}
	if err := a.checkProperties(ctx, g, r, nil, found); err != nil {
		return err
	}
	if err := a.checkAsked(ctx, g, "create", r, given, found); err != nil {
		return err
	}
	if err := a.checkController(ctx, g, r, nil); err != nil {
		return err
	}
	return a.checkCategory(ctx, g, r)
}

// checkChanged reports what is wrong with a resource after a change, which refers to
// what was found. What it referred to before may be gone where it needs it no longer.
func (a *API) checkChanged(ctx context.Context, g door.Grant, r, before resources.Resource, found referents) error {
	p := resources.NewProblems("")
	r.Validate(p)
	if err := p.Err(); err != nil {
		return err
	}
	if err := a.checkController(ctx, g, r, before); err != nil {
		return err
	}
	return a.checkProperties(ctx, g, r, before, found)
}

// reference is an id in a body.
type reference struct {
	pointer string
	ref     resources.Ref
}

// referents are the resources that a body refers to.
type referents map[resources.Ref]resources.Resource

// checkReferences reports ids in a body of resources that are not there, or that
// the caller may not see, and returns the others.
func (a *API) checkReferences(
	ctx context.Context, g door.Grant, at string, body reflect.Value,
) (referents, error) {
	e, there := invalid(), referents{}
	for _, found := range a.referencesIn(body, at, nil) {
		r, err := a.readable(ctx, g, found.ref)
		switch resources.ClassOf(err) {
		case "":
			there[found.ref] = r
		case resources.ClassNotFound:
			e.Fields = append(e.Fields, resources.FieldError{
				Pointer: found.pointer, Code: "not-found", Message: "there is no such " + string(found.ref.Kind),
			})
		default:
			return nil, err
		}
	}
	if len(e.Fields) > 0 {
		return nil, e
	}
	return there, nil
}

// readable returns a resource if the caller may see it.
func (a *API) readable(ctx context.Context, g door.Grant, ref resources.Ref) (resources.Resource, error) {
	readable, err := a.door.Also(g, door.To(door.VerbGet, ref.Kind), ref.ID)
	if err != nil {
		return nil, err
	}
	return a.door.Get(ctx, readable, ref.ID)
}

// idKinds tells the kind that a typed id refers to.
func idKinds() map[reflect.Type]resources.Kind {
	return map[reflect.Type]resources.Kind{
		reflect.TypeFor[resources.ClusterID]():    resources.KindCluster,
		reflect.TypeFor[resources.HostID]():       resources.KindHost,
		reflect.TypeFor[resources.PoolID]():       resources.KindPool,
		reflect.TypeFor[resources.ImageStoreID](): resources.KindImageStore,
		reflect.TypeFor[resources.TemplateID]():   resources.KindTemplate,
		reflect.TypeFor[resources.NetworkID]():    resources.KindNetwork,
		reflect.TypeFor[resources.AddressID]():    resources.KindAddress,
		reflect.TypeFor[resources.VolumeID]():     resources.KindVolume,
		reflect.TypeFor[resources.SnapshotID]():   resources.KindSnapshot,
		reflect.TypeFor[resources.NicID]():        resources.KindNic,
		reflect.TypeFor[resources.MachineID]():    resources.KindMachine,
		reflect.TypeFor[resources.OperationID]():  resources.KindOperation,
		reflect.TypeFor[resources.DriverID]():     resources.KindDriver,
	}
}

// referencesIn finds the ids in a body, with their JSON pointers.
func (a *API) referencesIn(v reflect.Value, at string, found []reference) []reference {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return a.referencesIn(v.Elem(), at, found)
		}
	case reflect.Struct:
		if ref, ok := reflect.TypeAssert[resources.Ref](v); ok {
			return append(found, referenceTo(ref, at)...)
		}
		return a.referencesInFields(v, at, found)
	case reflect.Slice:
		for i := range v.Len() {
			found = a.referencesIn(v.Index(i), at+"/"+strconv.Itoa(i), found)
		}
	case reflect.String:
		if kind, ok := a.idKinds[v.Type()]; ok && v.String() != "" {
			found = append(found, reference{at, resources.Ref{Kind: kind, ID: v.String()}})
		}
	default:
	}
	return found
}

// referenceTo is what names its kind itself. One that names nothing, or not all, was looked at before.
func referenceTo(ref resources.Ref, at string) []reference {
	if ref.IsZero() {
		return nil
	}
	return []reference{{at, ref}}
}

func (a *API) referencesInFields(v reflect.Value, at string, found []reference) []reference {
	for f, inner := range v.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "-" {
			found = a.referencesIn(inner, at+"/"+name, found)
		}
	}
	return found
}

// checkProperties asks the driver that a resource will be bound to, as far as
// that is known by now. Before is the resource as it is; nil = it is new.
func (a *API) checkProperties(
	ctx context.Context, g door.Grant, r, before resources.Resource, found referents,
) error {
	product, properties, err := a.bound(ctx, g, r, found)
	if err != nil {
		return err
	}
	kind := r.Metadata().Kind
	// The scope of a driver's own properties is the word of its kind.
	check := resources.PropertyCheck{Scope: string(kind), Given: properties, Languages: callFrom(ctx).languages()}
	if before != nil {
		check.Before = orNone(propertiesOf(before))
	}
	if d, ok := r.(*resources.Driver); ok {
		if len(check.Given)+len(check.Before) == 0 || reflect.DeepEqual(check.Given, check.Before) {
			return nil // also one that does not run can be taken out of use
		}
		check.Version = d.Spec.Version
	}
	for _, s := range resources.SettingsOf(r) {
		if s.At == "" {
			check.Owner = s.Owner
		}
	}
	if err := a.checkSealed(specProperties, check); err != nil {
		return err
	}
	if product != "" {
		return a.checkWithActor(ctx, g, r, product, check, found)
	}
	if len(properties) == 0 {
		return nil
	}
	products, err := a.serving(ctx, g, kind, nil)
	if err != nil {
		return err
	}
	return a.checkWith(ctx, specProperties, products, check)
}

// checkWithActor asks the version of a product that acts for a resource, or for what it is made in or on.
func (a *API) checkWithActor(
	ctx context.Context, g door.Grant, r resources.Resource, product string, check resources.PropertyCheck,
	found referents,
) (err error) {
	if _, check.Acting, err = a.actor(ctx, g, r, found); err != nil {
		return err
	}
	return a.checkWith(ctx, specProperties, []string{product}, check)
}

// specProperties is where a resource has its settings.
const specProperties = "/spec/properties"

// checkSealed refuses what looks like a secret that was sealed, unless the resource has it: nobody is told such a text.
func (a *API) checkSealed(at string, check resources.PropertyCheck) error {
	e := invalid()
	for _, key := range slices.Sorted(maps.Keys(check.Given)) {
		_, sealed := resources.SealedText(check.Given[key])
		if sealed && !reflect.DeepEqual(check.Given[key], check.Before[key]) {
			e.Fields = append(e.Fields, resources.FieldError{
				Pointer: at + "/" + key, Code: "wrong-type", Message: "must be a value, not an object",
			})
		}
	}
	if len(e.Fields) > 0 {
		return e
	}
	return nil
}

// checkCategory reports a driver that is for other things.
func (a *API) checkCategory(ctx context.Context, g door.Grant, r resources.Resource) error {
	product, kind := r.Facets()["driver"], r.Metadata().Kind
	if product == "" || category(kind) == "" {
		return nil
	}
	products, err := a.serving(ctx, g, kind, map[string]string{"product": product})
	if err != nil || len(products) > 0 {
		return err
	}
	return invalid(resources.FieldError{
		Pointer: "/spec/driver", Code: "wrong-category",
		Message: fmt.Sprintf("no driver of this name serves %s: see the drivers' categories", category(kind)),
	})
}

// category is what a driver must serve to realise a kind; "" if none does.
func category(kind resources.Kind) string {
	return map[resources.Kind]string{
		resources.KindHost: "hypervisor", resources.KindMachine: "hypervisor", resources.KindPool: "storage",
		resources.KindVolume: "storage", resources.KindSnapshot: "storage",
		resources.KindImageStore: "image", resources.KindNetwork: "network",
	}[kind]
}

// checkWith fails unless one of the drivers takes the properties, which the body has at a place.
func (a *API) checkWith(
	ctx context.Context, at string, products []string, check resources.PropertyCheck,
) (err error) {
	for _, product := range products {
		if product == "" {
			continue
		}
		check.Product = product
		if err = a.drivers.Validate(ctx, check); err == nil {
			return nil
		}
	}
	return inProperties(at, err)
}

// inProperties makes the error of a driver's check one of the resource's.
func inProperties(where string, err error) error {
	e, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return err
	}
	switch e.Class {
	case resources.ClassNotFound:
		return invalid(resources.FieldError{
			Pointer: "/spec/driver", Code: "unknown-driver", Message: "no such driver is installed and enabled",
		})
	case resources.ClassInvalid:
		at := *e
		at.Fields = nil
		for _, f := range e.Fields {
			f.Pointer = where + f.Pointer
			at.Fields = append(at.Fields, f)
		}
		return &at
	default:
		return e
	}
}

// bound tells the driver of a resource and its properties; "" if it is not
// chosen yet.
func (a *API) bound(
	ctx context.Context, g door.Grant, r resources.Resource, found referents,
) (product string, properties map[string]any, err error) {
	properties = propertiesOf(r)
	switch r := r.(type) {
	case *resources.Driver:
		return r.Spec.Product, properties, nil
	case *resources.Volume:
		product, err = a.driverOf(ctx, g, resources.Ref{Kind: resources.KindPool, ID: string(r.Spec.PoolID)}, found)
		return product, properties, err
	case *resources.Machine:
		host := resources.Ref{Kind: resources.KindHost, ID: string(r.Spec.Placement.HostID)}
		product, err = a.driverOf(ctx, g, host, found)
		return product, properties, err
	}
	return r.Facets()["driver"], properties, nil
}

// orNone tells a resource that has no settings from one that is not there yet.
func orNone(properties map[string]any) map[string]any {
	if properties == nil {
		return map[string]any{}
	}
	return properties
}

// propertiesOf are the settings of a resource for its driver.
func propertiesOf(r resources.Resource) map[string]any {
	switch r := r.(type) {
	case *resources.Driver:
		return r.Spec.Properties
	case *resources.Host:
		return r.Spec.Properties
	case *resources.Pool:
		return r.Spec.Properties
	case *resources.ImageStore:
		return r.Spec.Properties
	case *resources.Network:
		return r.Spec.Properties
	case *resources.Volume:
		return r.Spec.Properties
	case *resources.Machine:
		return r.Spec.Properties
	}
	return nil
}

// serving lists the drivers that can realise a kind. One that is asked for by name
// counts also while it is disabled: the engine says so.
func (a *API) serving(
	ctx context.Context, g door.Grant, kind resources.Kind, filter map[string]string,
) (products []string, err error) {
	readable, err := a.door.Also(g, door.To(door.VerbList, resources.KindDriver), "")
	if err != nil {
		return nil, err
	}
	facets := map[string]string{"category." + category(kind): "true"}
	maps.Copy(facets, filter)
	q := resources.Query{Kind: resources.KindDriver, Facets: facets, Limit: mostDrivers}
	page, err := a.door.List(ctx, readable, q)
	if err != nil {
		return nil, err
	}
	for _, r := range page.Items {
		if d, ok := r.(*resources.Driver); ok && (d.Spec.Enabled || filter["product"] != "") {
			products = append(products, d.Spec.Product)
		}
	}
	return products, nil
}

// driverOf tells the driver of a pool or host; "" if none is named. What was found
// is not read again.
func (a *API) driverOf(ctx context.Context, g door.Grant, ref resources.Ref, found referents) (string, error) {
	if ref.ID == "" {
		return "", nil
	}
	r, known := found[ref]
	if !known {
		var err error
		if r, err = a.readable(ctx, g, ref); err != nil {
			return "", err
		}
	}
	switch r := r.(type) {
	case *resources.Pool:
		return r.Spec.Driver, nil
	case *resources.Host:
		return r.Spec.Driver, nil
	}
	return "", nil
}
