package api

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// accepted answers a change: it is durable, and the operation says how it goes.
type accepted struct {
	Location   string `header:"Location" doc:"Path of the operation."`
	RetryAfter string `header:"Retry-After" doc:"Seconds after which to look again; absent once it has ended."`
	Body       *resources.Operation
}

// accept answers a change with its operation: 202 also when it has ended, for
// clients made by generators know one success of each request.
func (a *API) accept(ctx context.Context, g door.Grant, o *resources.Operation) (*accepted, error) {
	safe, err := shown[resources.Operation](ctx, a.newView(g), o)
	if err != nil {
		return nil, err
	}
	out := &accepted{Location: "/v1/operations/" + o.ID, Body: safe}
	if !o.Ended() {
		out.RetryAfter = "1"
	}
	return out, nil
}

// submit hands a change to the engine and, if asked to, waits for its end.
func (a *API) submit(
	ctx context.Context, g door.Grant, s resources.Submission, w WriteParams,
) (*resources.Operation, error) {
	c := callFrom(ctx)
	var err error
	if s.IdempotencyKey, err = w.key(); err != nil {
		return nil, err
	}
	patience, err := w.duration()
	if err != nil {
		return nil, err
	}
	s.Origin, s.Fingerprint = c.origin(), c.fingerprint()
	o, err := a.door.Submit(ctx, g, s)
	if err != nil || patience == 0 || o.Ended() {
		return o, err
	}
	return a.wait(ctx, g, resources.OperationID(o.ID), patience)
}

// repeated finds the operation that an equal request with the same idempotency
// key became before, and waits for its end if asked to; nil = there was none. To
// be called before what a request stands on is looked at, which may be gone.
func (a *API) repeated(ctx context.Context, g door.Grant, w WriteParams) (*resources.Operation, error) {
	key, err := w.key()
	if err != nil || key == "" {
		return nil, err
	}
	patience, err := w.duration()
	if err != nil {
		return nil, err
	}
	o, err := a.door.Repeated(ctx, g, key, callFrom(ctx).fingerprint())
	if err != nil || o == nil || patience == 0 || o.Ended() {
		return o, err
	}
	return a.wait(ctx, g, resources.OperationID(o.ID), patience)
}

// wait waits for an operation, at most for a time.
func (a *API) wait(
	ctx context.Context, g door.Grant, id resources.OperationID, patience time.Duration,
) (*resources.Operation, error) {
	callFrom(ctx).allow(patience+ordinary, patience+ordinary)
	ctx, stop := untilClosing(ctx)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return a.door.Wait(ctx, g, id)
}

// creation is the body that makes a new resource.
type creation[S any] struct {
	Name   string            `json:"name,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$" patternDescription:"1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit" example:"web-1" doc:"Name, unique among resources of the kind."`
	Labels map[string]string `json:"labels,omitempty" doc:"Labels, for people and for selection."`
	Spec   S                 `json:"spec" doc:"What is asked for."`
}

// settableCreation is a creation whose driver can be given settings for it alone.
type settableCreation[S any] struct {
	Name   string            `json:"name,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$" patternDescription:"1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit" example:"web-1" doc:"Name, unique among resources of the kind."`
	Labels map[string]string `json:"labels,omitempty" doc:"Labels, for people and for selection."`
	Spec   S                 `json:"spec" doc:"What is asked for."`
	OperationProperties
}

func (c *creation[S]) meta(kind resources.Kind) resources.Meta {
	return resources.Meta{Kind: kind, Name: c.Name, Labels: c.Labels}
}

// addCreate adds the routes that make a resource and that plan to.
func addCreate[S any](a *API, n noun, build func(*creation[S]) resources.Resource) {
	if !a.settable(n.kind, "create") {
		addCreation(a, n, func(c *creation[S]) (resources.Resource, map[string]any) { return build(c), nil })
		return
	}
	addCreation(a, n, func(c *settableCreation[S]) (resources.Resource, map[string]any) {
		return build(&creation[S]{c.Name, c.Labels, c.Spec}), c.Properties
	})
}

