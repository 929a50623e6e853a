package actors

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Break makes the care for a resource crash, outside of what is guarded.
func (s *System) Break(ref resources.Ref) {
	s.send(ref, &care{name: ref.String(), do: func(_ context.Context, c *operations.Context) error {
		operations.Change(c, func(resources.Resource) { panic("broken on purpose") })
		return nil
	}})
}
