package mailbox_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// seq is the n-th message of a sender.
type seq struct {
	sender, n int
	to        *sync.WaitGroup
}

func (s seq) done() { s.to.Done() }

// called is the completion of a call that ran outside the actor.
type called struct{ seq }

func (called) ControlLane() {}
func (called) Completion()  {}

// Many senders, a resource that does one thing at a time outside its handler, and somebody who pauses and resumes it.
func TestOrderAndExclusionUnderLoad(t *testing.T) {
	const senders, each = 8, 2_000
	system := newSystem()
	counts := newCounter()
	var pending sync.WaitGroup
	pending.Add(senders * each)
	next := make([]int, senders)
	calls := 0
	pid := spawn(system, mailbox.Settings{Work: senders * each, Observer: counts}, func(c actor.Context) {
		box := mailbox.Of(c)
		switch m := c.Message().(type) {
		case seq:
			if calls++; calls != 1 {
				t.Errorf("%d calls at once", calls)
			}
			if next[m.sender] != m.n {
				t.Errorf("sender %d: message %d came, want %d", m.sender, m.n, next[m.sender])
			}
			next[m.sender] = m.n + 1
			box.Close(mailbox.Busy)
			root, self := c.ActorSystem().Root, c.Self()
			go root.Send(self, called{m})
		case called:
			calls--
			m.done()
			box.Open(mailbox.Busy)
		case control:
			if m.n%2 == 0 {
				box.Close(mailbox.Paused)
			} else {
				box.Open(mailbox.Paused)
			}
			c.Respond(m)
		}
	})
	var running sync.WaitGroup
	for s := range senders {
		running.Go(func() {
			for n := range each {
				system.Root.Send(pid, seq{s, n, &pending})
			}
		})
	}
	for n := range 200 {
		ask(t, system, pid, control{n})
	}
	running.Wait()
	pending.Wait()
	stop(t, system, pid)
	taken, deepest, waited := counts.of(mailbox.Work)
	if taken != senders*each {
		t.Errorf("took %d work messages, want %d", taken, senders*each)
	}
	if refused := counts.refusals(); refused != 0 || deepest == 0 || waited == 0 {
		t.Errorf("%d refusals, depth %d, wait %v: want none, and some", refused, deepest, waited)
	}
}

// What came while it was asked whether anything waits waits, or was not received: an actor that is stopped because it
// had handled all that was received would lose it.
func TestQuietIsOneMoment(t *testing.T) {
	const senders, each, atOnce = 2, 100_000, 2
	system := newSystem()
	var pending sync.WaitGroup
	pending.Add(senders * each)
	handled, credit := uint64(0), make(chan struct{}, atOnce)
	pid := spawn(system, mailbox.Settings{}, func(c actor.Context) {
		m, ok := c.Message().(seq)
		if !ok {
			return
		}
		handled++
		<-credit // the next may come right now
		for range 20 {
			if received, quiet := mailbox.Of(c).Quiet(); quiet && received != handled {
				t.Errorf("%d messages were received, and none waits when %d are handled", received, handled)
			}
		}
		m.done()
	})
	for sender := range senders {
		go func() {
			for n := range each {
				credit <- struct{}{}
				system.Root.Send(pid, seq{sender, n, &pending})
			}
		}()
	}
	pending.Wait()
	stop(t, system, pid)
	system.Shutdown()
}

// Ten operations of ten minutes, one after the other, in no time; control answers at once while each runs.
func TestControlDuringLongCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := newSystem()
		var pending sync.WaitGroup
		pending.Add(10)
		pid := spawn(system, mailbox.Settings{}, func(c actor.Context) {
			switch m := c.Message().(type) {
			case seq:
				mailbox.Of(c).Close(mailbox.Busy)
				root, self := c.ActorSystem().Root, c.Self()
				time.AfterFunc(10*time.Minute, func() { root.Send(self, called{m}) })
			case called:
				m.done()
				mailbox.Of(c).Open(mailbox.Busy)
			case control:
				_, waiting := mailbox.Of(c).Depth()
				c.Respond(waiting)
			}
		})
		began := time.Now()
		for n := range 10 {
			system.Root.Send(pid, seq{0, n, &pending})
		}
		for left := 9; left >= 0; left-- {
			synctest.Wait()
			before := time.Now()
			if got := ask(t, system, pid, control{}); got != left {
				t.Errorf("%v messages wait, want %d", got, left)
			}
			if took := time.Since(before); took != 0 {
				t.Errorf("control took %v during a call", took)
			}
			time.Sleep(10 * time.Minute)
		}
		pending.Wait()
		if took := time.Since(began); took != 100*time.Minute {
			t.Errorf("ten calls took %v, want 100 minutes", took)
		}
		stop(t, system, pid)
		system.Shutdown()
	})
}
