package operations

import (
	"context"
	"errors"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// forgetTimeout bounds how long storage that is said to be lost is waited for.
const forgetTimeout = 30 * time.Second

// forgettable makes the steps of taking something away from storage, which may be
// lost. Where the operation says so, the driver is asked once, and what it does not
// manage is left behind: lose notes that the storage no longer has it. That others
// use it still is in the way.
func forgettable(s Step, lose func(c *Context)) func(*resources.Operation, resources.Resource) []Step {
	insisting, forgetting := []Step{s}, s
	forgetting.Timeout = forgetTimeout
	forgetting.Do = func(ctx context.Context, c *Context) error {
		err := s.Do(ctx, c)
		if err == nil || resources.AsError(err).Code == persistence.CodeInUse || errors.Is(ctx.Err(), context.Canceled) {
			return err
		}
		lose(c)
		return nil
	}
	return func(op *resources.Operation, _ resources.Resource) []Step {
		if op.Arguments.Forget {
			return []Step{forgetting}
		}
		return insisting
	}
}
