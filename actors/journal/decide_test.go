package journal_test

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/journal"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestDecide(t *testing.T) {
	deadline := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	unavailable := func(code string) *resources.Error {
		return &resources.Error{Class: resources.ClassUnavailable, Code: code}
	}
	away, silent := unavailable(resources.CodeNodeUnreachable), unavailable(resources.CodeAgentUnreachable)
	lately := unavailable(resources.CodeAgentSilent)
	starting, driver := unavailable(resources.CodeNotReady), unavailable("driver-unavailable")
	conflict := &resources.Error{Class: resources.ClassConflict, Code: resources.CodeNotReady}
	for _, test := range []struct {
		name   string
		why    *resources.Error
		after  time.Duration // the deadline
		cancel bool
		want   journal.Verdict
	}{
		{"in time", driver, -1, false, journal.Retry},
		{"the deadline", driver, 0, false, journal.GiveUp},
		{"a node is waited for", away, 0, false, journal.Retry},
		{"an agent is waited for", silent, time.Minute - 1, false, journal.Retry},
		{"an agent that fell silent just now is waited for", lately, time.Minute - 1, false, journal.Retry},
		{"a node that starts is waited for", starting, time.Minute - 1, false, journal.Retry},
		{"not for ever", away, time.Minute, false, journal.GiveUp},
		{"not if it is cancelled", away, -1, true, journal.GiveUp},
		{"another that is not ready", conflict, -1, false, journal.GiveUp},
	} {
		op := &resources.Operation{Deadline: deadline, Cancel: test.cancel, Steps: []resources.Step{{Attempts: 1}}}
		op.Phase = resources.PhaseRunning
		if got := journal.Decide(op, 0, test.why, deadline.Add(test.after)); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
