package actors

import (
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// bindable are the kinds whose spec names a driver. Whatever else a driver serves is
// below one of these.
func bindable() []resources.Kind {
	return []resources.Kind{
		resources.KindHost, resources.KindPool, resources.KindImageStore, resources.KindNetwork,
	}
}

// checkEnabled refuses a new resource that names a disabled driver: nothing would
// ever be done for it.
func (e *Engine) checkEnabled(r resources.Resource) error {
	product, _ := operations.DriverOf(r)
	if product == "" {
		return nil
	}
	return e.state.View(func(v *persistence.View) error {
		var refusal error
		err := v.Each(resources.KindDriver, map[string]string{"product": product}, func(r resources.Resource) bool {
			d, ok := r.(*resources.Driver)
			if ok && !d.Spec.Enabled {
				ref := d.Ref()
				refusal = &resources.Error{
					Class: resources.ClassConflict, Code: "driver-disabled", Message: "driver " + product + " is disabled",
					Remedy:   "enable it first (bulkhead driver update " + d.Name + " --enabled), or name another driver",
					Resource: &ref,
					Fields: []resources.FieldError{{
						Pointer: "/spec/driver", Code: "driver-disabled", Message: "names a disabled driver",
					}},
				}
			}
			return refusal == nil
		})
		if err != nil {
			return err
		}
		return refusal
	})
}

// namedUsers is how many of the resources bound to a driver a refusal names.
const namedUsers = 5

// checkDisabling refuses to disable a driver while resources are bound to it: they
// could not even be deleted any more.
func (e *Engine) checkDisabling(current, next resources.Resource) error {
	was, ok := current.(*resources.Driver)
	if !ok || !was.Spec.Enabled {
		return nil
	}
	if d, ok := next.(*resources.Driver); !ok || d.Spec.Enabled {
		return nil
	}
	var names []string
	count := 0
	err := e.state.View(func(v *persistence.View) error {
		for _, kind := range bindable() {
			err := v.Each(kind, map[string]string{"driver": was.Spec.Product}, func(r resources.Resource) bool {
				if count++; len(names) < namedUsers {
					names = append(names, fmt.Sprintf("%s %s", kind, r.Metadata().ID))
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || count == 0 {
		return err
	}
	if count > len(names) {
		names = append(names, "...")
	}
	ref := was.Ref()
	return &resources.Error{
		Class: resources.ClassConflict, Code: "driver-in-use",
		Message: fmt.Sprintf("%d resources are bound to driver %s: %s", count, was.Spec.Product, strings.Join(names, ", ")),
		Remedy:  "delete them first; to hold work on single ones back, suspend them", Resource: &ref,
	}
}
