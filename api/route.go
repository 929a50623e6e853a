package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/door"
)

const permissionKey = "permission"

// route describes one operation of the API.
type route struct {
	id         string
	method     string
	path       string
	tag        string
	summary    string
	about      string
	permission door.Permission
	status     int // 0 = 200
	// media and optional describe the body, if the route has one; "" = JSON.
	media    string
	optional bool
}

func (r route) operation() huma.Operation {
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	var parameters []*huma.Param
	if reads(r.method) {
		parameters = consistencyParams()
	}
	return huma.Operation{
		Parameters:  parameters,
		OperationID: r.id, Method: r.method, Path: r.path, Tags: []string{r.tag},
		Summary: r.summary, Description: r.about, DefaultStatus: status,
		Security:   []map[string][]string{{"bearer": {}}},
		Metadata:   map[string]any{permissionKey: r.permission},
		Extensions: map[string]any{"x-permission": r.permission.String()},
	}
}

// handler serves a route once its caller was admitted.
type handler[I, O any] func(ctx context.Context, g door.Grant, in *I) (*O, error)

// register adds a route without a body.
func register[I, O any](a *API, r route, serve handler[I, O]) {
	registerOperation(a, r.operation(), func(ctx context.Context, g door.Grant, in *I) (*O, error) {
		if err := noBody(callFrom(ctx)); err != nil {
			return nil, err
		}
		return serve(ctx, g, in)
	})
}

// registerBody adds a route with a body of type B.
func registerBody[I, B, O any](
	a *API, r route, serve func(ctx context.Context, g door.Grant, in *I, b *B) (*O, error),
) {
	if r.media == "" {
		r.media = jsonType
	}
	b := body{mediaType: r.media, optional: r.optional, schema: a.registry.Schema(reflect.TypeFor[B](), true, "")}
	registerOperation(a, r.operation(), func(ctx context.Context, g door.Grant, in *I) (*O, error) {
		v := new(B)
		if err := a.read(ctx, b, v); err != nil {
			return nil, a.sharpen(r.id, err)
		}
		return serve(ctx, g, in, v)
	})
	// Documented afterwards, or huma would read the body itself.
	a.operation(r).RequestBody = &huma.RequestBody{
		Required: !r.optional, Content: map[string]*huma.MediaType{r.media: {Schema: b.schema}},
	}
}

func registerOperation[I, O any](a *API, op huma.Operation, serve handler[I, O]) {
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		g, _ := ctx.Value(grantKey{}).(door.Grant)
		out, err := serve(ctx, g, in)
		callFrom(ctx).showRevision(g.Revision())
		if err != nil {
			return nil, a.newProblem(ctx, err)
		}
		return out, nil
	})
}

// operation finds a route's operation in the document.
func (a *API) operation(r route) *huma.Operation {
	item := a.huma.OpenAPI().Paths[r.path]
	switch r.method {
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	default:
		return item.Get
	}
}
