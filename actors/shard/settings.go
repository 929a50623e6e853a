package shard

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// DefaultQueue is the work lane of a shard itself when Settings leave it open. It only buffers bursts: a shard hands
// a message on within microseconds.
const DefaultQueue = 1 << 16

// Settings say what a shard runs and how.
type Settings struct {
	// ID is the number of the shard.
	ID uint32
	// Epoch is the epoch of the placement that gave the shard to this node.
	Epoch uint64
	// Activate is called when a resource becomes active. What it prepares lives until the resource is passivated;
	// the producer it returns is called for the first incarnation of the actor and again after each crash. Both may
	// panic. Required.
	Activate func(Activation) actor.Producer
	// Mailbox configures the mailboxes of the resources. Its shared gate is the shard's own and must not be set.
	Mailbox mailbox.Settings
	// Queue configures the mailbox of the shard itself; a zero Work means DefaultQueue.
	Queue mailbox.Settings
	// IdleAfter is how long a resource stays active after it said that it is idle; zero passivates it at once.
	IdleAfter time.Duration
	// Backoff says what happens after crashes.
	Backoff Backoff
	// Crashed is told of every crash, in the goroutine of the shard: it must be quick. It may be nil.
	Crashed func(Crash)
	// Log gets crashes and failed activations. Required.
	Log *slog.Logger
}

// Activation says who is being activated.
type Activation struct {
	Resource string
	Shard    uint32
	Epoch    uint64
}

// Crash is a panic in a resource's actor.
type Crash struct {
	Resource string
	// Count is how often it crashed without a longer time of peace (Backoff.Forget) in between.
	Count int
	// Retry is how long its work is held back now; meaningless when Parked.
	Retry time.Duration
	// Parked tells that it stays so until somebody sends Retry.
	Parked bool
	// Cause is what it panicked with.
	Cause string
}

// Backoff is the patience with crashing resources. Zero fields mean the defaults in the comments.
type Backoff struct {
	// First is the time that work is held back after the first crash; each further crash doubles it. 100 ms.
	First time.Duration
	// Longest is the most it becomes. 30 s.
	Longest time.Duration
	// Attempts is the number of crashes in a row after which the resource is parked. 8.
	Attempts int
	// Forget is the time without a crash after which the count starts again. 10 minutes.
	Forget time.Duration
}

func (b Backoff) withDefaults() Backoff {
	if b.First <= 0 {
		b.First = 100 * time.Millisecond
	}
	if b.Longest <= 0 {
		b.Longest = 30 * time.Second
	}
	if b.Attempts <= 0 {
		b.Attempts = 8
	}
	if b.Forget <= 0 {
		b.Forget = 10 * time.Minute
	}
	return b
}

// delay returns how long to hold back work after the count-th crash: doubled each time, capped, and then shortened by
// up to a half at random, so that resources that crashed together do not come back together.
func (b Backoff) delay(count int) time.Duration {
	full := b.Longest
	if shift := min(max(count-1, 0), 32); b.First < b.Longest>>shift {
		full = b.First << shift
	}
	return full - rand.N(full/2+1)
}

func (s Settings) withDefaults() (Settings, error) {
	switch {
	case s.Activate == nil:
		return s, errors.New("shard settings: Activate is required")
	case s.Log == nil:
		return s, errors.New("shard settings: Log is required")
	case s.Mailbox.Shared != nil:
		return s, errors.New("shard settings: Mailbox.Shared belongs to the shard")
	case s.IdleAfter < 0:
		return s, errors.New("shard settings: IdleAfter is negative")
	}
	if s.Queue.Work <= 0 {
		s.Queue.Work = DefaultQueue
	}
	s.Backoff = s.Backoff.withDefaults()
	return s, nil
}
