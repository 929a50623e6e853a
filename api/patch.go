package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// patchAttempts bounds how often a change without If-Match is made again because
// the resource changed in between.
const patchAttempts = 20

// MetaPatch changes the name and labels of any kind (RFC 7396).
type MetaPatch struct {
	Name   *string            `json:"name,omitempty" maxLength:"63" doc:"New name; empty takes it away where a name is not required."`
	Labels map[string]*string `json:"labels,omitempty" doc:"Labels to set; null removes one, others stay."`
}

func (p MetaPatch) meta(m *resources.Meta) {
	if p.Name != nil {
		m.Name = *p.Name
	}
	if len(p.Labels) == 0 {
		return
	}
	labels := maps.Clone(m.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for k, v := range p.Labels {
		if v == nil {
			delete(labels, k)
			continue
		}
		labels[k] = *v
	}
	m.Labels = labels
}

// merged is a property bag after a merge patch: null removes a property. What is shown in place of a secret leaves it
// as it is, so that what was read can be sent back.
func merged(bag, change map[string]any) map[string]any {
	if len(change) == 0 {
		return bag
	}
	out := maps.Clone(bag)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range change {
		if v == nil {
			delete(out, k)
			continue
		}
		if _, had := bag[k]; had && isHidden(v) {
			continue
		}
		out[k] = v
	}
	return out
}

// hidden stands in answers for the value of a secret property.
func hidden() map[string]any { return map[string]any{"set": true} }

func isHidden(v any) bool {
	object, ok := v.(map[string]any)
	_, set := object["set"].(bool) // false is of one that was lost
	return ok && set && len(object) == 1
}

// set changes a value if a new one was given.
func set[T any](value, change *T) {
	if change != nil {
		*value = *change
	}
}

// patching changes a resource of type R.
type patching[R any] interface {
	apply(r *R)
}

// addPatch adds the route that changes name, labels and those parts of the spec
// that can be changed.
func addPatch[B patching[R], R any, P resourceOf[R]](a *API, n noun) {
	r := patchRoute(n, n.target())
	registerBody(a, r, func(ctx context.Context, g door.Grant, in *ChangeParams, b *B) (*accepted, error) {
		return patched[B, R, P](ctx, a, g, in, *b)
	})
	a.fixed[r.id] = fixedFields(reflect.TypeFor[R]())
}

func patchRoute(n noun, path string) route {
	return route{
		id: "update-" + n.slug, method: http.MethodPatch, path: path, tag: n.tag, media: patchType,
		status: http.StatusAccepted, summary: "Change " + n.a(), permission: door.To("update", n.kind),
		about: "Changes what is given and leaves the rest (RFC 7396). Send If-Match to change only what you have read. " +
			"Name and labels change at once, the spec when the operation has succeeded.",
	}
}

func patched[B patching[R], R any, P resourceOf[R]](
	ctx context.Context, a *API, g door.Grant, in *ChangeParams, b B,
) (*accepted, error) {
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}
	if o, err := a.repeated(ctx, g, in.WriteParams); err != nil {
		return nil, err
	} else if o != nil {
		return a.accept(ctx, g, o)
	}
	for attempt := 1; ; attempt++ {
		o, err := patchOnce[B, R, P](ctx, a, g, in, b, revision)
		if err == nil {
			return a.accept(ctx, g, o)
		}
		if resources.ClassOf(err) != resources.ClassStale || revision != 0 || attempt == patchAttempts {
			return nil, err
		}
	}
}

func patchOnce[B patching[R], R any, P resourceOf[R]](
	ctx context.Context, a *API, g door.Grant, in *ChangeParams, b B, revision uint64,
) (*resources.Operation, error) {
	current, err := a.door.Get(ctx, g, in.ID)
	if err != nil {
		return nil, err
	}
	p, ok := current.(P)
	if !ok {
		return nil, wrongKind(current)
	}
	changed := *p // what was read is shared
	b.apply(&changed)
	found, err := a.checkReferences(ctx, g, "", reflect.ValueOf(b))
	if err != nil {
		return nil, err
	}
	if err := a.checkChanged(ctx, g, P(&changed), current, found); err != nil {
		return nil, err
	}
	if revision == 0 {
		revision = current.Metadata().Revision
	}
	return a.submit(ctx, g, resources.Submission{
		Action: "update", Target: resources.Ref{Kind: g.Permission().Kind, ID: in.ID},
		Resource: P(&changed), IfRevision: revision,
	}, in.WriteParams)
}

// fixedFields lists what a resource has, by JSON pointer: what of it a patch
// does not know can't be changed.
func fixedFields(t reflect.Type) []string {
	var fields []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			fields = append(fields, fixedFields(f.Type)...)
		case name == "-":
		default:
			fields = append(fields, "/"+name)
			if name == "spec" {
				for _, inner := range fixedFields(f.Type) {
					fields = append(fields, "/spec"+inner)
				}
			}
		}
	}
	return fields
}

// sharpen says of unknown fields that are known to the resource that they can't
// be changed.
func (a *API) sharpen(routeID string, err error) error {
	e, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return err
	}
	for i, f := range e.Fields {
		if f.Code == schema.CodeUnknownField && slices.Contains(a.fixed[routeID], f.Pointer) {
			e.Fields[i].Code, e.Fields[i].Message = "immutable", "can't be changed"
		}
	}
	return err
}
