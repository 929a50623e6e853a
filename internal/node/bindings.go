package node

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// bindings tell the API which version of a driver acts for what.
type bindings struct {
	machine *persistence.Machine
	turn    chan struct{} // holds one while somebody goes through all that a swap is for: there may be millions
}

func newBindings(m *persistence.Machine) *bindings {
	return &bindings{machine: m, turn: make(chan struct{}, 1)}
}

// Acting implements api.Bindings.
func (b *bindings) Acting(_ context.Context, r resources.Resource) (acting resources.ActingDriver, err error) {
	err = b.machine.View(func(v *persistence.View) error {
		acting, err = v.Acting(r)
		return err
	})
	return acting, err
}

// SwapProgress implements api.Bindings.
func (b *bindings) SwapProgress(
	ctx context.Context, s *resources.Swap, most int,
) (progress resources.SwapProgress, err error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return progress, fmt.Errorf("waiting to look how far swap %s is: %w", s.ID, context.Cause(ctx))
	}
	defer func() { <-b.turn }()
	err = b.machine.View(func(v *persistence.View) error {
		progress, err = operations.ProgressOf(ctx, v, s, most)
		return err
	})
	return progress, err
}
