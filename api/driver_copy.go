package api

import (
	"context"
	"net/http"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// driverCopy asks for a version with other settings.
type driverCopy struct {
	Name       string         `json:"name,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$" patternDescription:"1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit" example:"example.shelf-1.5.0.b" doc:"Name of the copy; that of the version, a dot and the label if none is given."`
	Label      string         `json:"label,omitempty" maxLength:"20" pattern:"^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$" patternDescription:"1 to 20 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit" example:"b" doc:"What tells the copy from the version, behind a plus sign: 1.5.0+b; the first that is free if none is given."`
	Properties map[string]any `json:"properties,omitempty" doc:"Driver-wide properties that differ; null takes one away. The others are those of the version."`
}

// copyDriver adds the route that copies a version of a driver, to be given other settings.
func (a *API) copyDriver(n noun) {
	registerBody(a, route{
		id: "copy-" + n.slug, method: http.MethodPost, path: n.target() + "/actions/copy", tag: n.tag,
		status: http.StatusAccepted, summary: "Copy a version of a driver",
		about: "Makes a version of the same program with other settings, which runs in processes of its own beside the " +
			"first. A swap to it changes settings resource by resource, and takes them back by itself if that does harm. " +
			"A driver that ships with the server can't be copied.",
		permission: door.To("create", n.kind),
	}, func(ctx context.Context, g door.Grant, in *struct {
		TargetParams
		WriteParams
	}, b *driverCopy,
	) (*accepted, error) {
		o, err := a.repeated(ctx, g, in.WriteParams)
		if o == nil && err == nil {
			o, err = a.copied(ctx, g, in.ID, b, in.WriteParams)
			for try := 1; overtaken(err) && try < maxOvertaken; try++ {
				o, err = a.copied(ctx, g, in.ID, b, in.WriteParams)
			}
		}
		if err != nil {
			return nil, err
		}
		return a.accept(ctx, g, o)
	})
}

// copied submits a copy of a version.
func (a *API) copied(
	ctx context.Context, g door.Grant, id string, b *driverCopy, w WriteParams,
) (*resources.Operation, error) {
	r, err := a.readable(ctx, g, resources.Ref{Kind: resources.KindDriver, ID: id})
	if err != nil {
		return nil, err
	}
	d, ok := r.(*resources.Driver)
	if !ok {
		return nil, wrongKind(r)
	}
	versions, err := a.versions(ctx, g, d.Spec.Product)
	if err != nil {
		return nil, err
	}
	next, err := d.Variant(b.Label, b.Name, merged(d.Spec.Properties, b.Properties), versions)
	if err != nil {
		return nil, err
	}
	if err := a.checkVariant(ctx, d, next); err != nil {
		return nil, err
	}
	return a.submit(ctx, g, creating(next, nil), w)
}

// checkVariant reports what is wrong with the settings of a copy, which the version itself is asked for: the copy does
// not run yet. Secrets that it has from the version are as they are there.
func (a *API) checkVariant(ctx context.Context, d, next *resources.Driver) error {
	check := resources.PropertyCheck{
		Scope: string(resources.KindDriver), Given: next.Spec.Properties, Product: d.Spec.Product, Version: d.Spec.Version,
		Languages: callFrom(ctx).languages(),
	}
	for _, s := range resources.SettingsOf(next) {
		check.Owner = s.Owner
	}
	sealed := check
	sealed.Before = d.Spec.Properties
	const at = "/properties"
	if err := a.checkSealed(at, sealed); err != nil {
		return err
	}
	return inProperties(at, a.drivers.Validate(ctx, check))
}

// versions lists those of a product that there are.
func (a *API) versions(ctx context.Context, g door.Grant, product string) (list []*resources.Driver, err error) {
	readable, err := a.door.Also(g, door.To(door.VerbList, resources.KindDriver), "")
	if err != nil {
		return nil, err
	}
	q := resources.Query{Kind: resources.KindDriver, Facets: map[string]string{"product": product}, Limit: mostDrivers}
	page, err := a.door.List(ctx, readable, q)
	if err != nil {
		return nil, err
	}
	for _, r := range page.Items {
		if d, ok := r.(*resources.Driver); ok {
			list = append(list, d)
		}
	}
	return list, nil
}
