package api

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// OperationProperties is the part of a body that has settings for the operation alone.
type OperationProperties struct {
	Properties map[string]any `json:"properties,omitempty" maxProperties:"64" doc:"Settings of the driver for this operation alone, as its properties of the scope kind/action describe them: GET /v1/drivers?operation=volume/create."`
}

// settable reports whether drivers can be given settings for an action alone.
func (a *API) settable(kind resources.Kind, action string) bool {
	does, known := a.vocabulary.Action(kind, action)
	return known && does.Settable
}

// checkAsked reports what is wrong with the settings for an operation on a resource, by the version that acts for it.
func (a *API) checkAsked(
	ctx context.Context, g door.Grant, action string, r resources.Resource, given map[string]any, found referents,
) error {
	if len(given) == 0 {
		return nil
	}
	kind := r.Metadata().Kind
	product, acting, err := a.actor(ctx, g, r, found)
	if err != nil {
		return err
	}
	check := resources.PropertyCheck{
		Scope: string(resources.OperationScope(kind, action)), Given: given, Acting: acting,
		Languages: callFrom(ctx).languages(),
	}
	if err := a.checkSealed("/properties", check); err != nil {
		return err
	}
	products := []string{product}
	if product == "" { // not placed yet: one of those that could be chosen takes them
		if products, err = a.serving(ctx, g, kind, nil); err != nil {
			return err
		}
	}
	return a.checkWith(ctx, "/properties", products, check)
}

// actor tells the product that acts for a resource, and by what the version of it is told; "" if it is not chosen yet.
func (a *API) actor(
	ctx context.Context, g door.Grant, r resources.Resource, found referents,
) (product string, acting []resources.Ref, err error) {
	var owner resources.Ref
	switch r := r.(type) {
	case *resources.Volume:
		owner = poolRef(r.Status.PoolID, r.Spec.PoolID)
	case *resources.Snapshot:
		if owner = poolRef(r.Status.PoolID); owner.ID == "" && r.Spec.VolumeID != "" {
			of, err := a.readable(ctx, g, resources.Ref{Kind: resources.KindVolume, ID: string(r.Spec.VolumeID)})
			if err != nil {
				return "", nil, err
			}
			return a.actor(ctx, g, of, found)
		}
	case *resources.Machine:
		owner = resources.Ref{Kind: resources.KindHost, ID: string(r.Status.HostID)}
		if owner.ID == "" {
			owner.ID = string(r.Spec.Placement.HostID)
		}
	}
	product, err = a.driverOf(ctx, g, owner, found)
	return product, []resources.Ref{r.Metadata().Ref(), owner}, err
}

func poolRef(ids ...resources.PoolID) resources.Ref {
	for _, id := range ids {
		if id != "" {
			return resources.Ref{Kind: resources.KindPool, ID: string(id)}
		}
	}
	return resources.Ref{}
}