// addCreation is addCreate with a body of type B, of which build makes the resource and the settings for its creation
// alone.
func addCreation[B any](a *API, n noun, build func(*B) (resources.Resource, map[string]any)) {
	path, about := n.path(), "Accepts a new "+n.one+". It is there at once, with the id in the operation's target; "+
		"the operation says when it can be used."
	registerBody(a, route{
		id: "create-" + n.slug, method: http.MethodPost, path: path, tag: n.tag, status: http.StatusAccepted,
		summary: "Create " + n.a(), about: about, permission: door.To("create", n.kind),
	}, func(ctx context.Context, g door.Grant, in *WriteParams, b *B) (*accepted, error) {
		o, err := a.repeated(ctx, g, *in)
		if o == nil && err == nil {
			r, given := build(b)
			o, err = a.make(ctx, g, r, given, *in)
		}
		if err != nil {
			return nil, err
		}
		return a.accept(ctx, g, o)
	})
	type planned struct{ Body *resources.Plan }
	registerBody(a, route{
		id:      "plan-" + n.slug,
		method:  http.MethodPost,
		path:    path + "/actions/plan",
		tag:     n.tag,
		summary: "Plan " + n.a(),
		about: "Says what creating the " + n.one + " would do: its steps, where it would be placed and why. " +
			"Does nothing.",
		permission: door.To("plan", n.kind),
	}, func(ctx context.Context, g door.Grant, _ *struct{}, b *B) (*planned, error) {
		r, given := build(b)
		if err := a.checkNew(ctx, g, r, given); err != nil {
			return nil, err
		}
		s := creating(r, given)
		s.Origin = callFrom(ctx).origin()
		p, err := a.door.Plan(ctx, g, s)
		if err != nil {
			return nil, err
		}
		return &planned{fullPlan(p)}, nil
	})
}

// make checks a new resource and submits it.
func (a *API) make(
	ctx context.Context, g door.Grant, r resources.Resource, given map[string]any, w WriteParams,
) (*resources.Operation, error) {
	if err := a.checkNew(ctx, g, r, given); err != nil {
		return nil, err
	}
	return a.submit(ctx, g, creating(r, given), w)
}

func creating(r resources.Resource, given map[string]any) resources.Submission {
	return resources.Submission{
		Action: "create", Target: resources.Ref{Kind: r.Metadata().Kind}, Resource: r,
		Arguments: resources.Arguments{Properties: given},
	}
}

// fullPlan has no absent lists: they are written as empty ones.
func fullPlan(p *resources.Plan) *resources.Plan {
	full := *p
	full.Steps = append([]string{}, p.Steps...)
	full.Choices = append([]resources.Choice{}, p.Choices...)
	for i, c := range full.Choices {
		full.Choices[i].Refused = append([]resources.Reason{}, c.Refused...)
	}
	return &full
}

// ChangeParams are what a change of an existing resource takes.
type ChangeParams struct {
	TargetParams
	WriteParams
	MatchParams
}

// act asks for an action on the resource that the parameters name.
func (a *API) act(
	ctx context.Context, g door.Grant, in *ChangeParams, action string, args resources.Arguments,
) (*accepted, error) {
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}
	// The engine tells whether the target is there: a repeated delete must be
	// answered with the first one.
	o, err := a.submit(ctx, g, resources.Submission{
		Action: action, IfRevision: revision, Arguments: args,
		Target: resources.Ref{Kind: g.Permission().Kind, ID: in.ID},
	}, in.WriteParams)
	if err != nil {
		return nil, err
	}
	return a.accept(ctx, g, o)
}

// addDelete adds the route that deletes a resource.
func addDelete(a *API, n noun) {
	register(a, route{
		id: "delete-" + n.slug, method: http.MethodDelete, path: n.target(), tag: n.tag, status: http.StatusAccepted,
		summary: "Delete " + n.a(), permission: door.To("delete", n.kind),
		about: "Deletes the " + n.one + ". What other resources stand on can't be deleted before them.",
	}, func(ctx context.Context, g door.Grant, in *ChangeParams) (*accepted, error) {
		return a.act(ctx, g, in, "delete", resources.Arguments{})
	})
}

