package driving

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Version names one version of a product on one machine.
type Version struct {
	// Product is vendor/name.
	Product string
	// Number is empty for the version that ships with the program, whichever that is here: while a cluster is upgraded
	// it differs from machine to machine.
	Number string
}

// VersionOf is the version that a record is of.
func VersionOf(record *resources.Driver) Version {
	if record.Spec.BuiltIn {
		return Version{Product: record.Spec.Product}
	}
	return Version{record.Spec.Product, record.Spec.Version}
}

// String is for people.
func (v Version) String() string {
	if v.Number == "" {
		return v.Product
	}
	return v.Product + " " + v.Number
}

// version is one that is here.
type version struct {
	Version
	manifest host.Manifest
	messages property.Messages
	// digest and tree are of the archive of one that is installed, installs is how often it was installed again.
	digest, tree string
	installs     uint64
	// requires is what must run before it.
	requires []resources.DriverRequirement
}

// here returns a version if it is on this machine.
func (d *Drivers) here(v Version) (*version, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	one, found := d.versions[v]
	return one, found
}

// versionOf tells which version an instance is of.
func (d *Drivers) versionOf(i *host.Instance) Version {
	m := i.Manifest()
	v := Version{m.Name, m.Version}
	if _, installed := d.here(v); installed {
		return v
	}
	return Version{Product: m.Name}
}

// resolve finds which version acts where one is asked for; "" = the current one.
func (d *Drivers) resolve(product, asked string) (Version, error) {
	changes, wanted := d.state.Changes(resources.KindDriver), Version{product, asked}
	d.mu.Lock()
	if d.resolvedAt != changes {
		clear(d.resolved)
		d.resolvedAt = changes
	}
	found, known := d.resolved[wanted]
	d.mu.Unlock()
	if known {
		return found, nil
	}
	records, err := d.state.Versions(product)
	if err != nil {
		return Version{}, err
	}
	record := resources.DriverOf(records, asked)
	switch {
	case record == nil && len(records) == 0:
		return Version{}, NoDriver(product)
	case record == nil:
		return Version{}, absent(wanted)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.resolvedAt == changes {
		d.resolved[wanted] = VersionOf(record)
	}
	return VersionOf(record), nil
}

// acting finds the version that acts at a place, and its process.
func (d *Drivers) acting(p relay.Place) (Version, *host.Instance, error) {
	v, err := d.resolve(p.Product, p.Version)
	if err != nil {
		return v, nil, err
	}
	i, err := d.instance(v)
	return v, i, err
}

// absent says that a version is not on this machine.
func absent(v Version) error {
	if v.Number == "" {
		return NoDriver(v.Product)
	}
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "version-absent", Message: "driver " + v.String() + " is not here",
		Remedy: "see \"bulkhead driver show\" for where it is, and why it is not everywhere",
	}
}

// inTrouble says why a version has no process on this machine.
func inTrouble(v Version, t trouble) error {
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "version-" + t.state,
		Message: "driver " + v.String() + " is " + t.state + ": " + t.reason,
		Remedy:  "see \"bulkhead driver show\" for where else it runs; it is tried again when what is in its way has gone",
	}
}

// naming lists the properties of a product that name paths: what one of its versions takes for a path is one. Who asks
// for them must not change them.
func (d *Drivers) naming(product string) []resources.Property {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, is := d.namingPaths[product]
	if !is {
		known = d.findNaming(product)
		d.namingPaths[product] = known
	}
	return known
}

// findNaming needs the lock.
func (d *Drivers) findNaming(product string) (all []resources.Property) {
	byKey := map[string]int{}
	for _, v := range slices.SortedFunc(maps.Keys(d.described), Version.Compare) {
		if v.Product != product {
			continue
		}
		for _, p := range d.described[v].sheet.All() {
			if p.PathAccess == "" {
				continue
			}
			at, known := byKey[p.Key]
			if !known {
				byKey[p.Key] = len(all)
				all = append(all, p)
				continue
			}
			if p.PathAccess == property.AccessReadWrite {
				all[at].PathAccess = p.PathAccess
			}
		}
	}
	return all
}

// Compare orders versions by product, then by number as text.
func (v Version) Compare(o Version) int {
	return cmp.Or(strings.Compare(v.Product, o.Product), strings.Compare(v.Number, o.Number))
}
