package placement

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Terms are the times that leases go by.
type Terms struct {
	// Lease is how long a node may act after it asked the leader to renew.
	Lease time.Duration
	// Margin is how much longer than that the leader waits, for clocks that do not run alike.
	Margin time.Duration
}

// Over is how long the leader must not have heard from a node for its lease to be over.
func (t Terms) Over() time.Duration { return t.Lease + t.Margin }

// Lease is this node's own. It ends by itself unless it is renewed: Lease after the moment at which the renewal was
// asked for, not that of the answer, so that it ends before the leader takes it to be over.
type Lease struct {
	terms Terms
	// renew asks the leader, and returns when it did. It returns when the leader, and any to come, knows of it.
	renew func(ctx context.Context) (asked time.Time, err error)
	// held is told when the lease begins and ends, in order. It must be quick.
	held func(bool)

	until atomic.Pointer[time.Time] // nil while it was never held, and after it was given up

	mu    sync.Mutex // of who changes it, and while held is told
	timer *time.Timer
	holds bool
	ended bool
}

// NewLease makes a lease that is not held yet.
func NewLease(terms Terms, renew func(context.Context) (time.Time, error), held func(bool)) *Lease {
	return &Lease{terms: terms, renew: renew, held: held}
}

// Holds reports whether the lease lasts, by the clock. It never waits: whoever is told of the lease may ask.
func (l *Lease) Holds() bool {
	until := l.until.Load()
	return until != nil && time.Now().Before(*until)
}

// Keep renews the lease, four times in its term, until ctx ends; then it is given up.
func (l *Lease) Keep(ctx context.Context) {
	defer l.end()
	every := l.terms.Lease / 4
	for ctx.Err() == nil {
		began := time.Now()
		asking, cancel := context.WithTimeout(ctx, l.terms.Lease)
		asked, err := l.renew(asking)
		cancel()
		if err == nil {
			l.extend(asked)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every - time.Since(began)):
		}
	}
}

func (l *Lease) extend(asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := asked.Add(l.terms.Lease)
	left := time.Until(until)
	had := l.until.Load()
	if left <= 0 || had != nil && !until.After(*had) || l.ended {
		return
	}
	l.until.Store(&until)
	if l.timer == nil {
		l.timer = time.AfterFunc(left, l.lapse)
	} else {
		l.timer.Reset(left)
	}
	l.set(true)
}

// lapse is called when the lease may be over.
func (l *Lease) lapse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := l.until.Load(); until != nil && time.Until(*until) > 0 {
		l.timer.Reset(time.Until(*until)) // it was renewed while this waited
		return
	}
	l.set(false)
}

func (l *Lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.until.Store(nil)
	if l.timer != nil {
		l.timer.Stop()
	}
	l.set(false)
}

// set tells of a change. The caller holds mu, so that it is told in order.
func (l *Lease) set(holds bool) {
	if l.holds == holds {
		return
	}
	l.holds = holds
	l.held(holds)
}
