package operations

import (
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// PaceMemory is among how many of the last hand-overs the quickest is looked for.
const PaceMemory = paceMemory

// Pace is how many resources a swap moves at once.
type Pace struct{ *pace }

// NewPace begins with one, and has so many at most.
func NewPace(most int) Pace { return Pace{newPace(most)} }

// Begin waits for a place and returns what gives it back.
func (p Pace) Begin() (leave func()) { return p.begin() }

// Learn takes in how long some hand-overs of a kind took.
func (p Pace) Learn(kind resources.Kind, took time.Duration, times int) {
	for range times {
		p.learn(alike{kind, true}, took)
	}
}

// Places is how many are moved at once now.
func (p Pace) Places() int { return int(p.places) }

// Breath is what who looks at very many takes.
type Breath = breath

// NewBreath is for who has time.
func NewBreath() *Breath { return &breath{} }

// Take rests if it was looked for long.
func (b *breath) Take() { b.take() }
