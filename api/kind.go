package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// noun is how a kind is spoken of.
type noun struct {
	kind   resources.Kind
	one    string // "image store"
	many   string // "image stores"
	slug   string // "image-store", in operation ids
	plural string // "image-stores", in paths
	tag    string // "Image stores"
}

// a returns the noun with its article: "an image store".
func (n noun) a() string {
	if strings.ContainsAny(n.one[:1], "aeiou") {
		return "an " + n.one
	}
	return "a " + n.one
}

func (n noun) path() string   { return "/v1/" + n.plural }
func (n noun) target() string { return n.path() + "/{id}" }

// a resource of type R, known by its pointer.
type resourceOf[R any] interface {
	*R
	resources.Resource
}

// one answers with one resource.
type one[R any] struct {
	ETag string `header:"ETag" doc:"Revision of the resource, for If-Match."`
	Body *R
}

func answer[R any, P resourceOf[R]](r *R) *one[R] {
	return &one[R]{ETag: etag(P(r).Metadata().Revision), Body: r}
}

// wrongKind can only be a mistake of what implements Reader or Engine.
func wrongKind(r resources.Resource) error {
	return &resources.Error{
		Class: resources.ClassInternal, Code: "internal", Message: "unexpected kind " + string(r.Metadata().Kind),
	}
}

// addGet adds the route that reads one resource.
func addGet[R any, P resourceOf[R]](a *API, n noun) {
	register(a, route{
		id: "get-" + n.slug, method: http.MethodGet, path: n.target(), tag: n.tag,
		summary: "Get one " + n.one, about: "Reads one " + n.one + " by its id.",
		permission: door.To(door.VerbGet, n.kind),
	}, func(ctx context.Context, g door.Grant, in *TargetParams) (*one[R], error) {
		r, err := a.door.Get(ctx, g, in.ID)
		if err != nil {
			return nil, err
		}
		return shownOne[R, P](ctx, a, g, r)
	})
	if slices.Contains(resources.Driven(), n.kind) {
		addActing(a, n)
	}
}

func shownOne[R any, P resourceOf[R]](
	ctx context.Context, a *API, g door.Grant, r resources.Resource,
) (*one[R], error) {
	item, err := shown[R, P](ctx, a.newView(g), r)
	if err != nil {
		return nil, err
	}
	return answer[R, P](item), nil
}

// shown is what of a resource may be seen.
func shown[R any, P resourceOf[R]](ctx context.Context, v *view, r resources.Resource) (*R, error) {
	safe, err := v.show(ctx, r)
	if err != nil {
		return nil, err
	}
	p, ok := safe.(P)
	if !ok {
		return nil, wrongKind(r)
	}
	return (*R)(p), nil
}

type pageOf[R any] struct{ Body page[R] }

// listing is the input of a list route: ListParams and the filters of the kind.
type listing[I any] interface {
	*I
	params() *ListParams
	// facets are the filters given, by the name of the facet.
	facets() map[string]string
}

func (l *ListParams) params() *ListParams { return l }

// addList adds the route that lists resources.
func addList[R, I any, P resourceOf[R], L listing[I]](a *API, n noun) {
	register(a, route{
		id: "list-" + n.plural, method: http.MethodGet, path: n.path(), tag: n.tag,
		summary:    "List " + n.many,
		about:      "Lists " + n.many + " in the order of their ids, which is that of their making, page by page.",
		permission: door.To(door.VerbList, n.kind),
	}, func(ctx context.Context, g door.Grant, in *I) (*pageOf[R], error) {
		q, err := query(n.kind, L(in).params(), L(in).facets())
		if err != nil {
			return nil, err
		}
		p, err := a.door.List(ctx, g, q)
		if err != nil {
			return nil, err
		}
		v := a.newView(g)
		out := &pageOf[R]{Body: page[R]{Items: make([]*R, 0, len(p.Items)), Revision: p.Revision}}
		for _, r := range p.Items {
			item, err := shown[R, P](ctx, v, r)
			if err != nil {
				return nil, err
			}
			out.Body.Items = append(out.Body.Items, item)
		}
		if p.Next != "" {
			out.Body.NextPageToken = pageToken{p.Revision, p.Next, filterOf(q)}.String()
		}
		return out, nil
	})
}

// query makes the question out of a list's parameters.
func query(kind resources.Kind, l *ListParams, facets map[string]string) (resources.Query, error) {
	labels, err := l.labels()
	if err != nil {
		return resources.Query{}, err
	}
	q := resources.Query{
		Kind: kind, Name: l.Name, Phases: l.Phase, Facets: facets, Labels: labels, Limit: l.PageSize,
		Order: l.Order,
	}
	if l.PageToken == "" {
		return q, nil
	}
	t, err := parsePageToken(l.PageToken, filterOf(q))
	q.After = t.After
	return q, err
}

// given are those of the pairs facet, value whose value is not empty.
func given(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = pairs[i+1]
		}
	}
	return m
}
