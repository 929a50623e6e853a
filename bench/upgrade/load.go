package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

const (
	// tryTime is how long a caller waits for an answer before it asks another node, and
	// betweenTries until it does.
	tryTime      = 20 * time.Second
	betweenTries = 250 * time.Millisecond
	// thinkTime is how long a caller rests between two requests.
	thinkTime   = 20 * time.Millisecond
	mostStock   = 12
	mostReports = 8
)

// load is what callers do, and what they noticed.
type load struct {
	urls  []string
	token string
	pools []string

	mu       sync.Mutex
	report   *report
	accepted []string // operations
	last     time.Time
}

// find notes what must not be.
func (l *load) find(count *int, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if count != nil {
		*count++
	}
	if len(l.report.Findings) < mostReports || count == nil {
		l.report.Findings = append(l.report.Findings, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// caller works with one node first, and with another one if that does not answer.
type caller struct {
	*load
	node   int
	random *rand.Rand
	https  []*client.Client
	own    []string // volumes
}

func (l *load) caller(i int, seed uint64) *caller {
	c := &caller{load: l, node: i % len(l.urls), random: rand.New(rand.NewPCG(seed, uint64(i+1)))}
	for _, url := range l.urls {
		c.https = append(c.https, client.New(url, l.token))
	}
	return c
}

// run works until ctx ends; a request that was begun is finished.
func (c *caller) run(ctx context.Context) {
	unbroken := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		switch n := c.random.IntN(10); {
		case len(c.own) > mostStock || n < 2 && len(c.own) > 0:
			c.remove(unbroken)
		case n < 5:
			c.create(unbroken)
		case n < 8 && len(c.own) > 0:
			c.ask(unbroken, http.MethodGet, "/v1/volumes/"+c.own[c.random.IntN(len(c.own))], nil)
		default:
			c.ask(unbroken, http.MethodGet, "/v1/volumes?pageSize=20", nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(thinkTime):
		}
	}
}

func (c *caller) create(ctx context.Context) {
	pool := c.pools[c.random.IntN(len(c.pools))]
	answer, ok := c.ask(ctx, http.MethodPost, "/v1/volumes", map[string]any{
		"spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30},
	})
	if !ok {
		return
	}
	c.accept(answer)
	c.own = append(c.own, fmt.Sprint(answer.Part("target")["id"]))
	if c.random.IntN(2) == 0 {
		c.ask(ctx, http.MethodGet, "/v1/operations/"+answer.Text("id")+"?wait=2s", nil)
	}
}

func (c *caller) remove(ctx context.Context) {
	i := c.random.IntN(len(c.own))
	id := c.own[i]
	c.own = append(c.own[:i], c.own[i+1:]...)
	if answer, ok := c.ask(ctx, http.MethodDelete, "/v1/volumes/"+id, nil); ok {
		c.accept(answer)
	}
}

func (l *load) accept(a client.Answer) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = append(l.accepted, a.Text("id"))
	if !l.last.IsZero() {
		l.report.Gap = max(l.report.Gap, now.Sub(l.last).Milliseconds())
	}
	l.last = now
}

// ask sends a request, and once more to another node if it is not answered as it
// should be.
func (c *caller) ask(ctx context.Context, method, path string, body any) (client.Answer, bool) {
	key, began := client.NewKey(), time.Now()
	answer, err := c.once(ctx, c.node, method, path, key, body)
	retried := !fine(answer, err)
	first, failed := answer, err
	if retried {
		time.Sleep(betweenTries) // a client's, and no waiting for anything
		answer, err = c.once(ctx, (c.node+1)%len(c.https), method, path, key, body)
	}
	c.mu.Lock()
	c.report.Requests++
	if retried {
		c.report.Retried++
	}
	c.report.Slowest = max(c.report.Slowest, time.Since(began).Milliseconds())
	c.mu.Unlock()
	if fine(answer, err) {
		return answer, true
	}
	c.find(&c.report.Failed, "%s %s: %d %v %v; before: %d %v %v", method, path, answer.Status, answer.Body, err,
		first.Status, first.Body, failed)
	return answer, false
}

func (c *caller) once(ctx context.Context, node int, method, path, key string, body any) (client.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	return c.https[node].Do(ctx, method, path, key, body)
}

func fine(a client.Answer, err error) bool { return err == nil && a.Status < http.StatusBadRequest }

// settle waits until all that was accepted has ended, and counts what did not succeed.
func (l *load) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c := client.New(l.urls[0], l.token)
	l.report.Operations = len(l.accepted)
	for _, id := range l.accepted {
		phase := ""
		for phase = "queued"; phase == "queued" || phase == "running"; {
			answer, err := c.Insist(ctx, http.MethodGet, "/v1/operations/"+id+"?wait=10s", nil)
			if err != nil {
				return fmt.Errorf("waiting for operation %s, which is %s: %w", id, phase, err)
			}
			phase = answer.Text("phase")
		}
		if phase != "succeeded" {
			l.find(&l.report.Lost, "operation %s is %s", id, phase)
		}
	}
	return nil
}
