package persistence

import (
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// MaxShards is the most shards a zone can have.
const MaxShards = 1 << 16

// Bootstrap makes the zone: its record, its first token, the drivers that ship
// with the server. Proposed at each start; what is there already stays.
type Bootstrap struct {
	// Zone, Token and Drivers are complete resources.
	Documents []*Document `json:"d"`
	// Level of the zone, if it is made by this: a new one has nothing to go back to. 0 =
	// the oldest. One that is there keeps its own.
	Level uint32 `json:"l,omitempty"`
}

func (*Bootstrap) commandName() string { return "bootstrap" }

func (b *Bootstrap) apply(t *tx) (Result, error) {
	t.principal = "system"
	for _, d := range b.Documents {
		r, err := t.open(d)
		if err != nil {
			return Result{}, err
		}
		if err := b.add(t, r); err != nil {
			return Result{}, err
		}
	}
	return Result{}, nil
}

func (b *Bootstrap) add(t *tx, r resources.Resource) error {
	m := r.Metadata()
	if z, ok := r.(*resources.Zone); ok {
		if z.Status.Shards < 1 || z.Status.Shards > MaxShards {
			return &resources.Error{
				Class: resources.ClassInvalid, Code: "out-of-range",
				Message: fmt.Sprintf("a zone of %d shards; it can have 1 to %d", z.Status.Shards, MaxShards),
			}
		}
		page, err := t.List(resources.Query{Kind: m.Kind, Limit: 1})
		if err != nil || len(page.Items) > 0 {
			return err
		}
	}
	current, err := b.find(t, r)
	if resources.ClassOf(err) == resources.ClassNotFound {
		m.Phase = resources.PhaseReady
		if m.Kind == resources.KindZone && b.Level > OldestLevel {
			if err := t.codec.levels.Check(b.Level); err != nil {
				return err
			}
			t.raise(b.Level)
		}
		return t.create(r)
	}
	if err != nil {
		return err
	}
	return b.refresh(t, current, r)
}

// find looks for what a document became at an earlier start. A driver is known by
// its product: an operator may have given it another name.
func (b *Bootstrap) find(t *tx, r resources.Resource) (resources.Resource, error) {
	m := r.Metadata()
	driver, ok := r.(*resources.Driver)
	if !ok {
		return t.ByName(m.Kind, m.Name)
	}
	page, err := t.List(resources.Query{
		Kind: m.Kind, Facets: map[string]string{"product": driver.Spec.Product}, Limit: 1,
	})
	if err != nil || len(page.Items) > 0 {
		return first(page.Items), err
	}
	// A new one. If its name was given to another, its product is a name too.
	_, err = t.ByName(m.Kind, m.Name)
	if err == nil {
		m.Name = strings.ReplaceAll(driver.Spec.Product, "/", ".")
		return t.ByName(m.Kind, m.Name)
	}
	return nil, err
}

func first(items []resources.Resource) resources.Resource {
	if len(items) == 0 {
		return nil
	}
	return items[0]
}

// refresh takes over what a driver that ships with the server says of itself,
// and leaves what an operator set.
func (b *Bootstrap) refresh(t *tx, current, shipped resources.Resource) error {
	old, ok := current.(*resources.Driver)
	if !ok {
		return nil
	}
	next, ok := shipped.(*resources.Driver)
	if !ok || !old.Spec.BuiltIn {
		return nil
	}
	if len(next.Status.Properties) == 0 && old.Status.Digest == next.Status.Digest {
		return nil // the same program, and it was not asked what it is yet
	}
	clone, err := t.codec.Clone(old)
	if err != nil {
		return err
	}
	d, ok := clone.(*resources.Driver)
	if !ok {
		return nil
	}
	if len(next.Status.Properties) == 0 { // it was not asked yet: what it said before is the best there is
		next.Status.Properties, next.Status.Capabilities = old.Status.Properties, old.Status.Capabilities
	}
	d.Status, d.Spec.Version, d.Spec.Categories = next.Status, next.Spec.Version, next.Spec.Categories
	return t.update(old, d)
}
