package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Messages to a resource's actor. Work waits while the gate is closed; control
// always gets through.
type (
	// nudge says that there may be something to do. It carries nothing: what is to
	// be done stands in the durable queue, so a lost nudge loses no work.
	nudge struct{ name string }
	// care asks for something outside of any operation: to adopt the resource or to
	// look at it.
	care struct {
		name string
		do   func(ctx context.Context, c *operations.Context) error
	}
	// interrupt says that the running operation was asked to stop or, if it is urgent, that there is one which goes
	// before what waits for another attempt.
	interrupt struct {
		name      string
		operation string
		urgent    bool
	}
	// reconsider says that the resource's suspension changed, or that an operator
	// decided.
	reconsider struct{ name string }
	// inspect asks for the actor's view of itself; the answer is Inspection.
	inspect struct{ name string }
	// turned says that a turn is over.
	turned struct {
		next
		// panicked says with what it panicked, and where; "" if it did not.
		panicked string
	}
	// woke says that a delay is over.
	woke struct{ serial int }
)

func (m *nudge) Resource() string      { return m.name }
func (m *care) Resource() string       { return m.name }
func (m *interrupt) Resource() string  { return m.name }
func (m *reconsider) Resource() string { return m.name }
func (m *inspect) Resource() string    { return m.name }
func (*interrupt) ControlLane()        {}

// What is to be done stands in the durable queue: of what comes after the end of
// an actor nothing need be logged.
func (*nudge) IgnoreDeadLetterLogging()      {}
func (*care) IgnoreDeadLetterLogging()       {}
func (*interrupt) IgnoreDeadLetterLogging()  {}
func (*reconsider) IgnoreDeadLetterLogging() {}

func (*reconsider) ControlLane() {}
func (*inspect) ControlLane()    {}
func (*turned) ControlLane()     {}
func (*turned) Completion()      {}
func (*woke) ControlLane()       {}
func (*woke) Completion()        {}

// Inspection is what a resource's actor says of itself.
type Inspection struct {
	// Gate lists why work is held back; "open" if it is not.
	Gate string
	// Working is set while a step is done.
	Working bool
	Since   time.Time
	// Queued counts the nudges that wait.
	Queued int
}

// slot is what outlives a crash of the actor: the step that runs outside of it.
type slot struct {
	system *System
	ref    resources.Ref
	fence  persistence.Fence

	working bool
	// reconsidered is set when somebody decided something during the turn: what the turn found may be of before.
	reconsidered bool
	since        time.Time
	cancel       context.CancelCauseFunc
	last         next // fresh and unit of the turn before
	timer        *time.Timer
	serial       int
}

// resource is the actor of one resource. Each turn of its work runs in a
// goroutine beside it; the Busy bit of its gate keeps the next from beginning.
type resource struct{ *slot }

// Receive is the whole protocol of a resource.
func (r *resource) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		r.again(c) // after a crash nobody else would: the nudge that crashed is gone
	case *nudge:
		r.begin(c, nil)
	case *care:
		r.begin(c, m.do)
	case *turned:
		r.turned(c, m)
	case *woke:
		r.woke(c, m.serial)
	case *interrupt:
		r.interrupt(c, m)
	case *reconsider:
		r.reconsidered = true
		mailbox.Of(c).Open(mailbox.Paused)
		r.again(c)
	case *inspect:
		r.inspect(c)
	case *shard.Unfenced:
		r.unfenced(c)
	case *shard.Fenced, *actor.Stopping:
		r.stopWork()
	case *actor.Stopped:
		mailbox.Of(c).Shut()
	}
}

// errFenced ends what runs when this node may not act for its resource any more.
var errFenced = errors.New("this node may not act for the resource any more")

const fencedDelay = 200 * time.Millisecond

