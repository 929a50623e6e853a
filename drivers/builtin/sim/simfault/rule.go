package simfault

import (
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Action is what goes wrong.
type Action string

// The actions.
const (
	Error             Action = "error"
	Delay             Action = "delay"
	Hang              Action = "hang"
	CrashBeforeEffect Action = "crash-before-effect"
	CrashAfterEffect  Action = "crash-after-effect"
	LoseAnswer        Action = "lose-answer"
	LieSuccess        Action = "lie-success"
	LieSize           Action = "lie-size"
	SlowStart         Action = "slow-start"
	FloodLog          Action = "flood-log"
	LeakMemory        Action = "leak-memory"
)

// Point is the side of the effect on which something goes wrong.
type Point string

// The points. The empty Point is Before.
const (
	Before Point = "before"
	After  Point = "after"
)

// Rule says which calls go wrong, when, and how. The zero value of a field that matches is "any"; that of a field of
// the action is the action's default. Only what the package comment lists for an action may be set.
type Rule struct {
	Name string

	Call, Kind, Resource, Token string // globs

	Nth, Every, Times uint64
	Prob              float64 // 0 = not by chance
	Seed              uint64

	Action Action
	At     Point

	Class                        driverpb.Class
	Code, Message, Field, Remedy string
	For, Jitter                  time.Duration
	IgnoreCancel                 bool
	Lines, Bytes                 uint64
}

// Subject is a call as rules see it.
type Subject struct {
	Call, Kind, Resource, Token string
	// Starting says that this is no call but the start of a process, which only SlowStart rules are about.
	Starting bool
}

// Matches tells whether the rule is about the call, whatever the counters say.
func (r Rule) Matches(s Subject) bool {
	return s.Starting == (r.Action == SlowStart) &&
		globMatches(r.Call, s.Call) && globMatches(r.Kind, s.Kind) &&
		globMatches(r.Resource, s.Resource) && globMatches(r.Token, s.Token)
}

// Limit is how often the rule may fire; 0 = without end.
func (r Rule) Limit() uint64 {
	if r.Nth > 0 && r.Times == 0 {
		return 1
	}
	return r.Times
}

// FaultClass is the class of the fault an Error rule answers with: TRANSIENT unless set.
func (r Rule) FaultClass() driverpb.Class {
	if r.Class == driverpb.Class_CLASS_UNSPECIFIED {
		return driverpb.Class_CLASS_TRANSIENT
	}
	return r.Class
}

// globMatches matches text against a pattern of literal bytes, ? for one byte and * for any number; the empty pattern
// matches all.
func globMatches(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0: // let the last star take one more byte
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
