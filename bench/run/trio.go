package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// trio is three nodes of Bulkhead, each with a pool of the simulator. The callers are
// in this process, each with one node, and create volumes in all pools.
type trio struct {
	group    *server.Group
	clients  []*client.Client
	pools    []string
	profiles string
	rounds   int
}

func startTrio(ctx context.Context, s settings, dir string) (t *trio, err error) {
	group, err := server.NewGroup(ctx, dir, server.Loopback(trioNodes))
	t = &trio{group: group, profiles: s.profiles}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.end())
		}
	}()
	if err != nil {
		return t, err
	}
	for i, member := range group.Members {
		t.clients = append(t.clients, group.Client(i))
		spec := roomyPool(simulator, "")
		spec["node"] = member.Name
		pool, err := createPool(ctx, t.clients[i], "pool-"+member.Name, spec)
		if err != nil {
			return t, err
		}
		t.pools = append(t.pools, pool)
	}
	return t, nil
}

func (t *trio) round(ctx context.Context, callers int, duration time.Duration) ([]time.Duration, error) {
	var (
		mu    sync.Mutex
		all   []time.Duration
		first error
		wg    sync.WaitGroup
	)
	t.rounds++
	profiled := t.profile(ctx, duration, callers)
	end := time.Now().Add(duration)
	for i := range callers {
		wg.Go(func() {
			took, err := createUntil(ctx, t.clients[i%trioNodes], t.pools[i/trioNodes%trioNodes], end)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return all, errors.Join(first, profiled())
}

// profile takes profiles of all nodes, if they are wanted, until the function that it
// returns has returned.
func (t *trio) profile(ctx context.Context, long time.Duration, callers int) func() error {
	if t.profiles == "" {
		return func() error { return nil }
	}
	leader := t.group.Leader(ctx)
	errs := make([]error, trioNodes)
	var wg sync.WaitGroup
	for i, member := range t.group.Members {
		name := fmt.Sprintf("three-%d-%d-%s", callers, t.rounds, member.Name)
		if member == leader {
			name += "-leader"
		}
		wg.Go(func() {
			data, err := member.Probe(ctx, fmt.Sprintf("/cpu?seconds=%f", long.Seconds()))
			if err == nil {
				err = os.WriteFile(filepath.Join(t.profiles, name+".cpu"), data, 0o600)
			}
			errs[i] = err
		})
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

func (t *trio) used() (u spent, err error) {
	for _, member := range t.group.Members {
		took, err := cpuTime(member.PID())
		if err != nil {
			return u, err
		}
		u.servers += took
		drivers, err := member.DriverProcesses()
		if err != nil {
			return u, err
		}
		if took, err = cpuTime(drivers...); err != nil {
			return u, err
		}
		u.drivers += took
	}
	u.callers, err = cpuTime(os.Getpid())
	return u, err
}

func (t *trio) end() error { return t.group.End() }
