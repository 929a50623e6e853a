package api

import (
	"context"
	"maps"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// view shows resources without what must never leave: user data, the values of
// secret properties, paths of spooled uploads. It learns which properties are
// secret from the installed drivers when it first meets properties. A view
// belongs to one goroutine.
type view struct {
	api   *API
	grant door.Grant
	known *secrets
}

// secrets tells which properties may be shown: the keys that drivers describe, by
// product and scope, and those any of them calls secret, by scope.
type secrets struct {
	described map[scoped]bool
	secret    map[scoped]bool
}

// scoped is a key in a scope, of one product or, without one, of any.
type scoped struct{ product, scope, key string }

// mostDrivers is how many drivers are read at once.
const mostDrivers = 1000

// scopeDriver is the scope of properties that belong to a driver as a whole.
const scopeDriver = "driver"

func (a *API) newView(g door.Grant) *view { return &view{api: a, grant: g} }

// forget makes the view learn again what is secret: a driver changed.
func (v *view) forget() { v.known = nil }

// show returns a copy of r that may be seen. R itself is shared with others and
// is left as it is.
func (v *view) show(ctx context.Context, r resources.Resource) (resources.Resource, error) {
	safe, err := v.safe(ctx, r)
	if lost := resources.Lost(r); err == nil && len(lost) > 0 {
		if m := safe.Metadata(); m.Reason == "" {
			m.Reason = "secrets must be given again: " + strings.Join(lost, ", ")
		}
	}
	return safe, err
}

func (v *view) safe(ctx context.Context, r resources.Resource) (resources.Resource, error) {
	switch r := r.(type) {
	case *resources.Machine:
		return v.machine(ctx, *r)
	case *resources.Operation:
		o := *r
		o.Arguments.Upload = ""
		var err error
		scope := string(resources.OperationScope(o.Target.Kind, o.Action))
		o.Arguments.Properties, err = v.properties(ctx, scope, "", o.Arguments.Properties)
		for _, field := range []string{"properties", "outOfBand"} { // the resource shows what of them may be seen
			if _, has := o.Arguments.Spec[field]; has {
				o.Arguments.Spec = maps.Clone(o.Arguments.Spec)
				delete(o.Arguments.Spec, field)
			}
		}
		return &o, err
	case *resources.Driver:
		d := *r
		var err error
		d.Spec.Secrets = nil
		d.Spec.Categories = append([]string{}, d.Spec.Categories...) // never null
		d.Spec.Properties, err = v.properties(ctx, scopeDriver, d.Spec.Product, d.Spec.Properties)
		d.Status.Properties = v.api.drivers.Translate(&d, callFrom(ctx).languages())
		return &d, err
	case *resources.Volume:
		l := *r
		var err error
		l.Spec.Properties, err = v.properties(ctx, string(l.Kind), "", l.Spec.Properties)
		return &l, err
	case *resources.Token:
		t := *r
		t.Status = resources.TokenStatus{}
		return &t, nil
	}
	return v.driven(ctx, r)
}

// driven shows the kinds that name their driver.
func (v *view) driven(ctx context.Context, r resources.Resource) (resources.Resource, error) {
	var err error
	switch r := r.(type) {
	case *resources.Host:
		h := *r
		h.Spec.Properties, err = v.properties(ctx, string(h.Kind), h.Spec.Driver, h.Spec.Properties)
		if h.Spec.OutOfBand != nil && err == nil {
			b := *h.Spec.OutOfBand
			b.Properties, err = v.properties(ctx, string(h.Kind), b.Driver, b.Properties)
			h.Spec.OutOfBand = &b
		}
		return &h, err
	case *resources.Pool:
		p := *r
		p.Spec.Properties, err = v.properties(ctx, string(p.Kind), p.Spec.Driver, p.Spec.Properties)
		return &p, err
	case *resources.ImageStore:
		s := *r
		s.Spec.Properties, err = v.properties(ctx, string(s.Kind), s.Spec.Driver, s.Spec.Properties)
		return &s, err
	case *resources.Network:
		n := *r
		n.Spec.Properties, err = v.properties(ctx, string(n.Kind), n.Spec.Driver, n.Spec.Properties)
		return &n, err
	}
	return r, nil
}

func (v *view) machine(ctx context.Context, m resources.Machine) (resources.Resource, error) {
	if m.Spec.CloudInit != nil {
		c := *m.Spec.CloudInit
		c.UserData = ""
		m.Spec.CloudInit = &c
	}
	var err error
	m.Spec.Properties, err = v.properties(ctx, string(m.Kind), "", m.Spec.Properties)
	return &m, err
}

// properties says only of those that any installed driver calls secret in the scope
// that they are set, and leaves out those that the driver in question does not
// describe, since nobody can tell what they are: of a driver that is not installed,
// or has not said yet what it is, none is shown.
func (v *view) properties(
	ctx context.Context, scope, product string, all map[string]any,
) (map[string]any, error) {
	if len(all) == 0 {
		return all, nil
	}
	if v.known == nil {
		known, err := v.api.learnSecrets(ctx, v.grant)
		if err != nil {
			return nil, err
		}
		v.known = known
	}
	safe := make(map[string]any, len(all))
	for key, value := range all {
		text, sealed := resources.SealedText(value)
		switch {
		case !v.known.described[scoped{product, scope, key}]:
		case sealed: // one that is lost is to be given again
			safe[key] = map[string]any{"set": text != ""}
		case v.known.secret[scoped{"", scope, key}]:
			safe[key] = hidden()
		default:
			safe[key] = value
		}
	}
	return safe, nil
}

func (a *API) learnSecrets(ctx context.Context, g door.Grant) (*secrets, error) {
	drivers, err := a.door.Also(g, door.To(door.VerbList, resources.KindDriver), "")
	if err != nil {
		return nil, err
	}
	s := &secrets{described: map[scoped]bool{}, secret: map[scoped]bool{}}
	q := resources.Query{Kind: resources.KindDriver, Limit: mostDrivers}
	for {
		p, err := a.door.List(ctx, drivers, q)
		if err != nil {
			return nil, err
		}
		for _, r := range p.Items {
			if d, ok := r.(*resources.Driver); ok {
				s.learn(d)
			}
		}
		if p.Next == "" {
			return s, nil
		}
		q.After = p.Next
	}
}

func (s *secrets) learn(d *resources.Driver) {
	for _, p := range d.Status.Properties {
		s.described[scoped{d.Spec.Product, p.Scope, p.Key}] = true
		s.described[scoped{"", p.Scope, p.Key}] = true
		if p.Secret {
			s.secret[scoped{"", p.Scope, p.Key}] = true
		}
	}
}
