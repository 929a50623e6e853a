package shard

import (
	"container/heap"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// resource is an active resource as its shard sees it.
type resource struct {
	name     string
	pid      *actor.PID
	box      *mailbox.Mailbox
	stopping bool
	held     []any // envelopes that came while it was stopping

	idle     bool   // it said so
	received uint64 // by its mailbox, when it said so
	trouble  *trouble

	due  time.Duration // since the shard started; when to look at it again
	slot int           // in the agenda; noSlot when nothing is due
}

const noSlot = -1

// trouble is the memory of crashes. It exists only while there is something to remember.
type trouble struct {
	count   int
	last    time.Duration
	cause   string
	waiting bool // its work is held back until its due time
	down    bool // it crashed even so: the restart itself waits for the due time
	parked  bool
}

// bars reports whether a message would wait for long, so that its sender should better hear of it.
func (t *trouble) bars(control bool) bool {
	switch {
	case t == nil:
		return false
	case control:
		return t.down
	default:
		return t.parked
	}
}

// agenda holds the resources for which something is due, the earliest first. One timer serves them all.
type agenda []*resource

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due < a[j].due }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].slot, a[j].slot = i, j
}

// Push is for container/heap only.
func (a *agenda) Push(x any) {
	r := x.(*resource)
	r.slot = len(*a)
	*a = append(*a, r)
}

// Pop is for container/heap only.
func (a *agenda) Pop() any {
	old := *a
	last := len(old) - 1
	r := old[last]
	old[last] = nil
	*a = old[:last]
	r.slot = noSlot
	return r
}

func (a *agenda) schedule(r *resource, at time.Duration) {
	r.due = at
	if r.slot == noSlot {
		heap.Push(a, r)
		return
	}
	heap.Fix(a, r.slot)
}

func (a *agenda) remove(r *resource) {
	if r.slot != noSlot {
		heap.Remove(a, r.slot)
	}
}

// guard is the actor around a resource's actor. A panic while the actor stops or restarts would leave it half dead,
// with nobody told: the guard swallows it. All other panics go to the supervisor.
type guard struct {
	inner actor.Actor
	log   *slog.Logger
}

// Receive hands every message on.
func (g *guard) Receive(c actor.Context) {
	switch c.Message().(type) {
	case *actor.Stopping, *actor.Stopped, *actor.Restarting:
		defer func() {
			if cause := recover(); cause != nil {
				g.log.Error("resource crashed while it ended", slog.String("actor", c.Self().Id), slog.Any("cause", cause))
			}
		}()
	}
	g.inner.Receive(c)
}
