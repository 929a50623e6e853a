package mailbox

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
)

// Control marks a message that overtakes work and passes a closed gate.
type Control interface{ ControlLane() }

// Completion marks a result the actor itself waits for, such as the return of a driver call. It uses the control lane
// and is never refused while the actor lives: losing one would leave the gate closed for ever.
type Completion interface {
	Control
	Completion()
}

// Lane is one of the three queues of a mailbox.
type Lane uint8

// The lanes, most urgent first.
const (
	System Lane = iota
	Urgent
	Work
	lanes
)

// String returns "system", "control" or "work".
func (l Lane) String() string {
	return [...]string{"system", "control", "work", "unknown"}[min(l, lanes)]
}

// Reason says why a message was not handled.
type Reason uint8

// The reasons.
const (
	// WorkFull: the work lane holds as many messages as it may.
	WorkFull Reason = iota + 1
	// ControlFull: the control lane holds as many messages as it may.
	ControlFull
	// Retired: the actor is being passivated. Sent again through its parent, the message will be handled.
	Retired
	// Stopped: the actor was stopped before it could handle the message.
	Stopped
	// Crashed: the actor's handler panicked on this message; it may have done a part of what it does.
	Crashed
	// Parked: the actor crashed too often and waits for somebody to look, or is in its back-off.
	Parked
	// Foreign: this node may not act for the resource now; another one does, or will.
	Foreign
)

// String returns the reason in words.
func (r Reason) String() string {
	switch r {
	case WorkFull:
		return "work lane full"
	case ControlFull:
		return "control lane full"
	case Retired:
		return "passivating"
	case Stopped:
		return "stopped"
	case Crashed:
		return "handler crashed"
	case Parked:
		return "parked after repeated crashes"
	case Foreign:
		return "not the owner"
	default:
		return fmt.Sprintf("unknown reason %d", uint8(r))
	}
}

// ErrRejected is what every error made from a [Rejected] wraps.
var ErrRejected = errors.New("message rejected")

// Rejected is the answer to a message that was not handled, or (Crashed) not to its end. A message sent without a
// sender has nobody to answer to and becomes a dead letter instead.
type Rejected struct {
	Reason Reason
	// Message is what was sent.
	Message any
	// Cause is what the handler panicked with, in words; empty for other reasons.
	Cause string
}

// ControlLane puts the answer in the control lane of an actor that waits for it.
func (*Rejected) ControlLane() {}

// Completion makes sure that an answer is not refused in its turn.
func (*Rejected) Completion() {}

// Err returns r as an error that wraps [ErrRejected].
func (r *Rejected) Err() error {
	if r.Cause != "" {
		return fmt.Errorf("%w: %s: %s", ErrRejected, r.Reason, r.Cause)
	}
	return fmt.Errorf("%w: %s", ErrRejected, r.Reason)
}

// Panic is the failure a mailbox reports to the supervisor when a handler panicked.
type Panic struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is where, as text.
	Stack []byte
}

// String returns the value in words, without the stack.
func (p *Panic) String() string { return fmt.Sprint(p.Value) }

// laneOf sorts a message, and tells whether it must be taken even when its lane is full.
func laneOf(message any) (lane Lane, always bool) {
	switch message.(type) {
	case *actor.PoisonPill: // stops the actor behind the work that is already queued
		return Work, true
	case Completion:
		return Urgent, true
	case Control:
		return Urgent, false
	default:
		return Work, false
	}
}

// Reject answers the message that the actor of ctx is handling now with [Rejected]; without a sender it becomes a dead
// letter. cause may be empty.
func Reject(ctx actor.Context, reason Reason, cause string) {
	answer(ctx, &actor.MessageEnvelope{Message: ctx.Message(), Sender: ctx.Sender()}, reason, cause)
}

// answer tells the sender of message that it was rejected; without a sender it leaves a dead letter.
func answer(ctx actor.Context, message any, reason Reason, cause string) {
	_, body, sender := actor.UnwrapEnvelope(message)
	if _, ok := body.(*actor.PoisonPill); ok {
		return // the actor stops, which is all that was asked
	}
	system := ctx.ActorSystem()
	if sender == nil {
		system.EventStream.Publish(&actor.DeadLetterEvent{PID: ctx.Self(), Message: body})
		return
	}
	// A fresh PID is looked up again: if the handler answered a future before it panicked, this second answer
	// becomes a dead letter and does not race with the reader of the first.
	to := actor.NewPID(sender.Address, sender.Id)
	system.Root.Send(to, &Rejected{Reason: reason, Message: body, Cause: cause})
}
