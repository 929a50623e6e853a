package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

// What the healthy and the faulty driver are asked to do.
const (
	healthyCallers  = 4
	neighbourRate   = 10 // operations a second on the other driver, faulty or not
	isolationTarget = 1.2
	calmPatience    = 3 * time.Second
)

// faults are the ways a driver goes wrong, in the simulator's language.
func faults() []struct{ name, rule string } {
	return []struct{ name, rule string }{
		{"hang", "call=CreateVolume action=hang"},
		{"crash-loop", "call=CreateVolume action=crash-before-effect"},
		{"log-flood", "call=CreateVolume action=flood-log lines=5000"},
		{"memory-leak", "call=CreateVolume action=leak-memory bytes=33554432"},
	}
}

// isolation measures operations on a healthy driver while another one goes wrong,
// against the same while the other works well: both have the same load, and take
// turns.
func isolation(ctx context.Context, s settings, p *printer) error {
	for _, fault := range faults() {
		err := withServer(ctx, s, func(on subject) error {
			b := &isolationBench{client: on.client, settings: s}
			if err := b.prepare(ctx, fault.rule); err != nil {
				return err
			}
			return b.measure(ctx, fault.name, p)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", fault.name, err)
		}
	}
	return nil
}

type isolationBench struct {
	client                *client.Client
	settings              settings
	healthy, well, faulty string // pools
}

func (b *isolationBench) prepare(ctx context.Context, rule string) (err error) {
	if b.healthy, err = createPool(ctx, b.client, "healthy", roomyPool(simulator, "")); err != nil {
		return err
	}
	if b.well, err = createPool(ctx, b.client, "well", roomyPool(faultyProduct, "")); err != nil {
		return err
	}
	if b.faulty, err = createPool(ctx, b.client, "faulty", roomyPool(faultyProduct, rule)); err != nil {
		return err
	}
	_, err = createVolumes(ctx, b.client, b.healthy, healthyCallers, b.settings.round) // warm
	return err
}

func (b *isolationBench) measure(ctx context.Context, fault string, p *printer) error {
	var before, during []time.Duration
	var ratios []time.Duration
	for range b.settings.rounds {
		calm, err := b.round(ctx, b.well)
		if err != nil {
			return err
		}
		wild, err := b.round(ctx, b.faulty)
		if err != nil {
			return err
		}
		before, during = append(before, calm...), append(during, wild...)
		// Kept as durations of a nominal second so that one function sorts both.
		ratio := float64(quantile(sorted(wild), 0.99)) / float64(quantile(sorted(calm), 0.99))
		ratios = append(ratios, time.Duration(ratio*float64(time.Second)))
	}
	before, during, ratios = sorted(before), sorted(during), sorted(ratios)
	ratio := float64(quantile(during, 0.99)) / float64(quantile(before, 0.99))
	return p.print(map[string]any{
		"bench": "isolation", "fault": fault, "operations": len(before), "operationsDuring": len(during),
		"p50Ms": millis(quantile(before, 0.5)), "p50DuringMs": millis(quantile(during, 0.5)),
		"p99Ms": millis(quantile(before, 0.99)), "p99DuringMs": millis(quantile(during, 0.99)),
		"ratio": rounded(ratio), "medianRatioOfRounds": rounded(quantile(ratios, 0.5).Seconds()),
		"target": isolationTarget, "met": ratio <= isolationTarget,
	})
}

// round measures the healthy driver while the other one is asked for volumes in a
// pool.
func (b *isolationBench) round(ctx context.Context, pool string) ([]time.Duration, error) {
	n := &neighbour{client: b.client, pool: pool}
	asking, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { n.run(asking) })
	took, err := createVolumes(ctx, b.client, b.healthy, healthyCallers, b.settings.round)
	stop()
	wg.Wait()
	if err != nil {
		return nil, err
	}
	return took, n.calm(ctx)
}

// neighbour asks the other driver for volumes at a steady rate, whatever becomes
// of them.
type neighbour struct {
	client *client.Client
	pool   string
	asked  []string // operations
}

func (n *neighbour) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / neighbourRate)
	defer tick.Stop()
	body := map[string]any{"spec": map[string]any{"sizeBytes": 1 << 20, "poolId": n.pool}}
	for {
		answer, err := n.client.Do(ctx, http.MethodPost, "/v1/volumes", client.NewKey(), body)
		if err == nil && answer.Status == http.StatusAccepted {
			n.asked = append(n.asked, answer.Text("id"))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// calm stops what is still under way, so that the next round begins alike.
func (n *neighbour) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, calmPatience)
	defer cancel()
	for _, id := range n.asked {
		path := "/v1/operations/" + id + "/actions/cancel"
		n.client.Do(ctx, http.MethodPost, path, client.NewKey(), map[string]any{}) //nolint:errcheck // it may have ended
	}
	for _, id := range n.asked {
		_, err := n.client.Do(ctx, http.MethodGet, "/v1/operations/"+id+"?wait=5s", "", nil)
		if ctx.Err() != nil {
			return nil // what is left waits for its next try, or for its call to end
		}
		if err != nil {
			return err
		}
	}
	return nil
}
