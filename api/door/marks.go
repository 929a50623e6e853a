package door

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Marks tells what its holder may not use drivers for, of what roles are allowed otherwise.
type Marks struct {
	book *book
	role resources.Role
}

// Marks reads the policies for the holder of a grant to read drivers.
func (d *Door) Marks(ctx context.Context, g Grant) (Marks, error) {
	if !g.covers(resources.KindDriver, VerbList, VerbGet) {
		return Marks{}, ungranted(g)
	}
	b, err := d.readBook(ctx)
	return Marks{b, g.principal.role}, err
}

// actionsOf are the actions on a kind that drivers of a category act in.
func actionsOf(v resources.Vocabulary, category string, kind resources.Kind) (names []string) {
	if category == outOfBand {
		return append([]string{"create", "update"}, asksController()...)
	}
	for _, name := range slices.Sorted(maps.Keys(v[kind].Actions)) {
		if !v[kind].Actions[name].Internal {
			names = append(names, name)
		}
	}
	return names
}

// outOfBand is the category of the drivers of hosts' controllers.
const outOfBand = "out-of-band"

// kindsOf are those that drivers of a category act for.
func kindsOf(category string) []resources.Kind {
	return map[string][]resources.Kind{
		"storage":    {resources.KindPool, resources.KindVolume, resources.KindSnapshot},
		"image":      {resources.KindImageStore, resources.KindTemplate},
		"hypervisor": {resources.KindHost, resources.KindMachine},
		"network":    {resources.KindNetwork, resources.KindAddress, resources.KindRule, resources.KindNic},
		outOfBand:    {resources.KindHost},
	}[category]
}

// On notes on a driver, and its properties, what is not allowed. Usable reports whether it can be used for anything at
// all. The driver must not be shared.
func (m Marks) On(d *resources.Driver) (usable bool) {
	d.Status.Denied = nil
	v := resources.NewVocabulary()
	for _, category := range d.Spec.Categories {
		for _, kind := range kindsOf(category) {
			for _, name := range actionsOf(v, category, kind) {
				action := string(kind) + "/" + name
				if why := m.book.verdict(m.role, driverUse{product: d.Spec.Product, action: action}); why != nil {
					d.Status.Denied = append(d.Status.Denied, resources.DeniedAction{Action: action, Why: why.words()})
				} else {
					usable = true
				}
			}
		}
	}
	all := slices.Clone(d.Status.Properties)
	for i, p := range all {
		if why := m.property(d.Spec.Product, p); why != nil {
			all[i].Denied = why.words()
		}
	}
	d.Status.Properties = all
	return usable || len(d.Status.Denied) == 0
}

// property is why no value can be given to a property: not when the resource is made or the operation is begun, and
// not later.
func (m Marks) property(product string, p resources.Property) (why *verdict) {
	actions := []string{p.Scope}
	if !strings.Contains(p.Scope, "/") {
		actions = []string{p.Scope + "/create", p.Scope + "/update"}
	}
	for _, action := range actions {
		one := driverUse{product: product, action: action, property: p.Key, scope: p.Scope}
		if why = m.book.verdict(m.role, one); why == nil {
			return nil
		}
	}
	return why
}
