package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// round is what callers are to do: operations, one after the other each.
type round struct {
	Callers     int   `json:"callers"`
	Nanoseconds int64 `json:"nanoseconds"`
	// Connections are what the callers share, as etcd's own benchmarks have it.
	Connections int `json:"connections"`
}

// crowd are callers. Connections are kept from one round to the next.
type crowd struct {
	endpoints []string
	clients   []*clientv3.Client
}

func (c *crowd) close() {
	for _, client := range c.clients {
		client.Close() //nolint:errcheck // the process ends
	}
}

// connect makes the connections, each to one node.
func (c *crowd) connect(n int) error {
	for i := len(c.clients); i < n; i++ {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: []string{c.endpoints[i%len(c.endpoints)]}, DialTimeout: 5 * time.Second,
		})
		if err != nil {
			return fmt.Errorf("connecting to %s: %w", c.endpoints[i%len(c.endpoints)], err)
		}
		c.clients = append(c.clients, client)
	}
	return nil
}

// work returns how many nanoseconds each operation took.
func (c *crowd) work(ctx context.Context, r round) ([]int64, error) {
	if err := c.connect(r.Connections); err != nil {
		return nil, err
	}
	var (
		mu    sync.Mutex
		all   []int64
		first error
		wg    sync.WaitGroup
	)
	end := time.Now().Add(time.Duration(r.Nanoseconds))
	for i := range r.Callers {
		wg.Go(func() {
			took, err := operate(ctx, c.clients[i%r.Connections], end)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, first
}

func operate(ctx context.Context, client *clientv3.Client, end time.Time) ([]int64, error) {
	var took []int64
	for time.Now().Before(end) {
		start := time.Now()
		if err := operation(ctx, client); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start).Nanoseconds())
	}
	return took, nil
}

// valueBytes is as large as what Bulkhead writes for a step.
const valueBytes = 300

// operation is four dependent puts: what is wanted and that somebody is on it, and how
// both ended.
func operation(ctx context.Context, client *clientv3.Client) error {
	id := draw(16)
	value := draw(valueBytes / 2)
	for _, key := range []string{"/volumes/" + id, "/operations/" + id, "/volumes/" + id, "/operations/" + id} {
		if _, err := client.Put(ctx, key, value); err != nil {
			return fmt.Errorf("putting %s: %w", key, err)
		}
	}
	return nil
}

// draw returns n random bytes as hexadecimal text.
func draw(n int) string {
	raw := make([]byte, n)
	rand.Read(raw) // never fails (crypto/rand)
	return hex.EncodeToString(raw)
}
