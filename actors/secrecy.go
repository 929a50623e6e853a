package actors

import (
	"maps"
	"slices"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// secrecy remembers which properties drivers call secret, and which a version describes, as long as no driver changes:
// each call of a driver asks.
type secrecy struct {
	mu    sync.Mutex
	at    uint64 // changes of drivers when it was read
	known map[productScope]map[string]bool
	// described are the keys that a version describes, by scope; nil if all are to be taken for its.
	described map[[2]string]map[resources.Kind]map[string]bool // of product and version
}

type productScope struct {
	product string
	scope   resources.Kind
}

// refresh forgets what was read before some driver changed. The lock is held.
func (s *secrecy) refresh(changes uint64) {
	if s.known == nil || s.at != changes {
		s.at = changes
		s.known = map[productScope]map[string]bool{}
		s.described = map[[2]string]map[resources.Kind]map[string]bool{}
	}
}

// Secret returns the keys of those properties of a scope that the driver of a product calls secret, in any of its
// versions; the drivers of any product, if it is "". Not to be changed.
func (e *Engine) Secret(product string, scope resources.Kind) (map[string]bool, error) {
	s, asked, at := &e.secrecy, productScope{product, scope}, e.state.Changes(resources.KindDriver)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(at)
	if keys, known := s.known[asked]; known {
		return keys, nil
	}
	var facets map[string]string
	if product != "" {
		facets = map[string]string{"product": product}
	}
	keys := map[string]bool{}
	err := e.state.View(func(v *persistence.View) error {
		return v.Each(resources.KindDriver, facets, func(r resources.Resource) bool {
			if d, ok := r.(*resources.Driver); ok {
				for _, p := range d.Status.Properties {
					if p.Secret && p.Scope == string(scope) {
						keys[p.Key] = true
					}
				}
			}
			return true
		})
	})
	if err == nil {
		s.known[asked] = keys
	}
	return keys, err
}

// takes returns those of the settings that the version of their product describes. The others are there for another
// version: one before, which may act again, or one to come.
func (e *Engine) takes(s resources.Settings, version string) (resources.Settings, error) {
	scopes, err := e.described(s.Product, version)
	if err != nil || scopes == nil {
		return s, err
	}
	keys := scopes[s.Scope]
	unknown := func(key string, _ any) bool { return !keys[key] }
	for key, value := range s.Values {
		if unknown(key, value) {
			s.Values = maps.Clone(s.Values)
			maps.DeleteFunc(s.Values, unknown)
			break
		}
	}
	return s, nil
}

// described returns the keys that a version describes, by scope. It is nil for one that has not described itself yet,
// and for one that ships with the server and is the only one: what its record says may be of another node's program.
func (e *Engine) described(product, version string) (map[resources.Kind]map[string]bool, error) {
	s, at, asked := &e.secrecy, e.state.Changes(resources.KindDriver), [2]string{product, version}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(at)
	if scopes, known := s.described[asked]; known {
		return scopes, nil
	}
	var scopes map[resources.Kind]map[string]bool
	err := e.state.View(func(v *persistence.View) error {
		versions, err := v.Versions(product)
		d := resources.DriverOf(versions, version)
		switch {
		case err != nil:
			return err
		case d == nil, d.Spec.BuiltIn && len(versions) == 1, len(d.Status.Properties)+len(d.Status.Capabilities) == 0:
			return nil
		}
		scopes = map[resources.Kind]map[string]bool{}
		for _, p := range d.Status.Properties {
			scope := resources.Kind(p.Scope)
			if scopes[scope] == nil {
				scopes[scope] = map[string]bool{}
			}
			scopes[scope][p.Key] = true
		}
		return nil
	})
	if err == nil {
		s.described[asked] = scopes
	}
	return scopes, err
}

// Part implements operations.State.
func (e *Engine) Part(
	s resources.Settings, version string,
) (open map[string]any, closed map[string]string, err error) {
	if len(s.Values) == 0 {
		return map[string]any{}, map[string]string{}, nil
	}
	if s, err = e.takes(s, version); err != nil {
		return nil, nil, err
	}
	keys, err := e.Secret(s.Product, s.Scope)
	if err != nil {
		return nil, nil, err
	}
	return e.secrets.Part(s, keys)
}

// protect seals what is secret in a resource before it leaves this node. Before is the resource as it is, if it is
// changed: what is given again as it was is no change.
func (e *Engine) protect(r, before resources.Resource) error {
	some, err := secrets.Some(r, e.Secret)
	if err != nil || !some {
		return err
	}
	var ids []string
	err = e.state.View(func(v *persistence.View) (err error) {
		ids, err = v.SecretKeys()
		return err
	})
	if err != nil || len(ids) == 0 { // the zone is too old, or has none of its keys yet
		return err
	}
	if !slices.ContainsFunc(ids, e.secrets.Ring().Has) {
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: "no-secret-keys",
			Message: "this node has none of the keys that secrets are sealed with",
			Remedy:  "see its log, or send the request to another node",
		}
	}
	_, err = e.secrets.Protect(r, before, e.Secret)
	return err
}
