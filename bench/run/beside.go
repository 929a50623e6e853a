package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// contender is a cluster of three nodes on this machine that does durable operations.
type contender interface {
	// round lets callers do operations, one after the other each, and returns how long
	// each took.
	round(ctx context.Context, callers int, duration time.Duration) ([]time.Duration, error)
	// used is the processor time of all its processes so far.
	used() (spent, error)
	end() error
}

// spent is processor time.
type spent struct{ servers, drivers, callers time.Duration }

// lap is what a contender did in one round.
type lap struct {
	rate, p50, p99            float64 // operations a second, ms
	servers, drivers, callers float64 // processor ms of an operation
	operations                int
}

// besideEtcd measures whole operations on three nodes of Bulkhead beside four puts of etcd.
func besideEtcd(ctx context.Context, s settings, p *printer) error {
	c := contest{name: "three-nodes", settings: s, printer: p}
	return c.hold(ctx, "bulkhead", func(dir string) (contender, error) { return startTrio(ctx, s, dir) })
}

// keyValues measures the same work on both sides: four puts on three nodes of the log and the store that a zone's state
// stands on, and on three of etcd.
func keyValues(ctx context.Context, s settings, p *printer) error {
	c := contest{name: "key-values", settings: s, printer: p}
	return c.hold(ctx, "log-and-store", func(dir string) (contender, error) { return startKeyValue(ctx, dir) })
}

// contest measures durable operations on three nodes of ours, and on three of etcd if there is one, round by round in
// turns.
type contest struct {
	name string
	settings
	*printer
	entrants []entrant
}

// entrant is a contender with its name.
type entrant struct {
	name string
	contender
}

func (c *contest) hold(ctx context.Context, name string, start func(dir string) (contender, error)) (err error) {
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-bench-")
	if err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("opening the data directory: %w", err)
	}
	defer func() {
		for _, e := range c.entrants {
			err = errors.Join(err, e.end())
		}
	}()
	ours, err := start(dir)
	if err != nil {
		return err
	}
	c.entrants = append(c.entrants, entrant{name, ours})
	if c.etcd != "" { // a program that the product does not come with
		theirs, err := startEtcd(ctx, c.etcd, dir)
		if err != nil {
			return err
		}
		c.entrants = append(c.entrants, entrant{"etcd", theirs})
	}
	if err := pause(ctx, c.settle); err != nil {
		return err
	}
	for _, callers := range append([]int{c.besideCallers[0]}, c.besideCallers...) {
		if err := c.compete(ctx, callers); err != nil {
			return err
		}
	}
	return nil
}

// compete has all do as many rounds, each first in its turn. The first round of each is
// thrown away.
func (c *contest) compete(ctx context.Context, callers int) error {
	laps := make([][]lap, len(c.entrants))
	for round := range c.besideRounds + 1 {
		for i := range c.entrants {
			who := (i + round) % len(c.entrants)
			l, err := measureLap(ctx, c.entrants[who], callers, c.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", c.entrants[who].name, err)
			}
			if round > 0 {
				laps[who] = append(laps[who], l)
			}
			if err := pause(ctx, c.duration/10); err != nil { // what is written behind is written
				return err
			}
		}
	}
	for i, e := range c.entrants {
		if err := c.reportLaps(callers, e.name, laps[i]); err != nil {
			return err
		}
	}
	if len(c.entrants) < 2 {
		return nil
	}
	return c.reportRatio(callers, laps[0], laps[1])
}

func measureLap(ctx context.Context, who contender, callers int, duration time.Duration) (lap, error) {
	before, err := who.used()
	if err != nil {
		return lap{}, err
	}
	start := time.Now()
	took, err := who.round(ctx, callers, duration)
	elapsed := time.Since(start)
	if err != nil {
		return lap{}, err
	}
	after, err := who.used()
	if err != nil {
		return lap{}, err
	}
	if len(took) == 0 {
		return lap{}, errors.New("no operation ended in time")
	}
	n := float64(len(took))
	took = sorted(took)
	return lap{
		rate: n / elapsed.Seconds(), p50: millis(quantile(took, 0.5)), p99: millis(quantile(took, 0.99)),
		servers: millis(after.servers-before.servers) / n, drivers: millis(after.drivers-before.drivers) / n,
		callers: millis(after.callers-before.callers) / n, operations: len(took),
	}, nil
}

func (c *contest) reportLaps(callers int, name string, laps []lap) error {
	operations := 0
	for _, l := range laps {
		operations += l.operations
	}
	return c.print(map[string]any{
		"bench": c.name, "of": name, "callers": callers, "rounds": len(laps), "operations": operations,
		"opsPerSecond":      spread(laps, func(l lap) float64 { return l.rate }),
		"p50Ms":             spread(laps, func(l lap) float64 { return l.p50 }),
		"p99Ms":             spread(laps, func(l lap) float64 { return l.p99 }),
		"serversCpuMsPerOp": spread(laps, func(l lap) float64 { return l.servers }),
		"driversCpuMsPerOp": spread(laps, func(l lap) float64 { return l.drivers }),
		"callersCpuMsPerOp": spread(laps, func(l lap) float64 { return l.callers }),
	})
}

func (c *contest) reportRatio(callers int, ours, theirs []lap) error {
	rate := against(ours, theirs, func(l lap) float64 { return l.rate })
	p99 := against(ours, theirs, func(l lap) float64 { return l.p99 })
	cpu := against(ours, theirs, func(l lap) float64 { return l.servers })
	all := against(ours, theirs, func(l lap) float64 { return l.servers + l.drivers })
	const target = 3
	return c.print(map[string]any{
		"bench": c.name + "-ratio", "callers": callers, "opsPerSecond": rate, "p99": p99,
		"serversCpu": cpu, "serversAndDriversCpu": all, "target": target,
		"met": rate[0] >= target && p99[0] <= 1 && all[0] < 1,
	})
}

// against is the ratio of each round to the other's of the same round, spread.
func against(ours, theirs []lap, figure func(lap) float64) []float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = figure(ours[i]) / max(figure(theirs[i]), 1e-9)
	}
	return middle(ratios)
}

// spread is median, lowest and highest of the rounds.
func spread(laps []lap, figure func(lap) float64) []float64 {
	values := make([]float64, len(laps))
	for i, l := range laps {
		values[i] = figure(l)
	}
	return middle(values)
}

func middle(values []float64) []float64 {
	slices.SortFunc(values, cmp.Compare)
	n := len(values)
	median := (values[(n-1)/2] + values[n/2]) / 2
	return []float64{rounded(median), rounded(values[0]), rounded(values[n-1])}
}
