package mailbox_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// ask sends message and returns the answer.
func ask(t *testing.T, system *actor.ActorSystem, pid *actor.PID, message any) any {
	t.Helper()
	answer, err := system.Root.RequestFuture(pid, message, 20*time.Second).Result()
	if err != nil {
		t.Fatalf("asking %T: %v", message, err)
	}
	return answer
}

func reasonOf(answer any) mailbox.Reason {
	if rejected, ok := answer.(*mailbox.Rejected); ok {
		return rejected.Reason
	}
	return 0
}

func spawn(system *actor.ActorSystem, settings mailbox.Settings, receive actor.ReceiveFunc) *actor.PID {
	return system.Root.Spawn(actor.PropsFromFunc(receive, actor.WithMailbox(mailbox.Producer(settings)), always()))
}

func stop(t *testing.T, system *actor.ActorSystem, pid *actor.PID) {
	t.Helper()
	if err := system.Root.StopFuture(pid).Wait(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// A sender that knows the name of an actor may send while it is being spawned. (The library's own mailboxes make the
// sender panic: hazard H1.)
func TestSendDuringSpawnIsSafe(t *testing.T) {
	system := newSystem()
	var current, early, got atomic.Int64
	done := make(chan struct{})
	var senders sync.WaitGroup
	for range 2 {
		senders.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					system.Root.Send(system.NewLocalPID(fmt.Sprint("r", current.Load())), work{})
				}
			}
		})
	}
	produce := mailbox.Producer(mailbox.Settings{})
	for i := range 20_000 {
		current.Store(int64(i))
		started := false
		props := actor.PropsFromFunc(func(c actor.Context) {
			switch c.Message().(type) {
			case *actor.Started:
				started = true
			case work:
				got.Add(1)
				if !started {
					early.Add(1)
				}
			}
		}, actor.WithMailbox(produce))
		pid, err := system.Root.SpawnNamed(props, fmt.Sprint("r", i))
		if err != nil {
			t.Fatal(err)
		}
		system.Root.Stop(pid)
	}
	close(done)
	senders.Wait()
	if early.Load() != 0 {
		t.Errorf("%d of %d messages were handled before Started", early.Load(), got.Load())
	}
}

// The library hands a nil message to the handler at best, and spins on a core at worst.
func TestNilMessageIsHarmless(t *testing.T) {
	system := newSystem()
	pid := spawn(system, mailbox.Settings{}, func(c actor.Context) {
		if m, ok := c.Message().(work); ok {
			c.Respond(m)
		}
	})
	system.Root.Send(pid, nil)
	if got := ask(t, system, pid, work{1}); got != (work{1}) {
		t.Errorf("after a nil message: got %v", got)
	}
	stop(t, system, pid)
}

func TestFullLaneAnswersInsteadOfBlocking(t *testing.T) {
	system := newSystem()
	pid := spawn(system, mailbox.Settings{Work: 2, Control: 1}, func(c actor.Context) {
		switch m := c.Message().(type) {
		case control:
			if m.n == 0 {
				mailbox.Of(c).Close(mailbox.Paused)
			} else {
				mailbox.Of(c).Open(mailbox.Paused)
			}
			c.Respond(m)
		case work:
			c.Respond(m)
		}
	})
	defer stop(t, system, pid)
	ask(t, system, pid, control{0})
	futures := make([]actor.Future, 2)
	for i := range futures {
		futures[i] = system.Root.RequestFuture(pid, work{i}, 20*time.Second)
	}
	if got := ask(t, system, pid, work{9}); reasonOf(got) != mailbox.WorkFull {
		t.Errorf("third message: got %v, want it rejected because the lane is full", got)
	}
	ask(t, system, pid, control{1})
	for i, future := range futures {
		if got, err := future.Result(); err != nil || got != (work{i}) {
			t.Errorf("message %d after the pause: got %v, %v", i, got, err)
		}
	}
}

func TestPanicIsAnsweredAndSupervised(t *testing.T) {
	system := newSystem()
	incarnations := 0
	produce := func() actor.Actor {
		incarnations++
		return actor.ReceiveFunc(func(c actor.Context) {
			if m, ok := c.Message().(work); ok {
				if m.n == 13 {
					panic("thirteen")
				}
				c.Respond(incarnations)
			}
		})
	}
	pid := system.Root.Spawn(actor.PropsFromProducer(produce,
		actor.WithMailbox(mailbox.Producer(mailbox.Settings{})), always()))
	defer stop(t, system, pid)
	rejected, ok := ask(t, system, pid, work{13}).(*mailbox.Rejected)
	if !ok || rejected.Reason != mailbox.Crashed || rejected.Cause != "thirteen" {
		t.Fatalf("got %+v, want it rejected with the cause", rejected)
	}
	if err := rejected.Err(); !errors.Is(err, mailbox.ErrRejected) {
		t.Errorf("Err: got %v, want one that wraps ErrRejected", err)
	}
	if got := ask(t, system, pid, work{1}); got != 2 {
		t.Errorf("after the crash: got an answer of incarnation %v, want 2", got)
	}
}

