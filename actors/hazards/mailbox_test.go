package hazards_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// H1: an actor is in the registry before its mailbox can run. Who knows its name and sends at that moment gets a panic
// in its own goroutine. OnInit runs just then. Rule: every actor has our mailbox.
func TestH1SendingDuringSpawnPanicsTheSender(t *testing.T) {
	system := newSystem()
	var caught any
	props := actor.PropsFromFunc(func(actor.Context) {}, actor.WithOnInit(func(c actor.Context) {
		defer func() { caught = recover() }()
		system.Root.Send(c.Self(), "hello")
	}))
	system.Root.Spawn(props) // it is dead from birth: its mailbox counts as running and never will run
	if err, ok := caught.(error); !ok || !strings.Contains(err.Error(), "nil pointer") {
		t.Fatalf("the sender got %v; %s", caught, gone)
	}
}

type urgent struct{}

func (urgent) GetPriority() int8 { return 7 }

// H2: the priority mailbox looks for the priority of the envelope, not of the message in it: whatever is sent by
// Request has none. Rule: our lanes look into the envelope.
func TestH2RequestLosesItsPriority(t *testing.T) {
	for _, byRequest := range []bool{false, true} {
		system := newSystem()
		var order []string
		entered, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case chan struct{}:
				close(entered)
				<-m
			case string:
				order = append(order, m)
			case urgent:
				order = append(order, "urgent")
			case bool:
				close(done)
			}
		}, actor.WithMailbox(actor.UnboundedPriority())))
		system.Root.Send(pid, release)
		<-entered
		system.Root.Send(pid, "a")
		system.Root.Send(pid, "b")
		if byRequest {
			system.Root.RequestWithCustomSender(pid, urgent{}, pid)
		} else {
			system.Root.Send(pid, urgent{})
		}
		system.Root.Send(pid, true)
		close(release)
		<-done
		want := []string{"urgent", "a", "b"}
		if byRequest {
			want = []string{"a", "b", "urgent"}
		}
		if !slices.Equal(order, want) {
			t.Errorf("by request %v: handled in the order %v; %s", byRequest, order, gone)
		}
		_ = system.Root.StopFuture(pid).Wait()
	}
}

// H3: the library's own suspension holds back every message and not only work, and a restart by the supervisor lifts
// it. Rule: pausing is a bit in our gate, which is not part of the actor's incarnation.
func TestH3RestartLiftsASuspension(t *testing.T) {
	system := newSystem()
	handled := 0
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(string); ok {
			handled++
		}
	}, inline(), always()))
	process, _ := system.ProcessRegistry.Get(pid)
	process.SendSystemMessage(pid, &actor.SuspendMailbox{})
	system.Root.Send(pid, "inspect")
	if handled != 0 {
		t.Errorf("a suspended actor handled a message; %s", gone)
	}
	process.SendSystemMessage(pid, &actor.Restart{}) // what a supervisor sends after a crash
	if handled != 1 {
		t.Errorf("the message was handled %d times after a restart; %s", handled, gone)
	}
	_ = system.Root.StopFuture(pid).Wait()
}

// H4: Stash turns the order round, forgets the sender, and gives messages back at a restart only. Rule: not used.
func TestH4StashTurnsTheOrderRound(t *testing.T) {
	system := newSystem()
	var got []string
	restarted := false
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Restarting:
			restarted = true
		case string:
			if !restarted {
				c.Stash()
				return
			}
			got = append(got, m)
			if c.Sender() != nil {
				t.Errorf("message %s still has its sender; %s", m, gone)
			}
		case int:
			panic("restart me")
		}
	}, inline(), always()))
	for _, m := range []string{"1", "2", "3"} {
		system.Root.RequestWithCustomSender(pid, m, pid)
	}
	system.Root.Send(pid, 0)
	if !slices.Equal(got, []string{"3", "2", "1"}) {
		t.Errorf("unstashed in the order %v; %s", got, gone)
	}
	_ = system.Root.StopFuture(pid).Wait()
}

// H5: Stop throws away what is queued, without a dead letter: who asked waits until its timeout. Rule: our mailbox
// answers everything when its actor is stopped.
func TestH5StopLosesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := newSystem()
		var dead, handled atomic.Int64
		system.EventStream.Subscribe(func(event any) {
			if letter, ok := event.(*actor.DeadLetterEvent); ok {
				if _, ok := letter.Message.(string); ok {
					dead.Add(1)
				}
			}
		})
		release := make(chan struct{})
		pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(string); ok {
				<-release
				handled.Add(1)
			}
		}))
		for range 100 {
			system.Root.Send(pid, "work")
		}
		asked := system.Root.RequestFuture(pid, "work", time.Hour)
		synctest.Wait()
		stopped := system.Root.StopFuture(pid)
		close(release)
		if err := stopped.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := asked.Result(); !errors.Is(err, actor.ErrTimeout) {
			t.Errorf("the request ended with %v; %s", err, gone)
		}
		if handled.Load() != 1 || dead.Load() != 0 {
			t.Errorf("of 101 messages %d were handled and %d became dead letters; %s", handled.Load(), dead.Load(), gone)
		}
	})
}

// putting is where a sender to a full Bounded mailbox spins.
const putting = "queue.(*RingBuffer).put"

// H6: Bounded(10) holds 16 messages and makes the sender of the next spin on a core until there is room. Rule: our
// bounded lane answers.
func TestH6FullBoundedMailboxSpinsTheSender(t *testing.T) {
	system := newSystem()
	entered, release := make(chan struct{}), make(chan struct{})
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if n, ok := c.Message().(int); ok && n == 0 {
			close(entered)
			<-release
		}
	}, actor.WithMailbox(actor.Bounded(10))))
	system.Root.Send(pid, 0)
	<-entered
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 40 {
			system.Root.Send(pid, n+1)
			sent.Add(1)
		}
	}()
	waitForStack(t, putting, 1)
	for sent.Load() < 16 { // it passes there each time
		waitForStack(t, putting, 1)
	}
	if got := sent.Load(); got != 16 {
		t.Errorf("the sender was stopped after %d messages; %s", got, gone)
	}
	close(release)
	<-done
	_ = system.Root.StopFuture(pid).Wait()
}

// H6, second part: an actor with a full Bounded mailbox that sends to itself stops for ever, on a core of its own.
func TestH6ActorStopsForEverAtItsOwnBound(t *testing.T) {
	if !isChild(t) {
		if output, err := inChild(t); err != nil || !strings.Contains(output, "stuck for ever") {
			t.Fatalf("%v; %s\n%s", err, gone, output)
		}
		return
	}
	system := newSystem()
	full, returned := make(chan struct{}), make(chan struct{})
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if n, ok := c.Message().(int); ok && n == 0 {
			for i := range 16 {
				c.Send(c.Self(), i+1)
			}
			close(full)
			c.Send(c.Self(), 17)
			close(returned)
		}
	}, actor.WithMailbox(actor.Bounded(10))))
	system.Root.Send(pid, 0)
	<-full
	waitForStack(t, putting, 1)
	select {
	case <-returned:
		t.Error("it went on")
	default: // the only goroutine that could make room is the one that waits for it
		t.Log("stuck for ever")
	}
}
