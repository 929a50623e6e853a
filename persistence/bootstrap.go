package persistence

import (
	"errors"
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
	// SecretKey is the id of the key that secrets are sealed with in the zone, if it is made by this, at a level that
	// seals them; "" = there is none yet.
	SecretKey string `json:"k,omitempty"`
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
	switch {
	case err == nil:
		return b.refresh(t, current, r)
	case resources.ClassOf(err) != resources.ClassNotFound:
		return err
	}
	return b.begin(t, r)
}

// begin makes what is not there.
func (b *Bootstrap) begin(t *tx, r resources.Resource) error {
	m := r.Metadata()
	if d, ok := r.(*resources.Driver); ok && !d.Spec.BuiltIn {
		return nil // it was removed while it said what it is
	}
	m.Phase = resources.PhaseReady
	if m.Kind == resources.KindZone && b.Level > OldestLevel {
		if err := t.codec.levels.Check(b.Level); err != nil {
			return err
		}
		t.raise(b.Level)
		return errors.Join(t.beginSecretKeys(b.SecretKey), t.create(r))
	}
	return t.create(r)
}

// find looks for what a document became at an earlier start. A driver is known by
// its product, one that was installed by its version too: an operator may have given
// it another name.
func (b *Bootstrap) find(t *tx, r resources.Resource) (resources.Resource, error) {
	m := r.Metadata()
	driver, ok := r.(*resources.Driver)
	if !ok {
		return t.ByName(m.Kind, m.Name)
	}
	versions, err := t.Versions(driver.Spec.Product)
	if err != nil {
		return nil, err
	}
	for _, one := range versions {
		same := one.Spec.Version == driver.Spec.Version && !driver.Spec.BuiltIn
		if one.Spec.BuiltIn == driver.Spec.BuiltIn && (one.Spec.BuiltIn || same) {
			return one, nil
		}
	}
	// A new one. If its name was given to another, its product is a name too.
	_, err = t.ByName(m.Kind, m.Name)
	if err == nil {
		m.Name = strings.ReplaceAll(driver.Spec.Product, "/", ".")
		return t.ByName(m.Kind, m.Name)
	}
	return nil, err
}

// refresh takes over what a driver says of itself, and which version ships with the
// server, and leaves what an operator set.
func (b *Bootstrap) refresh(t *tx, current, shipped resources.Resource) error {
	old, ok := current.(*resources.Driver)
	if !ok {
		return nil
	}
	next, ok := shipped.(*resources.Driver)
	if !ok || old.Spec.BuiltIn != next.Spec.BuiltIn {
		return nil
	}
	silent := len(next.Status.Properties) == 0 && (next.Spec.BuiltIn || next.Status.HandleWrites == 0)
	if silent && old.Status.Digest == next.Status.Digest {
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
	if silent { // it was not asked yet: what it said before is the best there is
		next.Status.Properties, next.Status.Capabilities = old.Status.Properties, old.Status.Capabilities
		next.Status.Permissions = old.Status.Permissions
		next.Status.HandleReads, next.Status.HandleWrites = old.Status.HandleReads, old.Status.HandleWrites
	}
	next.Status.Troubles = old.Status.Troubles // which it does not say itself
	d.Status = next.Status
	if d.Spec.BuiltIn {
		d.Spec.Version, d.Spec.Categories = next.Spec.Version, next.Spec.Categories
	}
	return t.update(old, d)
}
