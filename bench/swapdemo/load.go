package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

const (
	// endPatience is how long an operation may take before it counts as lost.
	endPatience = 2 * time.Minute
	// oftener is how much more often than others those are worked on that are moved first: so that a bad version is asked
	// to act while it has nothing but them.
	oftener = 4
)

// load is callers that ask for operations at a steady rate, whatever became of those before. Which they ask for, and on
// what, is always the same.
type load struct {
	*demo
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	turn    int
	volumes []*volume // that no guest has
	last    error
}

type volume struct {
	id    string
	bytes uint64
}

// act is something a caller does: it is asked for as so many operations.
type act struct {
	operations int
	do         func(context.Context)
}

func startLoad(ctx context.Context, d *demo) *load {
	asking, cancel := context.WithCancel(ctx)
	l := &load{demo: d, cancel: cancel}
	grow, pause := act{2, l.onGuest(l.grow)}, act{2, l.onGuest(l.pause)}
	cycle := []act{
		grow,
		{2, l.create},
		grow, pause, grow,
		{3, l.onGuest(l.snapshot)},
		grow,
		{2, l.create},
		grow, pause, grow,
		{2, l.remove},
	}
	l.done.Go(func() { l.run(ctx, asking, cycle) })
	return l
}

func (l *load) run(ctx, asking context.Context, cycle []act) {
	next := time.Now()
	for i := 0; ; i++ {
		a := cycle[i%len(cycle)]
		l.done.Go(func() { a.do(ctx) })
		next = next.Add(time.Duration(float64(a.operations) * float64(time.Second) / l.rate))
		select {
		case <-asking.Done():
			return
		case <-time.After(time.Until(next)):
		}
	}
}

// stop returns once all that was asked for has ended.
func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// kept is how large the volumes are that no guest has.
func (l *load) kept() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	sizes := map[string]uint64{}
	for _, v := range l.volumes {
		sizes[v.id] = v.bytes
	}
	return sizes
}

// onGuest has a guest worked on by one caller at a time. If all are being worked on, nothing is done.
func (l *load) onGuest(do func(context.Context, *guest)) func(context.Context) {
	return func(ctx context.Context) {
		g := l.take()
		if g == nil {
			return
		}
		defer func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			g.busy = false
		}()
		do(ctx, g)
	}
}

func (l *load) take() *guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	first := canaries + l.turn%(len(l.guests)-canaries)
	if l.turn%oftener == 0 {
		first = l.turn / oftener % canaries
	}
	for i := range l.guests {
		if g := l.guests[(first+i)%len(l.guests)]; !g.busy {
			g.busy = true
			return g
		}
	}
	return nil
}

// asked is an operation that was accepted.
type asked struct {
	id, what, target string
	at               time.Time
}

// ask asks for an operation; nil if it was not accepted.
func (l *load) ask(ctx context.Context, method, path string, body any) *asked {
	at := time.Now()
	answer, err := l.client.Insist(ctx, method, path, body)
	if err != nil || answer.Status != http.StatusAccepted {
		if ctx.Err() == nil {
			l.fail(&l.report.Failed, "%s %s: %d %v %v", method, path, answer.Status, answer.Body, err)
		}
		return nil
	}
	l.report.accepted()
	return &asked{id: answer.Text("id"), what: method + " " + path, target: targetOf(answer), at: at}
}

func (l *load) fail(count *int, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	l.mu.Lock()
	l.last = errors.New(why)
	l.mu.Unlock()
	l.report.find(count, "%s", why)
}

// end waits until an operation has ended, and reports whether it succeeded.
func (l *load) end(ctx context.Context, op *asked) (client.Answer, bool) {
	if op == nil {
		return client.Answer{}, false
	}
	waiting, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	for {
		answer, err := l.client.Insist(waiting, http.MethodGet, "/v1/operations/"+op.id+"?wait=30s", nil)
		switch phase := answer.Text("phase"); {
		case ctx.Err() != nil:
			return answer, false
		case err != nil:
			l.fail(&l.report.Lost, "%s: operation %s: %v", op.what, op.id, err)
			return answer, false
		case phase == "succeeded":
			l.report.ended(time.Since(op.at))
			return answer, true
		case phase == "failed" || phase == "cancelled" || phase == "stuck":
			l.fail(&l.report.Failed, "%s: operation %s: %s %v", op.what, op.id, phase, answer.Body["error"])
			return answer, false
		}
	}
}

// both waits for two operations on one resource that were asked for one after the other, without waiting in between,
// and looks that they were carried out in that order.
func (l *load) both(ctx context.Context, first, second *asked) bool {
	one, fine := l.end(ctx, first)
	other, too := l.end(ctx, second)
	if !fine || !too {
		return false
	}
	ended, err := time.Parse(time.RFC3339Nano, one.Text("endedAt"))
	began, err2 := time.Parse(time.RFC3339Nano, other.Text("startedAt"))
	if err = errors.Join(err, err2); err != nil || began.Before(ended) {
		l.fail(&l.report.Reordered, "operation %s ended at %s, and %s behind it began at %s (%v)", first.id,
			one.Text("endedAt"), second.id, other.Text("startedAt"), err)
		return false
	}
	return true
}
