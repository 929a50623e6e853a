package shard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
)

func TestSettingsAreChecked(t *testing.T) {
	activate := func(shard.Activation) actor.Producer { return nil }
	for name, settings := range map[string]shard.Settings{
		"no Activate":   {Log: quiet()},
		"no Log":        {Activate: activate},
		"foreign gate":  {Activate: activate, Log: quiet(), Mailbox: mailbox.Settings{Shared: &mailbox.Shared{}}},
		"negative idle": {Activate: activate, Log: quiet(), IdleAfter: -1},
	} {
		if _, err := shard.New(settings); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestActivationOnDemand(t *testing.T) {
	var got shard.Activation
	activate := func(a shard.Activation) actor.Producer {
		got = a
		return func() actor.Actor { return actor.ReceiveFunc(func(c actor.Context) { echo(c, a.Resource) }) }
	}
	s := start(t, shard.Settings{ID: 7, Epoch: 42, IdleAfter: time.Hour, Activate: activate}, nil)
	defer s.stop()
	if s.Name() != "shard-7@42" || s.Epoch() != 42 {
		t.Errorf("name %q, epoch %d", s.Name(), s.Epoch())
	}
	for range 3 {
		if answer := s.ask(task{to: "vol-1"}); answer != "vol-1" {
			t.Fatalf("got %v", answer)
		}
	}
	if want := (shard.Activation{Resource: "vol-1", Shard: 7, Epoch: 42}); got != want {
		t.Errorf("activated %+v, want %+v", got, want)
	}
	if stats := s.Stats(); stats.Activations != 1 || stats.Active != 1 {
		t.Errorf("got %+v, want one activation", stats)
	}
}

func TestIdleResourceIsPassivatedAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, shard.Settings{IdleAfter: time.Minute}, echo)
		defer s.stopAtRest()
		s.ask(task{to: "a"})
		time.Sleep(50 * time.Second)
		s.ask(task{to: "a"}) // starts the minute again
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if stats := s.Stats(); stats.Active != 1 {
			t.Fatalf("passivated too early: %+v", stats)
		}
		time.Sleep(20 * time.Second) // the minute, and at most one tick
		synctest.Wait()
		if stats := s.Stats(); stats.Active != 0 || stats.Passivations != 1 {
			t.Fatalf("not passivated: %+v", stats)
		}
		s.ask(task{to: "a"})
		if stats := s.Stats(); stats.Activations != 2 {
			t.Errorf("got %+v, want a second activation", stats)
		}
	})
}

// A paused resource, one with a call under way and one that never says it is idle stay as long as they are so.
func TestOnlyIdleResourcesArePassivated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, shard.Settings{}, func(c actor.Context, _ string) {
			box := mailbox.Of(c)
			switch m := c.Message().(type) {
			case query:
				switch m.what {
				case "pause":
					box.Close(mailbox.Paused)
				case "resume":
					box.Open(mailbox.Paused)
				}
				c.Respond(box.Closed())
				shard.Idle(c)
			case task:
				c.Respond(nil)
				switch m.what {
				case "call":
					box.Close(mailbox.Busy)
					root, self := c.ActorSystem().Root, c.Self()
					time.AfterFunc(time.Hour, func() { root.Send(self, finished{}) })
					shard.Idle(c) // a lie: the closed gate says so
				case "stay":
				default:
					shard.Idle(c)
				}
			case finished:
				box.Open(mailbox.Busy)
				shard.Idle(c)
			}
		})
		defer s.stopAtRest()
		s.ask(query{"paused", "pause"})
		s.ask(task{to: "busy", what: "call"})
		s.ask(task{to: "silent", what: "stay"})
		s.ask(task{to: "idle"})
		expect := func(active int64) {
			t.Helper()
			synctest.Wait()
			if got := s.Stats().Active; got != active {
				t.Errorf("%d resources are active, want %d", got, active)
			}
		}
		expect(3)
		s.ask(query{"paused", "resume"})
		expect(2)
		time.Sleep(time.Hour)
		expect(1)
		s.ask(task{to: "silent"})
		expect(0)
	})
}

