package shard_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func quietly(*actor.ActorSystem) *slog.Logger { return quiet() }

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithDeadLetterThrottleInterval(time.Millisecond), actor.WithLoggerFactory(quietly))
}

// Messages to a resource of the tests.
type (
	// task is work.
	task struct {
		to   string
		n    int
		what string
	}
	// query is control.
	query struct {
		to   string
		what string
	}
	// finished completes a task that ran outside the actor.
	finished struct{}
)

func (t task) Resource() string  { return t.to }
func (q query) Resource() string { return q.to }
func (query) ControlLane()       {}

// The library's dead letter log leaves a goroutine behind for a while.
func (task) IgnoreDeadLetterLogging()     {}
func (query) IgnoreDeadLetterLogging()    {}
func (finished) IgnoreDeadLetterLogging() {}

func (finished) ControlLane() {}
func (finished) Completion()  {}

// running is a shard with its actor.
type running struct {
	*shard.Shard
	t      *testing.T
	system *actor.ActorSystem
	pid    *actor.PID
}

// start runs a shard whose resources behave as receive says; the resource's name comes with each call.
func start(t *testing.T, settings shard.Settings, receive func(c actor.Context, name string)) *running {
	t.Helper()
	if settings.Activate == nil {
		settings.Activate = func(a shard.Activation) actor.Producer {
			return func() actor.Actor { return actor.ReceiveFunc(func(c actor.Context) { receive(c, a.Resource) }) }
		}
	}
	if settings.Log == nil {
		settings.Log = quiet()
	}
	s, err := shard.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Shard: s, t: t, system: newSystem()}
	if r.pid, err = r.system.Root.SpawnNamed(s.Props(), s.Name()); err != nil {
		t.Fatal(err)
	}
	return r
}

// stop stops the shard and waits for it. Tests call it at their end, not by Cleanup, which runs outside their bubble.
func (r *running) stop() {
	r.t.Helper()
	if err := r.system.Root.StopFuture(r.pid).Wait(); err != nil {
		r.t.Errorf("stopping the shard: %v", err)
	}
}

// stopAtRest stops the shard of a bubble when nothing is under way any more. (When a resource is being passivated at
// the same moment, the library notes a dead letter, which leaves a goroutine behind for a while.)
func (r *running) stopAtRest() {
	r.t.Helper()
	synctest.Wait()
	r.stop()
}

func (r *running) send(message any) { r.system.Root.Send(r.pid, message) }

// ask sends a message through the shard and returns the answer.
func (r *running) ask(message any) any {
	r.t.Helper()
	answer, err := r.system.Root.RequestFuture(r.pid, message, time.Hour).Result()
	if err != nil {
		r.t.Fatalf("asking %+v: %v", message, err)
	}
	return answer
}

// refused returns why an answer is a refusal, zero when it is none.
func refused(answer any) mailbox.Reason {
	if rejected, ok := answer.(*mailbox.Rejected); ok {
		return rejected.Reason
	}
	return 0
}

// echo answers every task and query and is idle after each.
func echo(c actor.Context, name string) {
	switch c.Message().(type) {
	case task, query:
		c.Respond(name)
		shard.Idle(c)
	}
}
