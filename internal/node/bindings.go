package node

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// bindings tell the API which version of a driver acts for what.
type bindings struct{ machine *persistence.Machine }

// Acting implements api.Bindings.
func (b bindings) Acting(_ context.Context, r resources.Resource) (acting resources.ActingDriver, err error) {
	err = b.machine.View(func(v *persistence.View) error {
		acting, err = v.Acting(r)
		return err
	})
	return acting, err
}

// SwapProgress implements api.Bindings.
func (b bindings) SwapProgress(
	_ context.Context, s *resources.Swap, most int,
) (progress resources.SwapProgress, err error) {
	err = b.machine.View(func(v *persistence.View) error {
		progress, err = operations.ProgressOf(v, s, most)
		return err
	})
	return progress, err
}