// A handler that answers and then panics has answered: the rejection must not take the place of the answer.
func TestPanicAfterTheAnswer(t *testing.T) {
	system := newSystem()
	pid := spawn(system, mailbox.Settings{}, func(c actor.Context) {
		if m, ok := c.Message().(work); ok {
			c.Respond(m)
			panic("after the answer")
		}
	})
	defer stop(t, system, pid)
	future := system.Root.RequestFuture(pid, work{1}, 20*time.Second)
	later := system.Root.RequestFuture(pid, work{2}, 20*time.Second)
	if _, err := later.Result(); err != nil { // so the first has crashed
		t.Fatal(err)
	}
	if got, err := future.Result(); err != nil || got != (work{1}) {
		t.Errorf("got %v, %v, want the answer", got, err)
	}
}

// A restart that has to wait for a child does not let messages through to an actor that has already cleaned up.
func TestRestartHoldsBackMessagesUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := newSystem()
		entered, release := make(chan struct{}), make(chan struct{})
		incarnations := 0
		child := actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Stopping); ok {
				close(entered)
				<-release
			}
		})
		pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
			incarnations++
			number := incarnations
			return actor.ReceiveFunc(func(c actor.Context) {
				switch c.Message().(type) {
				case *actor.Started:
					if number == 1 {
						c.Spawn(child)
					}
				case control:
					c.Respond(number)
				}
			})
		}, actor.WithMailbox(mailbox.Producer(mailbox.Settings{})), always()))
		defer stop(t, system, pid)
		process, _ := system.ProcessRegistry.Get(pid)
		process.SendSystemMessage(pid, &actor.Restart{})
		<-entered
		future := system.Root.RequestFuture(pid, control{}, 20*time.Second)
		synctest.Wait() // whatever may be handled has been handled
		close(release)
		if got, err := future.Result(); err != nil || got != 2 {
			t.Errorf("got an answer of incarnation %v, %v, want 2", got, err)
		}
	})
}

// The library's own suspension is lifted by a restart (hazard H3); the gate is not.
func TestPauseSurvivesARestart(t *testing.T) {
	system := newSystem()
	var handled atomic.Int64
	pid := spawn(system, mailbox.Settings{}, func(c actor.Context) {
		switch m := c.Message().(type) {
		case control:
			if m.n == 1 {
				panic("crash")
			}
			if m.n == 2 {
				mailbox.Of(c).Open(mailbox.Paused)
			}
			if m.n == 3 {
				mailbox.Of(c).Close(mailbox.Paused)
			}
			c.Respond(handled.Load())
		case work:
			handled.Add(1)
			c.Respond(m)
		}
	})
	defer stop(t, system, pid)
	ask(t, system, pid, control{3})
	future := system.Root.RequestFuture(pid, work{1}, 20*time.Second)
	if got := ask(t, system, pid, control{1}); reasonOf(got) != mailbox.Crashed {
		t.Fatalf("crash: got %v", got)
	}
	if got := ask(t, system, pid, control{0}); got != int64(0) {
		t.Errorf("after the restart %v messages passed the closed gate", got)
	}
	ask(t, system, pid, control{2})
	if _, err := future.Result(); err != nil {
		t.Errorf("work after the pause: %v", err)
	}
}

// Stop answers all that waits, and nothing is handled by an actor that stops. (The library drops the messages
// silently, hazard H5, and goes on delivering while children stop, hazard H10.)
func TestStopAnswersAllThatWaits(t *testing.T) {
	system := newSystem()
	const messages = 100
	release := make(chan struct{})
	var handled atomic.Int64
	child := actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Stopping); ok {
			<-release
		}
	})
	pid := spawn(system, mailbox.Settings{}, func(c actor.Context) {
		switch c.Message().(type) {
		case *actor.Started:
			c.Spawn(child)
			mailbox.Of(c).Close(mailbox.Busy)
		case work:
			handled.Add(1)
		}
	})
	futures := make([]actor.Future, messages)
	for i := range futures {
		futures[i] = system.Root.RequestFuture(pid, work{i}, 20*time.Second)
	}
	stopped := system.Root.StopFuture(pid)
	for i, future := range futures {
		got, err := future.Result()
		if err != nil || reasonOf(got) != mailbox.Stopped {
			t.Fatalf("message %d: got %v, %v, want it rejected because the actor stops", i, got, err)
		}
	}
	if got := ask(t, system, pid, work{}); reasonOf(got) != mailbox.Stopped {
		t.Errorf("message while it stops: got %v", got)
	}
	close(release)
	if err := stopped.Wait(); err != nil {
		t.Fatal(err)
	}
	if handled.Load() != 0 {
		t.Errorf("%d messages were handled while the actor stopped", handled.Load())
	}
}

func TestPoisonStopsBehindTheWork(t *testing.T) {
	system := newSystem()
	var handled atomic.Int64
	pid := spawn(system, mailbox.Settings{Work: 5}, func(c actor.Context) {
		if _, ok := c.Message().(work); ok {
			handled.Add(1)
		}
	})
	for range 5 {
		system.Root.Send(pid, work{})
	}
	if err := system.Root.PoisonFuture(pid).Wait(); err != nil {
		t.Fatal(err)
	}
	if handled.Load() != 5 {
		t.Errorf("handled %d, want 5", handled.Load())
	}
}
