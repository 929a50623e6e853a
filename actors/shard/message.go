package shard

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// Addressed is a message to one resource of a shard. The shard hands it on as it is, with its sender; one that also
// implements mailbox.Control keeps overtaking work on the whole way.
type Addressed interface{ Resource() string }

// Retry lets a parked resource work again, as if it had never crashed. The answer is Retried.
type Retry struct{ Name string }

// Retried answers Retry.
type Retried struct{ WasParked bool }

// Fenced tells every active resource that its work lane was closed because this node may not act for it now: calls
// that are still running should be cancelled.
type Fenced struct {
	notice
	Epoch uint64
}

// Unfenced tells every active resource that the node may act again, in the same epoch. Messages were refused in
// between: what is durable should be looked up again.
type Unfenced struct {
	notice
	Epoch uint64
}

// idle is what Idle sends to the shard. Received makes it void when a message came after it was sent.
type idle struct {
	notice
	who      *actor.PID
	received uint64
}

// due says that the timer of the shard fired.
type due struct{ notice }

// gateChanged says that Fence or Unfence was called.
type gateChanged struct{ notice }

// notice makes a message overtake work and never be refused. After the end of the shard or of a resource it says
// nothing that matters, and nothing need be logged of it.
type notice struct{}

func (notice) ControlLane()             {}
func (notice) Completion()              {}
func (notice) IgnoreDeadLetterLogging() {}

// ControlLane makes a retry overtake work.
func (*Retry) ControlLane() {}

// Idle tells the shard that the resource whose actor handles a message in ctx has nothing left to do, so that it may
// be passivated. It must be the last thing in the handler. If a message has come in the meantime, or the gate is
// closed, nothing happens and the resource says so again when it is idle again.
func Idle(ctx actor.Context) {
	box := mailbox.Of(ctx)
	if box == nil || ctx.Parent() == nil {
		return
	}
	received, quiet := box.Quiet()
	if !quiet {
		return // it will have the next chance after those
	}
	ctx.Send(ctx.Parent(), &idle{who: ctx.Self(), received: received})
}