// begin starts a turn: the next step of the queue or, if do is set, that.
func (r *resource) begin(c actor.Context, do func(context.Context, *operations.Context) error) {
	if r.working {
		return
	}
	box := mailbox.Of(c)
	box.Close(mailbox.Busy)
	ctx, cancel := context.WithCancelCause(r.system.base)
	r.working, r.reconsidered, r.since, r.cancel = true, false, time.Now(), cancel
	self, root, last := c.Self(), c.ActorSystem().Root, r.last
	r.last = next{}
	s := r.slot
	started := s.system.turn(s.fence, func() {
		defer cancel(nil)
		defer func() {
			if cause := recover(); cause != nil {
				root.Send(self, &turned{panicked: fmt.Sprintf("%v\n%s", cause, debug.Stack())})
			}
		}()
		var n next
		if do != nil {
			n = s.system.runner.care(ctx, s.ref, s.fence, do)
			n.fresh, n.unit = last.fresh, last.unit
		} else {
			n = s.system.runner.turn(ctx, s.ref, s.fence, last)
		}
		root.Send(self, &turned{next: n})
	})
	if !started { // the node stops, or gives the shard away
		cancel(errFenced)
		r.working = false
	}
}

func (r *resource) turned(c actor.Context, m *turned) {
	n := m.next
	r.working, r.cancel, r.last = false, nil, n
	box := mailbox.Of(c)
	if m.panicked != "" {
		// Made a panic of the actor's, the shard holds its work back, longer each time.
		// In the goroutine of the turn it would end the node, and each one after it.
		box.Open(mailbox.Busy)
		panic(m.panicked) //nolint:forbidigo // a bug, for supervision
	}
	n.held = n.held && !r.reconsidered
	if n.held {
		box.Close(mailbox.Paused)
	}
	if n.fenced { // and the lease may be back by now, or the shard about to go
		n.after = fencedDelay
	}
	if n.after > 0 {
		r.sleep(c, n.after)
		return
	}
	box.Open(mailbox.Busy)
	switch {
	case n.idle:
		shard.Idle(c)
	case !n.held:
		r.again(c)
	}
}

// again looks for more work, behind whatever closes the gate.
func (r *resource) again(c actor.Context) {
	c.Send(c.Self(), &nudge{name: r.ref.String()})
}

// sleep keeps the gate closed for a while, unless something urgent comes.
func (r *resource) sleep(c actor.Context, d time.Duration) {
	r.serial++
	serial, self, root := r.serial, c.Self(), c.ActorSystem().Root
	r.timer = time.AfterFunc(d, func() { root.Send(self, &woke{serial: serial}) })
}

func (r *resource) woke(c actor.Context, serial int) {
	if serial != r.serial || r.working {
		return
	}
	r.timer = nil
	mailbox.Of(c).Open(mailbox.Busy)
	r.again(c)
}

// interrupt stops the running step of an operation, or the wait for the next attempt.
func (r *resource) interrupt(c actor.Context, m *interrupt) {
	if !r.system.runner.heads(r.fence.Shard, r.ref, m.operation) {
		return // it has ended, and what runs now was not meant
	}
	if m.urgent {
		mailbox.Of(c).Open(mailbox.Paused)
	}
	if r.cancel != nil && !m.urgent {
		r.cancel(nil)
		return
	}
	if r.timer != nil && !r.working {
		r.timer.Stop()
		r.woke(c, r.serial)
		return
	}
	r.again(c)
}

func (r *resource) stopWork() {
	if r.cancel != nil {
		r.cancel(errFenced)
	}
	if r.timer != nil {
		r.timer.Stop()
	}
}

// unfenced goes on with what waits, also with what waited for another attempt: its
// timer was stopped.
func (r *resource) unfenced(c actor.Context) {
	if r.timer != nil {
		r.woke(c, r.serial)
		return
	}
	r.again(c)
}

func (r *resource) inspect(c actor.Context) {
	box := mailbox.Of(c)
	_, work := box.Depth()
	c.Respond(&Inspection{Gate: box.Closed().String(), Working: r.working, Since: r.since, Queued: work})
}
