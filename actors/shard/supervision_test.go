package shard_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
)

var patience = shard.Backoff{First: time.Second, Longest: 16 * time.Second, Attempts: 4, Forget: time.Hour}

// crashing says when the resources of a test crash.
type crashing struct {
	started, onTask, onQuery, onEnd atomic.Bool
	starts                          atomic.Int64
	crashes                         []shard.Crash // to be read when all is at rest
}

func (k *crashing) receive(c actor.Context, _ string) {
	switch c.Message().(type) {
	case *actor.Started:
		k.starts.Add(1)
		if k.started.Load() {
			panic("cannot start")
		}
	case *actor.Stopping, *actor.Stopped, *actor.Restarting:
		if k.onEnd.Load() {
			panic("cannot end")
		}
	case query:
		if k.onQuery.Load() {
			panic("cannot say")
		}
		if c.Sender() != nil {
			c.Respond(int(k.starts.Load()))
		}
		shard.Idle(c)
	case task:
		if k.onTask.Load() {
			panic("cannot do")
		}
		if c.Sender() != nil {
			c.Respond("done")
		}
		shard.Idle(c)
	}
}

func (k *crashing) run(t *testing.T) *running {
	return start(t, shard.Settings{
		Backoff: patience,
		Crashed: func(c shard.Crash) { k.crashes = append(k.crashes, c) },
	}, k.receive)
}

func TestWorkIsHeldBackLongerAfterEachCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &crashing{}
		k.onTask.Store(true)
		s := k.run(t)
		defer s.stopAtRest()
		for crash := 1; crash < patience.Attempts; crash++ {
			began := time.Now()
			if got := refused(s.ask(task{to: "a"})); got != mailbox.Crashed {
				t.Fatalf("got %v, want the message answered", got)
			}
			waited := time.Since(began)
			full := patience.First << max(crash-2, 0)
			if crash > 1 && (waited < full/2 || waited > full+shard.Tick) || crash == 1 && waited != 0 {
				t.Errorf("before crash %d work was held back %v, want %v or up to a half less", crash, waited, full)
			}
			synctest.Wait()
			if got := s.ask(query{to: "a"}); got != crash+1 {
				t.Errorf("after crash %d control is answered by incarnation %v", crash, got)
			}
			if k.crashes[crash-1].Count != crash || k.crashes[crash-1].Cause != "cannot do" {
				t.Errorf("reported %+v", k.crashes[crash-1])
			}
		}
		k.onTask.Store(false)
		if got := s.ask(task{to: "a"}); got != "done" {
			t.Errorf("healed: got %v", got)
		}
		if got := s.Stats(); got.Active != 1 || got.Parked != 0 {
			t.Errorf("a resource that crashed lately must stay active: %+v", got)
		}
		time.Sleep(patience.Forget + time.Second)
		synctest.Wait()
		if got := s.Stats(); got.Active != 0 {
			t.Errorf("one that has healed must be passivated: %+v", got)
		}
	})
}

func TestCrashesAreForgottenAfterPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &crashing{}
		k.onTask.Store(true)
		s := k.run(t)
		defer s.stopAtRest()
		for range 3 * patience.Attempts {
			s.ask(task{to: "a"})
			time.Sleep(patience.Forget + time.Minute)
		}
		synctest.Wait()
		for _, crash := range k.crashes {
			if crash.Count != 1 || crash.Parked {
				t.Fatalf("reported %+v, want each crash to be the first", crash)
			}
		}
	})
}

func TestResourceIsParkedAndComesBackOnRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &crashing{}
		k.onTask.Store(true)
		s := k.run(t)
		defer s.stopAtRest()
		for range patience.Attempts {
			s.ask(task{to: "a"})
		}
		synctest.Wait()
		if got := s.Stats().Parked; got != 1 {
			t.Fatalf("%d resources are parked, want 1", got)
		}
		time.Sleep(24 * time.Hour)
		if got := refused(s.ask(task{to: "a"})); got != mailbox.Parked {
			t.Errorf("work: got %v, want it refused", got)
		}
		if got := s.ask(query{to: "a"}); got != patience.Attempts+1 {
			t.Errorf("control: got %v, want an answer", got)
		}
		if got := s.ask(task{to: "b", what: "other"}); refused(got) != mailbox.Crashed {
			t.Errorf("another resource: got %v", got)
		}
		k.onTask.Store(false)
		if got := s.ask(&shard.Retry{Name: "a"}).(*shard.Retried); !got.WasParked {
			t.Errorf("retry: got %+v", got)
		}
		if got := s.ask(task{to: "a"}); got != "done" {
			t.Errorf("after the retry: got %v", got)
		}
		if got := s.ask(&shard.Retry{Name: "a"}).(*shard.Retried); got.WasParked {
			t.Errorf("second retry: got %+v", got)
		}
		if got := s.Stats().Parked; got != 0 {
			t.Errorf("%d resources are parked, want none", got)
		}
	})
}

// A resource that cannot even start is tried at the longest interval, however many messages come for it.
func TestNoHotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &crashing{}
		k.started.Store(true)
		k.onEnd.Store(true)
		s := k.run(t)
		s.send(task{to: "a"})
		for range 3600 {
			time.Sleep(time.Second)
			s.send(query{to: "a"})
		}
		synctest.Wait()
		most := int(time.Hour/(patience.Longest/2)) + patience.Attempts
		if got := int(k.starts.Load()); got > most {
			t.Errorf("started %d times in an hour, want at most %d", got, most)
		}
		if got := refused(s.ask(query{to: "a"})); got != mailbox.Parked {
			t.Errorf("got %v, want a prompt refusal", got)
		}
		k.started.Store(false)
		s.ask(&shard.Retry{Name: "a"})
		synctest.Wait()
		if _, ok := s.ask(query{to: "a"}).(int); !ok {
			t.Error("after the retry control is not answered")
		}
		if got := s.ask(task{to: "a"}); got != "done" {
			t.Errorf("after the retry: got %v", got)
		}
		s.stopAtRest() // with handlers that crash while they end
		if got := s.Stats(); got.Active != 0 || got.Parked != 0 {
			t.Errorf("after the stop: %+v", got)
		}
	})
}

func TestCrashOfControlIsAnsweredAndHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &crashing{}
		k.onQuery.Store(true)
		s := k.run(t)
		defer s.stopAtRest()
		if got := refused(s.ask(query{to: "a"})); got != mailbox.Crashed {
			t.Fatalf("got %v", got)
		}
		if got := refused(s.ask(query{to: "a"})); got != mailbox.Crashed {
			t.Fatalf("second, while its work is held back: got %v", got)
		}
		synctest.Wait()
		if got := refused(s.ask(query{to: "a"})); got != mailbox.Parked {
			t.Fatalf("third, while it is down: got %v", got)
		}
		k.onQuery.Store(false)
		if got := s.ask(task{to: "a"}); got != "done" {
			t.Errorf("work after the back-off: got %v", got)
		}
	})
}
