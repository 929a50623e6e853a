package hazards_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/plugin"
)

// incarnation is one value of an actor that is restarted.
type incarnation struct {
	number int
	log    *[]string
}

func (a *incarnation) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case actor.Future:
		c.ReenterAfter(m, func(any, error) {
			*a.log = append(*a.log, fmt.Sprintf("continuation of %d in %d", a.number, c.Actor().(*incarnation).number))
		})
	case string:
		*a.log = append(*a.log, m)
	case int:
		panic("restart me")
	}
}

// H7: between ReenterAfter and its continuation the actor handles other messages, and the continuation outlives a
// restart, with the state of an incarnation that is no more. Rule: not used; a call runs in a goroutine that sends a
// completion, and the Busy bit keeps work back.
func TestH7ReenterAfterInterleavesAndOutlivesARestart(t *testing.T) {
	system := newSystem()
	var log []string
	number := 0
	pid := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		number++
		return &incarnation{number: number, log: &log}
	}, inline(), always()))
	future := actor.NewFuture(system, -1)
	system.Root.Send(pid, future)
	system.Root.Send(pid, "other work")
	system.Root.Send(pid, 0)
	system.Root.Send(future.PID(), "done")
	if want := []string{"other work", "continuation of 1 in 2"}; !slices.Equal(log, want) {
		t.Errorf("got %q, want %q; %s", log, want, gone)
	}
	_ = system.Root.StopFuture(pid).Wait()
}

// H8: the second answer to a request overwrites the first, without a lock. Rule: exactly one Respond, and what may be
// a second answer goes to a fresh PID.
func TestH8SecondAnswerOverwritesTheFirst(t *testing.T) {
	system := newSystem()
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if m, ok := c.Message().(string); ok {
			c.Respond("first answer")
			if m == "by a fresh PID" {
				system.Root.Send(actor.NewPID(c.Sender().Address, c.Sender().Id), "second answer")
				return
			}
			c.Respond("second answer")
		}
	}, inline()))
	for message, want := range map[string]string{"twice": "second answer", "by a fresh PID": "first answer"} {
		if got, err := system.Root.RequestFuture(pid, message, time.Hour).Result(); err != nil || got != want {
			t.Errorf("answered %s: got %v, %v, want %s; %s", message, got, err, want, gone)
		}
	}
	_ = system.Root.StopFuture(pid).Wait()
}

// H10: an actor that stops goes on to handle messages until its last child has stopped, after its Stopping handler has
// put everything away. Rule: our mailbox takes nothing from the moment of Stop.
func TestH10StoppingActorStillHandlesMessages(t *testing.T) {
	system := newSystem()
	entered, release := make(chan struct{}), make(chan struct{})
	child := actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Stopping); ok {
			close(entered)
			<-release
		}
	})
	stopping := false
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch c.Message().(type) {
		case *actor.Started:
			c.Spawn(child)
		case *actor.Stopping:
			stopping = true
		case string:
			c.Respond(stopping)
		}
	}))
	stopped := system.Root.StopFuture(pid)
	<-entered
	if got, err := system.Root.RequestFuture(pid, "work", 20*time.Second).Result(); err != nil || got != true {
		t.Errorf("got %v, %v from an actor that stops; %s", got, err, gone)
	}
	close(release)
	if err := stopped.Wait(); err != nil {
		t.Error(err)
	}
}

type passivated struct{ plugin.PassivationHolder }

func (*passivated) Receive(actor.Context) {}

// H11: the passivation plugin starts a goroutine for each actor and leaves it there when the actor stops. Rule: our
// shard, where the resource says that it is idle and one timer serves all.
func TestH11PassivationPluginLeaks(t *testing.T) {
	const actors = 20
	if !isChild(t) {
		if output, err := inChild(t); err != nil || !strings.Contains(output, "leaked 20 goroutines") {
			t.Fatalf("%v; %s\n%s", err, gone, output)
		}
		return
	}
	system := newSystem()
	props := actor.PropsFromProducer(func() actor.Actor { return &passivated{} },
		actor.WithReceiverMiddleware(plugin.Use(&plugin.PassivationPlugin{Duration: time.Hour})))
	for range actors {
		if err := system.Root.StopFuture(system.Root.Spawn(props)).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("leaked %d goroutines", onStack("plugin.(*PassivationHolder).Init.func1("))
}