func TestFencedShardHoldsBackWork(t *testing.T) {
	told, entered, release := make(chan any, 10), make(chan struct{}), make(chan struct{})
	s := start(t, shard.Settings{Epoch: 3, IdleAfter: time.Hour}, func(c actor.Context, name string) {
		switch m := c.Message().(type) {
		case *shard.Fenced, *shard.Unfenced:
			told <- m
		case query:
			c.Respond(mailbox.Of(c).Closed())
		case task:
			if m.what == "block" {
				close(entered)
				<-release
			}
			c.Respond(name)
		}
	})
	defer s.stop()
	blocked := s.system.Root.RequestFuture(s.pid, task{to: "a", what: "block"}, time.Hour)
	<-entered
	waiting := s.system.Root.RequestFuture(s.pid, task{to: "a"}, time.Hour)
	s.ask(task{to: "b"}) // now the second is in the mailbox of a
	s.Fence()
	if !s.Fenced() {
		t.Error("Fenced: got false")
	}
	if got := refused(s.ask(task{to: "a"})); got != mailbox.Foreign {
		t.Errorf("work while fenced: got %v, want it refused", got)
	}
	if got := s.ask(query{to: "c"}); got != mailbox.Fenced {
		t.Errorf("gate of a resource activated while fenced: got %v", got)
	}
	close(release) // let the running handler go: what waits behind it stays
	if got, err := blocked.Result(); err != nil || got != "a" {
		t.Errorf("running work: got %v, %v", got, err)
	}
	for range 2 { // a and b were active
		if got, ok := (<-told).(*shard.Fenced); !ok || got.Epoch != 3 {
			t.Errorf("told %v, want Fenced of epoch 3", got)
		}
	}
	s.ask(query{to: "a"})
	if got := s.Stats(); got.Active != 3 {
		t.Errorf("got %+v", got)
	}
	s.Unfence()
	if got, err := waiting.Result(); err != nil || got != "a" {
		t.Errorf("work that waited: got %v, %v", got, err)
	}
	for range 3 {
		if got, ok := (<-told).(*shard.Unfenced); !ok || got.Epoch != 3 {
			t.Errorf("told %v, want Unfenced of epoch 3", got)
		}
	}
}

func TestStoppingShardAnswersEverything(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	s := start(t, shard.Settings{}, func(c actor.Context, _ string) {
		if m, ok := c.Message().(task); ok {
			if m.what == "block" {
				close(entered)
				<-release
			}
			c.Respond(m.n)
		}
	})
	blocked := s.system.Root.RequestFuture(s.pid, task{to: "a", what: "block"}, time.Hour)
	<-entered
	var futures []actor.Future
	for n := range 50 {
		futures = append(futures, s.system.Root.RequestFuture(s.pid, task{to: "a", n: n}, time.Hour))
	}
	stopped := s.system.Root.StopFuture(s.pid)
	var late []actor.Future
	for range 50 {
		late = append(late, s.system.Root.RequestFuture(s.pid, task{to: "b"}, time.Hour))
	}
	close(release)
	if got, err := blocked.Result(); err != nil || got != 0 {
		t.Errorf("running work: got %v, %v", got, err)
	}
	for i, future := range append(futures, late...) {
		if got, err := future.Result(); err != nil && got == nil {
			t.Errorf("message %d: got %v, %v; want an answer", i, got, err)
		}
	}
	if err := stopped.Wait(); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Active != 0 {
		t.Errorf("after the stop: %+v", stats)
	}
}

// A resource that cannot be activated harms nobody else.
func TestActivationThatPanics(t *testing.T) {
	s := start(t, shard.Settings{Activate: func(a shard.Activation) actor.Producer {
		if a.Resource == "bad" {
			panic("no such resource")
		}
		return func() actor.Actor {
			if a.Resource == "worse" {
				panic("no actor")
			}
			return actor.ReceiveFunc(func(c actor.Context) { echo(c, a.Resource) })
		}
	}}, nil)
	defer s.stop()
	for range 2 {
		for _, name := range []string{"bad", "worse"} {
			if got := refused(s.ask(task{to: name})); got != mailbox.Crashed {
				t.Errorf("%s: got %v, want it rejected", name, got)
			}
		}
		if got := s.ask(task{to: "good"}); got != "good" {
			t.Errorf("good: got %v", got)
		}
	}
	if got := s.Stats().Crashes; got != 0 {
		t.Errorf("%d crashes of resources", got)
	}
}
