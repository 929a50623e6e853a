package actors

import (
	"sync"

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

// Secrets implements operations.State.
func (e *Engine) Secrets(product string, scope resources.Kind) (map[string]bool, error) {
	s, asked, at := &e.secrecy, productScope{product, scope}, e.state.Changes(resources.KindDriver)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || s.at != at {
		s.at, s.known = at, map[productScope]map[string]bool{}
	}
	if keys, known := s.known[asked]; known {
		return keys, nil
	}
	keys := map[string]bool{}
	err := e.state.View(func(v *persistence.View) error {
		return v.Each(resources.KindDriver, map[string]string{"product": product}, func(r resources.Resource) bool {
			if d, ok := r.(*resources.Driver); ok {
				for _, p := range d.Status.Properties {
					keys[p.Key] = keys[p.Key] || p.Secret && p.Scope == string(scope)
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
