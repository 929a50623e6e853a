package api

import (
	"context"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What drivers say that they can do is looked at here by these names.
const (
	canProtocol       = "protocol"
	canPoolScope      = "poolScope"
	canFormats        = "volumeFormats"
	canImageFormats   = "imageFormats"
	canAttach         = "volumeProtocols"
	canMachineFormats = "machineFormats"

	protocolFile = "file"
)

// usable tells which drivers can be used where a list asks for.
func (a *API) usable(ctx context.Context, g door.Grant, l *driverList) (func(d *resources.Driver) bool, error) {
	if l.Hypervisor == "" {
		return func(d *resources.Driver) bool { return reaches(d, l.Scope) }, nil
	}
	hypervisors, err := a.hypervisors(ctx, g, l.Hypervisor)
	if err != nil {
		return nil, err
	}
	return func(d *resources.Driver) bool {
		return reaches(d, l.Scope) && slices.ContainsFunc(hypervisors, func(h *resources.Driver) bool {
			return fits(d, h, l.Category)
		})
	}, nil
}

// hypervisors finds the hypervisor drivers of a name.
func (a *API) hypervisors(ctx context.Context, g door.Grant, name string) ([]*resources.Driver, error) {
	q := resources.Query{
		Kind: resources.KindDriver, Facets: map[string]string{"category.hypervisor": "true"}, Limit: mostDrivers,
	}
	p, err := a.door.List(ctx, g, q)
	if err != nil {
		return nil, err
	}
	var found []*resources.Driver
	var all []string
	for _, r := range p.Items {
		d, ok := r.(*resources.Driver)
		if !ok {
			continue
		}
		all = append(all, d.Spec.Product)
		if isCalled(d, name) {
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, invalid(inParameter("query", "hypervisor", "unknown-driver",
		"names no hypervisor driver; there are: "+strings.Join(all, ", ")))
}

// isCalled reports whether a hypervisor driver goes by a name: its product, its own name, the product's second part,
// or what that drives ("qemu" of bulkhead/qemuhypervisor).
func isCalled(d *resources.Driver, name string) bool {
	_, short, _ := strings.Cut(d.Spec.Product, "/")
	what, _ := strings.CutSuffix(short, "hypervisor")
	return slices.Contains([]string{d.Spec.Product, d.Name, short, strings.TrimSuffix(what, "-")}, name)
}

// fits reports whether a driver can be used with a hypervisor's, by what both say that they can: in one category, or
// in any.
func fits(d, h *resources.Driver, category string) bool {
	for _, serves := range d.Spec.Categories {
		if category != "" && serves != category {
			continue
		}
		switch serves {
		case "hypervisor": // else it is another one
			if d.ID == h.ID {
				return true
			}
		case "storage":
			if slices.Contains(can(h, canAttach), only(d, canProtocol)) &&
				overlap(can(d, canFormats), can(h, canMachineFormats)) {
				return true
			}
		case "image":
			if overlap(can(d, canImageFormats), can(h, canMachineFormats)) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// reaches reports whether the pools of a driver can be used from a whole scope; drivers of other categories can.
func reaches(d *resources.Driver, scope string) bool {
	if scope == "" || !slices.Contains(d.Spec.Categories, "storage") {
		return true
	}
	width := []string{"host", "cluster", "zone"}
	return only(d, canProtocol) == protocolFile || // it can be a shared directory
		max(slices.Index(width, only(d, canPoolScope)), 0) >= slices.Index(width, scope)
}

// can is a list of what a driver says that it can do.
func can(d *resources.Driver, name string) []string {
	all, _ := d.Status.Capabilities[name].([]any)
	var texts []string
	for _, one := range all {
		if text, ok := one.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// only is one thing that a driver says of itself.
func only(d *resources.Driver, name string) string {
	text, _ := d.Status.Capabilities[name].(string)
	return text
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(one string) bool { return slices.Contains(b, one) })
}
