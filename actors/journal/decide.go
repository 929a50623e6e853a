package journal

import (
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Verdict says what follows a failed attempt.
type Verdict int

// The verdicts.
const (
	Retry Verdict = iota
	GiveUp
	NeedOperator
)

// Bounds of attempts by what failed. Those that may well succeed later go on until
// the operation's deadline.
const (
	attemptsDefect = 6  // defects of a driver: long enough that a swap that brought them is taken back first
	attemptsChoice = 8  // a choice that somebody else took meanwhile
	attemptsUnwind = 12 // undoing: nothing else is left to do
	firstDelay     = 100 * time.Millisecond
	longestDelay   = 30 * time.Second
	longestShift   = 20
	unwindingGrace = 15 * time.Minute
	// awayGrace is how much longer a node or an agent is waited for that is away: it may be starting again, and until then
	// nobody else can do what is to be done there either.
	awayGrace      = time.Minute
	codeTaken      = "taken"
	codeNoCapacity = "no-capacity"
)

// Decide says what follows after an attempt at a step failed.
func Decide(op *resources.Operation, i int, why *resources.Error, now time.Time) Verdict {
	attempts := op.Steps[i].Attempts
	if op.Phase == resources.PhaseUnwinding {
		if attempts < attemptsUnwind || now.Before(op.Deadline.Add(unwindingGrace)) && why.Retryable() {
			return Retry
		}
		return NeedOperator
	}
	deadline := op.Deadline
	if isAway(why) {
		deadline = deadline.Add(awayGrace)
	}
	if op.Cancel || !now.Before(deadline) || !mayPass(why, attempts) {
		return GiveUp
	}
	return Retry
}

// isAway reports whether what failed is that the node or the agent is not there that has the driver.
func isAway(why *resources.Error) bool {
	switch why.Code {
	case resources.CodeNodeUnreachable, resources.CodeAgentUnreachable, resources.CodeAgentSilent, resources.CodeNotReady:
		return why.Class == resources.ClassUnavailable
	default:
		return false
	}
}

// mayPass reports whether what failed may succeed when tried again.
func mayPass(why *resources.Error, attempts int) bool {
	switch {
	case why.Retryable(), why.Class == resources.ClassConflict && why.Code == codeTaken:
		return true
	case why.Class == resources.ClassInternal && attempts < attemptsDefect:
		return true
	default:
		return why.Code == codeNoCapacity && attempts < attemptsChoice
	}
}

// Delay returns how long to wait before an attempt: doubled each time, capped,
// and spread by a share (0 to 1) that the caller draws, so that many who failed
// together do not come back together.
func Delay(attempt int, share float64) time.Duration {
	d := longestDelay
	if shift := min(max(attempt-1, 0), longestShift); firstDelay<<shift < longestDelay {
		d = firstDelay << shift
	}
	return d/2 + time.Duration(float64(d/2)*share)
}
