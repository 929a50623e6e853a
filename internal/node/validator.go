package node

import (
	"context"
	"maps"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// validator is the drivers as the API asks them, to whom what is secret and given again as it was is no change.
type validator struct {
	*driving.Drivers
	secrets *secrets.Keeper
	machine *persistence.Machine
	fleet   *fleet
	uses    *uses
}

// Validate implements api.Drivers.
func (v *validator) Validate(ctx context.Context, check resources.PropertyCheck) error {
	given := maps.Clone(check.Given)
	for key, had := range check.Before {
		now, again := check.Given[key].(string)
		sealed, is := resources.SealedText(had)
		if !again || !is {
			continue
		}
		if was, err := v.secrets.Ring().Open(check.Owner, check.At+key, sealed); err == nil && was == now {
			given[key] = had
		}
	}
	check.Given = given
	if check.Before != nil { // what is made now is made by the version that acts now
		check.Elsewhere = v.elsewhere(check.Product, check.Scope)
	}
	if check.Version == "" {
		var err error
		if check.Version, err = v.acting(check); err != nil {
			return err
		}
	}
	return v.Drivers.Validate(ctx, check)
}

// acting is the version of the product that acts for the first of some resources that one acts for; "" = none does yet.
func (v *validator) acting(check resources.PropertyCheck) (version string, err error) {
	err = v.machine.View(func(w *persistence.View) error {
		for _, ref := range check.Acting {
			b, bound, err := w.Binding(ref)
			if err != nil {
				return err
			}
			if bound && b.Product == check.Product && b.Version != "" {
				version = b.Version
				return nil
			}
		}
		return nil
	})
	return version, err
}

// elsewhere lists what all installed versions describe, where a resource keeps what it was given: one of them may act
// for it one day.
func (v *validator) elsewhere(product, scope string) func() ([]resources.Property, error) {
	if !slices.Contains(resources.Bindable(), resources.Kind(scope)) { // only theirs can be changed
		return nil
	}
	return func() (all []resources.Property, err error) {
		err = v.machine.View(func(w *persistence.View) error {
			versions, err := w.Versions(product)
			for _, d := range versions {
				all = append(all, d.Status.Properties...)
			}
			return err
		})
		return all, err
	}
}
