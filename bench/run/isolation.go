package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
)

// What the healthy and the faulty driver are asked to do.
const (
	healthyCallers  = 4
	neighbourRate   = 10 // operations a second on the other driver, faulty or not
	isolationTarget = 1.2
	warmUp          = 3 * time.Second
	calmPatience    = 250 * time.Millisecond
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
// against the same while yet another one works well under the same load. The two
// take turns in pairs of rounds, each first in every other pair, so that whatever
// else happens to the machine happens to both.
func isolation(ctx context.Context, s settings, p *printer) error {
	for _, fault := range faults() {
		if s.fault != "" && s.fault != fault.name {
			continue
		}
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
	if b.well, err = createPool(ctx, b.client, "well", roomyPool(wellProduct, "")); err != nil {
		return err
	}
	if b.faulty, err = createPool(ctx, b.client, "faulty", roomyPool(faultyProduct, rule)); err != nil {
		return err
	}
	_, err = createVolumes(ctx, b.client, b.healthy, healthyCallers, warmUp)
	return err
}

func (b *isolationBench) measure(ctx context.Context, fault string, p *printer) error {
	var pairs []pair
	for i := range b.settings.rounds {
		one, err := b.pair(ctx, i%2 == 1)
		if err != nil {
			return err
		}
		pairs = append(pairs, one)
	}
	calm, wild := pooled(pairs)
	all, of := compare(pairs, pooledRatio), compare(pairs, meanRatio)
	return p.print(map[string]any{
		"bench": "isolation", "fault": fault, "pairs": len(pairs), "operations": len(calm), "operationsDuring": len(wild),
		"p50Ms": millis(quantile(calm, 0.5)), "p50DuringMs": millis(quantile(wild, 0.5)),
		"p99Ms": millis(quantile(calm, 0.99)), "p99DuringMs": millis(quantile(wild, 0.99)),
		"pooledRatio": rounded(all.value), "pooledLow": rounded(all.low), "pooledHigh": rounded(all.high),
		"ratio": rounded(of.value), "ratioLow": rounded(of.low), "ratioHigh": rounded(of.high),
		"target": isolationTarget, "verdict": of.verdict(isolationTarget),
	})
}

// pair measures both, in one order or the other.
func (b *isolationBench) pair(ctx context.Context, wildFirst bool) (p pair, err error) {
	rounds := []struct {
		pool string
		took *[]time.Duration
	}{{b.well, &p.calm}, {b.faulty, &p.wild}}
	if wildFirst {
		slices.Reverse(rounds)
	}
	for _, r := range rounds {
		if *r.took, err = b.round(ctx, r.pool); err != nil {
			return p, err
		}
	}
	return p, nil
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
		n.client.Do(ctx, http.MethodPost, path, client.NewKey(), nil) //nolint:errcheck // it may have ended
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
