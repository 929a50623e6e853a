package shard

import (
	"fmt"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// Shard is the handle of a shard: what others than its actor may do with it, from any goroutine.
type Shard struct {
	settings Settings
	gate     mailbox.Shared
	produce  actor.MailboxProducer
	running  atomic.Pointer[address]
	counts   counts
}

// address is where the actor of a shard can be reached.
type address struct {
	root *actor.RootContext
	pid  *actor.PID
}

type counts struct {
	active, parked                           atomic.Int64
	activations, passivations, held, crashes atomic.Uint64
}

// Stats are figures of a shard; Active and Parked are levels, the others count since it was made.
type Stats struct {
	Active, Parked                           int64
	Activations, Passivations, Held, Crashes uint64
}

// New prepares a shard; it runs once an actor is spawned with its Props.
func New(settings Settings) (*Shard, error) {
	settings, err := settings.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Shard{settings: settings}
	box := settings.Mailbox
	box.Shared = &s.gate
	s.produce = mailbox.Producer(box)
	return s, nil
}

// Name returns the name to spawn the shard under, different in each epoch: a message to the actor of an older epoch
// cannot reach a newer one.
func (s *Shard) Name() string { return fmt.Sprintf("shard-%d@%d", s.settings.ID, s.settings.Epoch) }

// Epoch returns the epoch of the placement that the shard runs for.
func (s *Shard) Epoch() uint64 { return s.settings.Epoch }

// Props returns what to spawn, once, under Name. Stopping the actor stops all resources: their handlers are not
// interrupted, and every message that waits is answered with mailbox.Rejected.
func (s *Shard) Props() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &parent{shard: s} },
		actor.WithMailbox(mailbox.Producer(s.settings.Queue)))
}

// Fence closes the gate of all resources of the shard, those not active yet included. When it returns no resource
// takes up another work message; the active ones are told by Fenced. New work is refused for the reason Foreign.
func (s *Shard) Fence() {
	s.gate.Close(mailbox.Fenced)
	s.tell(&gateChanged{})
}

// Unfence takes back Fence, when the node was found to own the shard still, in the same epoch.
func (s *Shard) Unfence() {
	s.gate.Open(mailbox.Fenced)
	s.tell(&gateChanged{})
}

// Fenced reports whether the shard is fenced.
func (s *Shard) Fenced() bool { return s.gate.Closed().Has(mailbox.Fenced) }

// Stats returns the figures of now.
func (s *Shard) Stats() Stats {
	c := &s.counts
	return Stats{
		Active: c.active.Load(), Parked: c.parked.Load(),
		Activations: c.activations.Load(), Passivations: c.passivations.Load(),
		Held: c.held.Load(), Crashes: c.crashes.Load(),
	}
}

// tell sends message to the actor, if it runs; it looks at the state of the shard anyway when it starts.
func (s *Shard) tell(message any) {
	if to := s.running.Load(); to != nil {
		to.root.Send(to.pid, message)
	}
}
