package api

import (
	"context"
	"net/http"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type operationList struct {
	ListParams
	TargetID   string                `query:"targetId" maxLength:"64" doc:"Only operations on this resource."`
	TargetKind resources.Kind        `query:"targetKind" doc:"Only operations on resources of this kind."`
	Action     string                `query:"action" maxLength:"32" doc:"Only operations with this action."`
	ParentID   resources.OperationID `query:"parentId" doc:"Only operations that this one asked for."`
}

func (l *operationList) facets() map[string]string {
	return given(
		"target",
		l.TargetID,
		"target-kind",
		string(l.TargetKind),
		"action",
		l.Action,
		"parent",
		string(l.ParentID),
	)
}

// operationParams are what reading one operation takes.
type operationParams struct {
	TargetParams
	WaitParams
}

func (a *API) operations() {
	n := noun{resources.KindOperation, "operation", "operations", "operation", "operations", "Operations"}
	addList[resources.Operation, operationList](a, n)
	register(a, route{
		id:      "get-operation",
		method:  http.MethodGet,
		path:    n.target(),
		tag:     n.tag,
		summary: "Get one operation",
		about: "Reads an operation. With wait, answers once it has ended or needs an operator, " +
			"or when the time is over.",
		permission: door.To(door.VerbGet, n.kind),
	}, a.getOperation)
	for _, r := range []struct {
		resolution     resources.Resolution
		summary, about string
	}{
		{
			resources.ResolutionCancel, "Cancel an operation",
			"Asks an operation to stop. What it did is undone. For those who may begin such an operation.",
		},
		{resources.ResolutionRetry, "Retry an operation", "Lets an operation that needs an operator try its step again."},
		{resources.ResolutionUnwind, "Unwind an operation", "Has what an operation that needs an operator did undone."},
		{
			resources.ResolutionAbandon, "Abandon an operation",
			"Gives up an operation that needs an operator or is being undone, with nothing more done or undone: " +
				"the last way out.",
		},
	} {
		register(a, route{
			id: string(r.resolution) + "-operation", method: http.MethodPost, tag: n.tag, status: http.StatusAccepted,
			path: n.target() + "/actions/" + string(r.resolution), summary: r.summary, about: r.about,
			permission: door.To(string(r.resolution), n.kind),
		}, func(ctx context.Context, g door.Grant, in *operationParams) (*accepted, error) {
			return a.resolve(ctx, g, in, r.resolution)
		})
	}
}

func (a *API) getOperation(
	ctx context.Context, g door.Grant, in *operationParams,
) (*one[resources.Operation], error) {
	patience, err := in.duration()
	if err != nil {
		return nil, err
	}
	r, err := a.door.Get(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	if o, ok := r.(*resources.Operation); ok && patience > 0 && !o.Ended() {
		if r, err = a.wait(ctx, g, resources.OperationID(in.ID), patience); err != nil {
			return nil, err
		}
	}
	return shownOne[resources.Operation](ctx, a, g, r)
}

func (a *API) resolve(
	ctx context.Context, g door.Grant, in *operationParams, r resources.Resolution,
) (*accepted, error) {
	patience, err := in.duration()
	if err != nil {
		return nil, err
	}
	id := resources.OperationID(in.ID)
	o, err := a.door.Resolve(ctx, g, id, r, callFrom(ctx).origin())
	if err == nil && patience > 0 && !o.Ended() {
		o, err = a.wait(ctx, g, id, patience)
	}
	if err != nil {
		return nil, err
	}
	return a.accept(ctx, g, o)
}
