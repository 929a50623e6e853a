package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

func TestEachCallerGetsItsOwnResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		n := start(t, inMemory(l))
		var callers sync.WaitGroup
		for caller := range 50 {
			callers.Go(func() {
				for i := range 20 {
					command := fmt.Sprintf("%d-%d", caller, i)
					r := propose(t, n, command)
					if got := l.commands()[r.Place]; r.Command != command || got != command {
						t.Errorf("%s got the result of %s, and its place holds %s", command, r.Command, got)
					}
				}
			})
		}
		callers.Wait()
		commands := l.commands()
		if slices.Sort(commands); len(slices.Compact(commands)) != 1000 {
			t.Errorf("%d different commands, want 1000", len(commands))
		}
	})
}

// gate lets a test hold a ledger in the middle of Apply.
type gate struct{ entered, leave chan struct{} }

func newGate(l *ledger) *gate {
	g := &gate{entered: make(chan struct{}, 100), leave: make(chan struct{})}
	l.before = func([]cluster.Entry) error {
		g.entered <- struct{}{}
		<-g.leave
		return nil
	}
	return g
}

func TestWaitingCommandsShareAnEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		g := newGate(l)
		cfg := inMemory(l)
		cfg.InFlight = 1
		n := start(t, cfg)
		var callers sync.WaitGroup
		callers.Go(func() { propose(t, n, "first") })
		<-g.entered
		for i := range 100 {
			callers.Go(func() { propose(t, n, fmt.Sprint(i)) })
		}
		synctest.Wait()
		close(g.leave)
		callers.Wait()
		if entries := len(l.copy().Indexes); entries != 2 {
			t.Errorf("101 commands took %d entries, want 2", entries)
		}
	})
}

func TestFrameIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		g := newGate(l)
		cfg := inMemory(l)
		cfg.InFlight = 1
		n := start(t, cfg)
		_, err := n.Propose(t.Context(), make([]byte, cluster.MaxCommandBytes+1))
		want(t, "Propose of a command that is too large", err, cluster.ErrCommandTooLarge)
		var callers sync.WaitGroup
		callers.Go(func() { propose(t, n, "first") })
		<-g.entered
		for range 5 {
			callers.Go(func() { propose(t, n, string(make([]byte, cluster.MaxCommandBytes))) })
		}
		synctest.Wait()
		close(g.leave)
		callers.Wait()
		if entries := len(l.copy().Indexes); entries != 6 {
			t.Errorf("a small and 5 of the largest commands took %d entries, want 6", entries)
		}
	})
}

func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		g := newGate(l)
		cfg := inMemory(l)
		cfg.InFlight = 1
		n := start(t, cfg)
		var callers sync.WaitGroup
		give := func(command string, check func(error)) context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			callers.Go(func() {
				_, err := n.Propose(ctx, []byte(command))
				check(err)
			})
			synctest.Wait()
			return cancel
		}
		cancelUnderWay := give("under way", func(err error) {
			want(t, "giving up a command under way", err, cluster.ErrUnknownOutcome)
			want(t, "giving up a command under way", err, context.Canceled)
		})
		cancelWaiting := give("waiting", func(err error) {
			if !errors.Is(err, context.Canceled) || errors.Is(err, cluster.ErrUnknownOutcome) {
				t.Errorf("giving up a command that waits = %v, want context.Canceled and a known outcome", err)
			}
		})
		cancelUnderWay()
		cancelWaiting()
		callers.Wait()
		close(g.leave)
		propose(t, n, "after")
		if got := l.commands(); !slices.Equal(got, []string{"under way", "after"}) {
			t.Errorf("the ledger holds %q: a command given up while it waited must not be in it", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := n.Propose(ctx, []byte("never"))
		want(t, "Propose with a context that has ended", err, context.Canceled)
	})
}

func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		g := newGate(l)
		cfg := inMemory(l)
		cfg.QueueBytes = 1 << 20
		n := start(t, cfg)
		var callers sync.WaitGroup
		command := string(make([]byte, 100<<10))
		for range 10 {
			callers.Go(func() { propose(t, n, command) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.Propose(ctx, []byte(command))
		want(t, "Propose with a full queue", err, cluster.ErrOverloaded)
		want(t, "Propose with a full queue", err, context.DeadlineExceeded)
		callers.Go(func() { propose(t, n, command) }) // this one waits for its turn
		synctest.Wait()
		close(g.leave)
		callers.Wait()
		if got := len(l.commands()); got != 11 {
			t.Errorf("%d commands, want 11", got)
		}
	})
}

func TestStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		g := newGate(l)
		cfg := inMemory(l)
		cfg.InFlight = 1
		n := start(t, cfg)
		var callers sync.WaitGroup
		callers.Go(func() { propose(t, n, "under way") })
		<-g.entered
		callers.Go(func() {
			_, err := n.Propose(t.Context(), []byte("waiting"))
			want(t, "a command that waits when the node is closed", err, cluster.ErrStopped)
			if errors.Is(err, cluster.ErrUnknownOutcome) {
				t.Errorf("a command that waits when the node is closed has an unknown outcome: %v", err)
			}
		})
		synctest.Wait()
		callers.Go(func() { stop(t, n) })
		synctest.Wait()
		_, err := n.Propose(t.Context(), []byte("late"))
		want(t, "Propose while closing", err, cluster.ErrStopped)
		close(g.leave)
		callers.Wait()
		stop(t, n)
		_, err = n.Propose(t.Context(), []byte("too late"))
		want(t, "Propose after Close", err, cluster.ErrStopped)
		_, err = n.ReadIndex(t.Context())
		want(t, "ReadIndex after Close", err, cluster.ErrStopped)
		want(t, "WaitApplied after Close", n.WaitApplied(t.Context(), 1<<40), cluster.ErrStopped)
		want(t, "Snapshot after Close", n.Snapshot(), cluster.ErrStopped)
		_, err = n.Backup(nil)
		want(t, "Backup after Close", err, cluster.ErrStopped)
		if got := l.commands(); !slices.Equal(got, []string{"under way"}) {
			t.Errorf("the ledger holds %q, want what was under way", got)
		}
	})
}

func TestTimeNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		n := start(t, inMemory(l))
		now := time.Now()
		times := []time.Duration{0, time.Hour, time.Minute, -time.Hour, 2 * time.Hour}
		for _, d := range times {
			n.SetClock(func() time.Time { return now.Add(d) })
			propose(t, n, d.String())
		}
		expect := []time.Duration{0, time.Hour, time.Hour, time.Hour, 2 * time.Hour}
		for i, got := range l.copy().Times {
			if !got.Equal(now.Add(expect[i])) || got.Location() != time.UTC {
				t.Errorf("entry %d has time %v, want %v in UTC", i, got, now.Add(expect[i]))
			}
		}
	})
}

func TestReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		n := start(t, inMemory(l))
		var seen []uint64
		unregister := n.OnApplied(func(index uint64) { seen = append(seen, index) })
		waited := make(chan error)
		go func() { waited <- n.WaitApplied(t.Context(), n.AppliedIndex()+1) }()
		synctest.Wait()
		first := propose(t, n, "a").Index
		if err := <-waited; err != nil {
			t.Errorf("WaitApplied() = %v", err)
		}
		last := propose(t, n, "b").Index
		unregister()
		propose(t, n, "c")
		if !slices.Equal(seen, []uint64{0, first, last}) {
			t.Errorf("OnApplied saw %v, want %v", seen, []uint64{0, first, last})
		}
		var readers sync.WaitGroup
		for range 100 {
			readers.Go(func() {
				if index, err := n.ReadIndex(t.Context()); err != nil || index <= last {
					t.Errorf("ReadIndex() = %d, %v, want more than %d", index, err, last)
				}
			})
		}
		readers.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		want(t, "WaitApplied of what never comes", n.WaitApplied(ctx, 1<<40), context.DeadlineExceeded)
	})
}

func TestMachineFailureEndsTheNode(t *testing.T) {
	boom := errors.New("boom")
	tests := map[string]func([]cluster.Entry) error{
		"an error": func([]cluster.Entry) error { return boom },
		"a panic":  func([]cluster.Entry) error { panic("boom") },
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &ledger{}
				n := start(t, inMemory(l))
				propose(t, n, "good")
				l.before = before
				_, err := n.Propose(t.Context(), []byte("bad"))
				want(t, "Propose of what cannot be applied", err, cluster.ErrUnknownOutcome)
				if err := <-n.Failed(); err == nil || name == "an error" && !errors.Is(err, boom) {
					t.Errorf("Failed() gives %v, want boom", err)
				}
				_, err = n.Propose(t.Context(), []byte("after"))
				want(t, "Propose after the failure", err, cluster.ErrStopped)
				_, err = n.ReadIndex(t.Context())
				want(t, "ReadIndex after the failure", err, cluster.ErrStopped)
				want(t, "Snapshot after the failure", n.Snapshot(), cluster.ErrStopped)
				if n.Status().Err == nil {
					t.Error("Status() does not say why the node failed")
				}
				if got := l.commands(); !slices.Equal(got, []string{"good"}) {
					t.Errorf("the ledger holds %q, want what was applied before", got)
				}
			})
		})
	}
}
