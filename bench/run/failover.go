package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

const (
	// failoverRate is how many volumes a second are asked for while nodes are killed.
	failoverRate = 100
	// afterKill is how long writes are watched after each kill, with the killed node away.
	afterKill = 3 * time.Second
	// calm is how long the group is whole before the next kill.
	calm = 2 * time.Second
)

// failover measures for how long nobody's write is acknowledged when the node that
// leads is killed.
func failover(ctx context.Context, s settings, p *printer) error {
	return withGroup(ctx, s, func(g *server.Group) error {
		pool, err := createPool(ctx, g.Client(0), "bench", roomyPool(simulator, ""))
		if err != nil {
			return err
		}
		writing, stop := context.WithCancel(ctx)
		acks := &acknowledged{}
		var writers sync.WaitGroup
		for i := range failoverRate / 10 {
			writers.Go(func() { acks.write(writing, g.Client(i%len(g.Members)), pool, i) })
		}
		gaps, err := killLeaders(ctx, g, acks, s.kills)
		stop()
		writers.Wait()
		if err != nil {
			return err
		}
		return p.print(map[string]any{
			"bench": "failover", "nodes": len(g.Members), "kills": len(gaps), "acknowledged": len(acks.times),
			"gap_ms": map[string]any{
				"p50": millis(gaps[len(gaps)/2]), "min": millis(gaps[0]), "max": millis(gaps[len(gaps)-1]),
			},
			"goal": "p50 <= 700 ms, max <= 2000 ms",
			"met":  gaps[len(gaps)/2] <= 700*time.Millisecond && gaps[len(gaps)-1] <= 2*time.Second,
		})
	})
}

// killLeaders kills whoever leads, again and again, and returns the gaps, ascending.
func killLeaders(ctx context.Context, g *server.Group, acks *acknowledged, kills int) ([]time.Duration, error) {
	var gaps []time.Duration
	for range kills {
		if err := pause(ctx, calm); err != nil {
			return nil, err
		}
		leader := g.Leader(ctx)
		if leader == nil {
			return nil, errors.New("nobody leads")
		}
		at := time.Now()
		if err := leader.Kill(); err != nil {
			return nil, err
		}
		if err := pause(ctx, afterKill); err != nil {
			return nil, err
		}
		gaps = append(gaps, acks.gapSince(at))
		if err := leader.Start(); err != nil {
			return nil, err
		}
		if err := g.AwaitWell(ctx); err != nil {
			return nil, err
		}
	}
	slices.Sort(gaps)
	return gaps, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("measuring: %w", ctx.Err())
	case <-time.After(d):
		return nil
	}
}

// acknowledged is when writes were.
type acknowledged struct {
	mu    sync.Mutex
	times []time.Time
}

// write asks for a volume ten times a second, wherever a node answers.
func (a *acknowledged) write(ctx context.Context, c *client.Client, pool string, writer int) {
	due := time.NewTicker(time.Second / 10)
	defer due.Stop()
	for i := 0; ; i++ {
		answer, err := c.Insist(ctx, http.MethodPost, "/v1/volumes", map[string]any{
			"name": fmt.Sprintf("v-%d-%d", writer, i), "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 20},
		})
		if err == nil && answer.Status/100 == 2 {
			a.mu.Lock()
			a.times = append(a.times, time.Now())
			a.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
	}
}

// gapSince is the longest time without an acknowledgement since a moment, to now.
func (a *acknowledged) gapSince(at time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.SortFunc(a.times, time.Time.Compare)
	gap, last := time.Duration(0), at
	for _, t := range a.times {
		if t.After(at) {
			gap, last = max(gap, t.Sub(last)), t
		}
	}
	return max(gap, time.Since(last))
}

// elections measures how often the lead changes hands under full load, which it should not.
func elections(ctx context.Context, s settings, p *printer) error {
	return withGroup(ctx, s, func(g *server.Group) error {
		pool, err := createPool(ctx, g.Client(0), "bench", roomyPool(simulator, ""))
		if err != nil {
			return err
		}
		before, err := elected(g)
		if err != nil {
			return err
		}
		var took []time.Duration
		var mu sync.Mutex
		var errs []error
		var load sync.WaitGroup
		for i := range g.Members {
			load.Go(func() {
				one, err := createVolumes(ctx, g.Client(i), pool, fullLoad/len(g.Members), s.load)
				mu.Lock()
				defer mu.Unlock()
				took, errs = append(took, one...), append(errs, err)
			})
		}
		load.Wait()
		after, err := elected(g)
		if err = errors.Join(append(errs, err)...); err != nil {
			return err
		}
		return p.print(map[string]any{
			"bench": "elections", "nodes": len(g.Members), "callers": fullLoad, "seconds": s.load.Seconds(),
			"operations": len(took), "elections": after - before, "goal": 0, "met": after == before,
		})
	})
}

// fullLoad is callers enough to keep all processors busy.
const fullLoad = 66

// elected counts how often a node of a group came to lead, by what the nodes say in their logs.
func elected(g *server.Group) (int, error) {
	n := 0
	for _, s := range g.Members {
		log, err := os.ReadFile(filepath.Join(s.Dir, "server.log"))
		if err != nil {
			return 0, fmt.Errorf("reading the log of %s: %w", s.Name, err)
		}
		n += bytes.Count(log, []byte(`msg="node leads"`))
	}
	return n, nil
}

// withGroup starts three nodes of one zone, and ends them.
func withGroup(ctx context.Context, s settings, measure func(*server.Group) error) (err error) {
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-bench-")
	if err != nil {
		return fmt.Errorf("making a data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // drivers run as users of their own
		return fmt.Errorf("opening the data directory: %w", err)
	}
	g, err := server.NewGroup(ctx, dir, server.Loopback(3))
	defer func() {
		err = errors.Join(err, g.End())
		if s.keep || err != nil {
			fmt.Fprintln(os.Stderr, "bench: kept", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if err != nil {
		return err
	}
	return measure(g)
}
