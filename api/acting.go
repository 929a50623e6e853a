package api

import (
	"context"
	"net/http"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type actingAnswer struct{ Body *resources.ActingDriver }

// addActing adds the route that says which version of a driver acts for a resource.
func addActing(a *API, n noun) {
	register(a, route{
		id: "get-" + n.slug + "-driver", method: http.MethodGet, path: n.target() + "/driver", tag: n.tag,
		summary: "Get the driver of one " + n.one,
		about: "Says which version of a driver acts for the " + n.one + " now. A swap gives it to another one, which is " +
			"not a change of the " + n.one + " itself.",
		permission: door.To(door.VerbGet, n.kind),
	}, func(ctx context.Context, g door.Grant, in *TargetParams) (*actingAnswer, error) {
		r, err := a.door.Get(ctx, g, in.ID)
		if err != nil {
			return nil, err
		}
		acting, err := a.bindings.Acting(ctx, r)
		if err != nil {
			return nil, err
		}
		return &actingAnswer{&acting}, nil
	})
}
