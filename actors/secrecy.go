package actors

import (
	"slices"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// secrecy remembers which properties drivers call secret, as long as no driver changes: each call of a driver asks.
type secrecy struct {
	mu    sync.Mutex
	at    uint64 // changes of drivers when it was read
	known map[productScope]map[string]bool
}

type productScope struct {
	product string
	scope   resources.Kind
}

// Secret returns the keys of those properties of a scope that the driver of a product calls secret, in any of its
// versions; the drivers of any product, if it is "". Not to be changed.
func (e *Engine) Secret(product string, scope resources.Kind) (map[string]bool, error) {
	s, asked, at := &e.secrecy, productScope{product, scope}, e.state.Changes(resources.KindDriver)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || s.at != at {
		s.at, s.known = at, map[productScope]map[string]bool{}
	}
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

// Part implements operations.State.
func (e *Engine) Part(s resources.Settings) (open map[string]any, closed map[string]string, err error) {
	if len(s.Values) == 0 {
		return map[string]any{}, map[string]string{}, nil
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
