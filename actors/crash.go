package actors

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/actors/journal"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// crashed is told of each crash of a resource's actor. One that crashed too often
// is parked: that becomes visible in the state, where an operator's word lets it
// try again.
func (s *System) crashed(c shard.Crash, fence persistence.Fence) {
	ref := parseRef(c.Resource)
	if s.config.Crashed != nil {
		s.config.Crashed(ref.Kind)
	}
	if !c.Parked {
		return
	}
	s.work(func() {
		if err := s.park(ref, fence, c); err != nil {
			s.config.Logger.Error("noting that a resource is parked failed",
				slog.String("resource", c.Resource), slog.Any("error", err))
		}
	})
}

// park hands the operation under way to an operator or, where there is none, holds
// back work on the resource.
func (s *System) park(ref resources.Ref, fence persistence.Fence, c shard.Crash) error {
	cause, _, _ := strings.Cut(c.Cause, "\n") // the rest is the stack, which the log has
	var op *resources.Operation
	err := s.config.State.View(func(v *persistence.View) error {
		var err error
		op, _, err = v.Head(fence.Shard, ref)
		return err
	})
	if err != nil {
		return err
	}
	if op == nil {
		_, err := s.config.Log.Propose(s.base, &persistence.Suspend{
			Ref: ref, Suspended: true, Origin: resources.Origin{Principal: "system"},
			Reason: fmt.Sprintf("%slooking after it crashed %d times in a row: %s; see the server's log, then resume work on it",
				resources.ParkedReason, c.Count, cause),
		})
		return err
	}
	if op.Phase == resources.PhaseNeedsOperator && op.Resolution == "" {
		return nil
	}
	journal.Park(op, c.Count, cause)
	doc, err := s.config.Codec.Seal(op)
	if err != nil {
		return err
	}
	// What was decided before is used up: it did not help.
	_, err = s.config.Log.Propose(s.base, &persistence.Commit{Fence: fence, Operation: doc, TookResolution: true})
	return err
}
