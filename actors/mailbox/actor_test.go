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
