package persistence

import (
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Bootstrap makes the zone: its record, its first token, the drivers that ship
// with the server. Proposed at each start; what is there already stays.
type Bootstrap struct {
	// Zone, Token and Drivers are complete resources.
	Documents []*Document `json:"d"`
}

func (*Bootstrap) commandName() string { return "bootstrap" }

func (b *Bootstrap) apply(t *tx) (Result, error) {
	t.principal = "system"
	for _, d := range b.Documents {
		r, err := t.codec.Open(d)
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
	if m.Kind == resources.KindZone {
		page, err := t.List(resources.Query{Kind: m.Kind, Limit: 1})
		if err != nil || len(page.Items) > 0 {
			return err
		}
	}
	current, err := t.ByName(m.Kind, m.Name)
	if resources.ClassOf(err) == resources.ClassNotFound {
		m.Phase = resources.PhaseReady
		return t.create(r)
	}
	if err != nil {
		return err
	}
	return b.refresh(t, current, r)
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
	d.Status, d.Spec.Version, d.Spec.Categories = next.Status, next.Spec.Version, next.Spec.Categories
	return t.update(old, d)
}
