package placement_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/placement"
)

var terms = placement.Terms{Lease: 4 * time.Second, Margin: time.Second}

// leader answers renewals as one does, unless it is cut off.
type leader struct {
	mu    sync.Mutex
	delay time.Duration
	cut   bool
	heard time.Time
}

func (l *leader) renew(ctx context.Context) (time.Time, error) {
	asked := time.Now()
	l.mu.Lock()
	delay, cut := l.delay, l.cut
	l.mu.Unlock()
	time.Sleep(delay)
	if cut {
		<-ctx.Done()
		return asked, errors.New("nobody answers")
	}
	l.mu.Lock()
	l.heard = time.Now()
	l.mu.Unlock()
	return asked, nil
}

func (l *leader) set(delay time.Duration, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.cut = delay, cut
}

func TestALeaseEndsBeforeTheLeaderTakesItToBeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leader{}
		var told []bool
		ended := time.Time{}
		lease := placement.NewLease(terms, l.renew, func(holds bool) {
			told = append(told, holds)
			if !holds {
				ended = time.Now()
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			lease.Keep(ctx)
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !lease.Holds() || !slices.Equal(told, []bool{true}) {
			t.Errorf("after ten seconds: holds %t, told %v", lease.Holds(), told)
		}
		l.set(900*time.Millisecond, false) // slow answers do not matter
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if !slices.Equal(told, []bool{true}) {
			t.Errorf("with slow answers: told %v", told)
		}
		l.set(0, true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if lease.Holds() || !slices.Equal(told, []bool{true, false}) {
			t.Errorf("cut off: holds %t, told %v", lease.Holds(), told)
		}
		if over := l.heard.Add(terms.Over()); !ended.Before(over) {
			t.Errorf("it ended at %v, and the leader took it to be over at %v", ended, over)
		}
		if late := l.heard.Add(terms.Lease - time.Second); ended.Before(late) {
			t.Errorf("it ended at %v, well before its time at %v", ended, late)
		}
		l.set(0, false)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		stop()
		<-done
		if lease.Holds() || !slices.Equal(told, []bool{true, false, true, false}) {
			t.Errorf("given up: holds %t, told %v", lease.Holds(), told)
		}
	})
}

// TestAnAnswerThatIsTooOldIsNoLease has the leader answer after the term that it would give.
func TestAnAnswerThatIsTooOldIsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leader{delay: terms.Lease + time.Second}
		told := false
		lease := placement.NewLease(terms, l.renew, func(bool) { told = true })
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		lease.Keep(ctx)
		if told || lease.Holds() {
			t.Error("a lease was taken whose time was over")
		}
	})
}
