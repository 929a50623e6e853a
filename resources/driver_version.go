package resources

import "slices"

// Inherit gives a new version the driver-wide settings of the one that acts, as far as both have them: nobody can read
// a secret to give it again.
func (d *Driver) Inherit(from *Driver) {
	if from == nil {
		return
	}
	for key, value := range from.Spec.Properties {
		was, had := from.setting(key)
		is, has := d.setting(key)
		if !had || !has || was.Type != is.Type || was.Secret != is.Secret {
			continue
		}
		if d.Spec.Properties == nil {
			d.Spec.Properties = map[string]any{}
		}
		d.Spec.Properties[key] = value
	}
}

// setting is what a version says of one of its driver-wide settings.
func (d *Driver) setting(key string) (Property, bool) {
	i := slices.IndexFunc(d.Status.Properties, func(p Property) bool {
		return p.Scope == string(KindDriver) && p.Key == key
	})
	if i < 0 {
		return Property{}, false
	}
	return d.Status.Properties[i], true
}

// CurrentDriver picks, among the versions of one product, the one that new resources are bound to: the one that was
// made current, else the one that ships with the server. It is nil if there are none.
func CurrentDriver(versions []*Driver) *Driver {
	for _, is := range []func(d *Driver) bool{
		func(d *Driver) bool { return d.Spec.Current },
		func(d *Driver) bool { return d.Spec.BuiltIn },
		func(*Driver) bool { return true },
	} {
		if i := slices.IndexFunc(versions, is); i >= 0 {
			return versions[i]
		}
	}
	return nil
}

// DriverOf picks, among the versions of one product, the one that acts for what is bound to a version, "" for what is
// bound to none yet. What is bound to a version that is not installed was bound to the one that shipped with an
// earlier server: the one that ships with it now acts for it. It is nil if there is no such version.
func DriverOf(versions []*Driver, version string) *Driver {
	if version == "" {
		return CurrentDriver(versions)
	}
	for _, is := range []func(d *Driver) bool{
		func(d *Driver) bool { return d.Spec.Version == version && !d.Spec.BuiltIn },
		func(d *Driver) bool { return d.Spec.BuiltIn },
	} {
		if i := slices.IndexFunc(versions, is); i >= 0 {
			return versions[i]
		}
	}
	return nil
}

// Bindable are the kinds whose resources name the driver that acts for them. Whatever else a driver acts for is below
// one of these.
func Bindable() []Kind { return []Kind{KindHost, KindPool, KindImageStore, KindNetwork} }

// within says in or on what a resource of a kind is, and which facet names it; "" for what names its driver itself.
func (k Kind) within() (owner Kind, facet string) {
	switch k {
	case KindVolume, KindSnapshot:
		return KindPool, "pool"
	case KindTemplate:
		return KindImageStore, "image-store"
	case KindNic:
		return KindNetwork, "network"
	case KindMachine:
		return KindHost, "host"
	default:
		return "", ""
	}
}

// OwnerOf is what a resource is in or on; itself if it names its driver.
func OwnerOf(r Resource) Ref {
	ref := r.Metadata().Ref()
	owner, facet := ref.Kind.within()
	if facet == "" {
		return ref
	}
	return Ref{Kind: owner, ID: r.Facets()[facet]}
}

// Inside finds what is in or on a resource: a query for each kind of it.
func Inside(owner Ref) (queries []Query) {
	for _, k := range standing() {
		if of, facet := k.within(); of == owner.Kind {
			queries = append(queries, Query{Kind: k, Facets: map[string]string{facet: owner.ID}})
		}
	}
	return queries
}

// standing are the kinds that are in or on a resource that names its driver.
func standing() []Kind { return []Kind{KindNic, KindSnapshot, KindTemplate, KindVolume, KindMachine} }

// Driven are the kinds that a driver acts for: those that name theirs, and what is in or on such a one.
func Driven() []Kind { return append(Bindable(), standing()...) }

// ActingDriver is the version of a driver that acts for a resource.
type ActingDriver struct {
	ID            DriverID `json:"id" doc:"Version that acts: a driver."`
	Product       string   `json:"product" doc:"Its product."`
	Version       string   `json:"version" doc:"Its version."`
	Bound         bool     `json:"bound" doc:"Whether it has the resource. If not, there is nothing of the resource yet, or no more, and this is the version that would be asked to make it."`
	HandleVersion uint32   `json:"handleVersion,omitempty" doc:"Format of what the driver remembers of the resource; none if it remembers nothing."`
}