// addForget adds the route that deletes what its storage no longer gives up.
func addForget(a *API, n noun, what string) {
	register(a, route{
		id: "forget-" + n.slug, method: http.MethodPost, path: n.target() + "/actions/" + door.VerbForget, tag: n.tag,
		status: http.StatusAccepted, permission: door.To(door.VerbForget, n.kind),
		summary: "Delete " + n.a() + " whose storage is lost",
		about: "Deletes the " + n.one + " like delete, and asks drivers of storage once: " + what +
			" that can't be removed is left behind, and nobody knows of it any more. For administrators.",
	}, func(ctx context.Context, g door.Grant, in *ChangeParams) (*accepted, error) {
		return a.act(ctx, g, in, "delete", resources.Arguments{Forget: true})
	})
}

// addSuspend adds the routes that hold back work on a resource and let it go on.
func addSuspend[R any, P resourceOf[R]](a *API, n noun) {
	add := func(verb, id, summary, about string) {
		register(a, route{
			id: id, method: http.MethodPost, path: n.target() + "/actions/" + verb, tag: n.tag,
			summary: summary, about: about, permission: door.To(verb, n.kind),
		}, func(ctx context.Context, g door.Grant, in *TargetParams) (*one[R], error) {
			r, err := a.door.Suspend(ctx, g, in.ID, callFrom(ctx).origin())
			if err != nil {
				return nil, err
			}
			return shownOne[R, P](ctx, a, g, r)
		})
	}
	add(door.VerbSuspend, "suspend-"+n.slug+"-work", "Hold back work on "+n.a(),
		"Operations on the "+n.one+" are accepted and queued but not begun, until work is resumed. Delays no other resource.")
	add(door.VerbResume, "resume-"+n.slug+"-work", "Let work on "+n.a()+" go on",
		"Operations that were held back begin, in their order.")
}

// action describes one thing that can be done to a resource of a kind.
type action struct {
	name    string // as in resources.Action, unless asks is set
	asks    string
	id      string // of the API's operation
	summary string
	about   string
	// optional is set when the body may be left out.
	optional bool
}

func (x action) route(n noun) route {
	return route{
		id: x.id, method: http.MethodPost, path: n.target() + "/actions/" + x.name, tag: n.tag, optional: x.optional,
		status: http.StatusAccepted, summary: x.summary, about: x.about, permission: door.To(x.name, n.kind),
	}
}

// addAction adds an action without a body.
func addAction(a *API, n noun, x action) {
	register(a, x.route(n), func(ctx context.Context, g door.Grant, in *ChangeParams) (*accepted, error) {
		return a.act(ctx, g, in, x.name, resources.Arguments{})
	})
}

// arguments is the body of an action.
type arguments interface {
	// arguments returns them as the engine takes them.
	arguments() resources.Arguments
}

// addActionWith adds an action with a body of type B.
func addActionWith[B arguments](a *API, n noun, x action) {
	registerBody(a, x.route(n), func(ctx context.Context, g door.Grant, in *ChangeParams, b *B) (*accepted, error) {
		if o, err := a.repeated(ctx, g, in.WriteParams); err != nil {
			return nil, err
		} else if o != nil {
			return a.accept(ctx, g, o)
		}
		if _, err := a.checkReferences(ctx, g, "", reflect.ValueOf(b)); err != nil {
			return nil, err
		}
		args := (*b).arguments()
		if err := a.checkTarget(ctx, g, in, x, args); err != nil {
			return nil, err
		}
		return a.act(ctx, g, in, cmp.Or(x.asks, x.name), args)
	})
}

// checkTarget reports what is wrong with the settings for an action on the resource that the parameters name.
func (a *API) checkTarget(
	ctx context.Context, g door.Grant, in *ChangeParams, x action, args resources.Arguments,
) error {
	if len(args.Properties) == 0 {
		return nil
	}
	r, err := a.door.Get(ctx, g, in.ID)
	if err != nil {
		return err
	}
	return a.checkAsked(ctx, g, cmp.Or(x.asks, x.name), r, args.Properties, nil)
}
