package api

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const atController = "/spec/outOfBand"

// checkController reports what is wrong with how a host's power is controlled. Before is the host as it is; nil = it is
// new.
func (a *API) checkController(ctx context.Context, g door.Grant, r, before resources.Resource) error {
	h, ok := r.(*resources.Host)
	if !ok || h.Spec.OutOfBand == nil {
		return nil
	}
	b := h.Spec.OutOfBand
	readable, err := a.door.Also(g, door.To(door.VerbList, resources.KindDriver), "")
	if err != nil {
		return err
	}
	page, err := a.door.List(ctx, readable, resources.Query{
		Kind: resources.KindDriver, Facets: map[string]string{"product": b.Driver}, Limit: 1,
	})
	if err != nil {
		return err
	}
	if len(page.Items) == 0 {
		return invalid(resources.FieldError{
			Pointer: atController + "/driver", Code: "unknown-driver", Message: "no such driver is installed and enabled",
		})
	}
	if page.Items[0].Facets()["category.out-of-band"] == "" {
		return invalid(resources.FieldError{
			Pointer: atController + "/driver", Code: "wrong-category",
			Message: "this driver does not control the power of hosts",
		})
	}
	check := resources.PropertyCheck{
		Product: b.Driver, Scope: string(resources.KindHost), Given: b.Properties, Languages: callFrom(ctx).languages(),
	}
	for _, s := range resources.SettingsOf(h) {
		if s.At != "" {
			check.Owner, check.At = s.Owner, s.At
		}
	}
	return a.checkControllerSettings(ctx, check, before)
}

// checkControllerSettings reports what is wrong with the settings of a controller. Those of before may be another
// driver's, and only tell then which secrets were sealed.
func (a *API) checkControllerSettings(
	ctx context.Context, check resources.PropertyCheck, before resources.Resource,
) error {
	sealed := check
	if had, ok := before.(*resources.Host); ok && had.Spec.OutOfBand != nil {
		was := *had.Spec.OutOfBand
		sealed.Before = was.Properties
		if was.Driver == check.Product {
			check.Before = orNone(was.Properties)
		}
	}
	if err := a.checkSealed(atController+"/properties", sealed); err != nil {
		return err
	}
	return inProperties(atController+"/properties", a.drivers.Validate(ctx, check))
}
