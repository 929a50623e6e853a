package api

import (
	"context"
	"net/http"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type swapList struct {
	ListParams
	Product string             `query:"product" maxLength:"65" doc:"Only swaps between versions of this product, vendor/name."`
	To      resources.DriverID `query:"to" doc:"Only swaps to this version: a driver."`
}

func (l *swapList) facets() map[string]string { return given("product", l.Product, "to", string(l.To)) }

type progressParams struct {
	TargetParams
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Largest number of resources that are listed."`
}

type progressAnswer struct{ Body *resources.SwapProgress }

func (a *API) swaps() {
	n := noun{resources.KindSwap, "swap", "swaps", "swap", "swaps", "Swaps"}
	addList[resources.Swap, swapList](a, n)
	addGet[resources.Swap](a, n)
	registerBody(a, route{
		id: "create-" + n.slug, method: http.MethodPost, path: n.path(), tag: n.tag, status: http.StatusAccepted,
		summary: "Plan a swap",
		about: "Plans to have another version of a driver act, and does no more than that: once the operation has " +
			"succeeded, status.plan says what the swap comes to, and start begins it. Both versions must be installed.",
		permission: door.To("create", n.kind),
	}, func(ctx context.Context, g door.Grant, in *WriteParams, b *creation[resources.SwapSpec]) (*accepted, error) {
		o, err := a.repeated(ctx, g, *in)
		if o == nil && err == nil {
			o, err = a.make(ctx, g, &resources.Swap{Meta: b.meta(n.kind), Spec: b.Spec}, nil, *in)
		}
		if err != nil {
			return nil, err
		}
		return a.accept(ctx, g, o)
	})
	addDelete(a, n)
	addSuspend[resources.Swap](a, n)
	register(a, route{
		id: "get-swap-progress", method: http.MethodGet, path: n.target() + "/progress", tag: n.tag,
		summary: "Get how far a swap is",
		about: "Counts the resources that each version acts for now, and lists some that the version of before does: " +
			"those that something keeps first.",
		permission: door.To(door.VerbGet, n.kind),
	}, a.swapProgress)
	addAction(a, n, action{
		name: "start", id: "start-swap", summary: "Begin a swap",
		about: "Has the other version act, resource by resource, while they are used: the canaries first, which are " +
			"observed, then the rest. If it does worse than the version of before, or the operation is cancelled, all " +
			"that was moved is moved back. While work on the swap is held back, no more resources are moved. " +
			"One swap of a product can be under way.",
	})
	addAction(a, n, action{
		name: "roll-back", id: "roll-back-swap", summary: "Take a swap back",
		about: "Has the version of before act again for all that the swap moved, and for what was made since. That version " +
			"must still be installed, and able to read what the other one remembers.",
	})
}

func (a *API) swapProgress(ctx context.Context, g door.Grant, in *progressParams) (*progressAnswer, error) {
	r, err := a.door.Get(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	s, ok := r.(*resources.Swap)
	if !ok {
		return nil, wrongKind(r)
	}
	p, err := a.bindings.SwapProgress(ctx, s, in.Limit)
	if err != nil {
		return nil, err
	}
	p.Items = append([]resources.SwapMember{}, p.Items...)
	return &progressAnswer{&p}, nil
}
