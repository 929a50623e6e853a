package sdk

import (
	"context"
	"time"
)

type progressKey struct{}

// progressFunc records how far a call has come.
type progressFunc func(percent uint32, message string)

// Progress reports percent (0 to 100) and a few words for the call running in ctx; Recall shows them. Outside a
// call it does nothing. Cheap; may be called often.
func Progress(ctx context.Context, percent int, message string) {
	if record, ok := ctx.Value(progressKey{}).(progressFunc); ok {
		record(uint32(min(max(percent, 0), 100)), message)
	}
}

type deadlineKey struct{}

// Deadline is until when somebody waits for the call running in ctx, if that is known. The context itself ends when
// nobody waits any more: more callers may have joined.
func Deadline(ctx context.Context) (time.Time, bool) {
	if until, ok := ctx.Value(deadlineKey{}).(time.Time); ok {
		return until, true
	}
	return ctx.Deadline()
}
