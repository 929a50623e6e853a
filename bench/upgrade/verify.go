package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// verify compares what was promised with what there is.
func (z *zone) verify(ctx context.Context) error {
	if err := z.load.settle(ctx); err != nil {
		return err
	}
	z.checkGuests()
	for i, s := range z.group.Members {
		if s.Died() {
			z.load.find(&z.report.Died, "%s ended by itself", s.Name)
		}
		if err := z.checkDrivers(ctx, i); err != nil {
			return err
		}
	}
	z.endGuests(ctx)
	return z.compareStates(ctx)
}

// checkDrivers looks that all drivers of a node run, and that there are no others.
func (z *zone) checkDrivers(ctx context.Context, i int) error {
	s := z.group.Members[i]
	answer, err := z.group.Client(i).Insist(ctx, http.MethodGet, "/v1/drivers", nil)
	if err != nil {
		return err
	}
	known := server.DriverPIDs(answer, "")
	there, err := s.DriverProcesses()
	if err != nil {
		return err
	}
	slices.Sort(known)
	slices.Sort(there)
	if len(there) == 0 || !slices.Equal(known, there) {
		z.load.find(&z.report.DriversBad, "%s knows the driver processes %v, and there are %v", s.Name, known, there)
	}
	return nil
}

// compareStates stops all nodes where they have applied the same, and compares what
// they have.
func (z *zone) compareStates(ctx context.Context) error {
	var states []map[string][]byte
	for range 5 {
		if err := z.awaitEqual(ctx); err != nil {
			return err
		}
		for _, s := range z.group.Members {
			if err := s.Kill(); err != nil {
				return err
			}
		}
		states = nil
		for _, s := range z.group.Members {
			state, err := read(s.Dir)
			if err != nil {
				return err
			}
			states = append(states, state)
		}
		const applied = "m/applied"
		if bytes.Equal(states[0][applied], states[1][applied]) && bytes.Equal(states[0][applied], states[2][applied]) {
			z.compare(states)
			return nil
		}
		for _, s := range z.group.Members {
			if err := s.Start(); err != nil {
				return err
			}
		}
		if err := z.group.AwaitWell(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("the nodes do not come to rest at the same index")
}

func (z *zone) compare(states []map[string][]byte) {
	for i, other := range states[1:] {
		keys := slices.Collect(maps.Keys(states[0]))
		keys = slices.AppendSeq(keys, maps.Keys(other))
		slices.Sort(keys)
		for _, key := range slices.Compact(keys) {
			a, there := states[0][key]
			b, too := other[key]
			if there != too || !bytes.Equal(a, b) {
				z.load.find(&z.report.Diverged, "%s and %s differ in %q", z.group.Members[0].Name,
					z.group.Members[i+1].Name, key)
			}
		}
	}
}

// read reads all that the node of a data directory has, which does not run.
func read(dir string) (map[string][]byte, error) {
	left, err := server.ReadState(dir)
	if err != nil {
		return nil, err
	}
	defer left.Close() //nolint:errcheck // only read
	all := map[string][]byte{}
	err = left.Store.View(func(r persistence.Reader) error {
		return r.Scan(nil, nil, func(key, value []byte) (bool, error) {
			all[string(key)] = bytes.Clone(value)
			return true, nil
		})
	})
	return all, err
}

// awaitEqual returns when all nodes say that they have applied the same, twice.
func (z *zone) awaitEqual(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	before := uint64(0)
	for ctx.Err() == nil {
		applied, err := z.group.Applied(ctx)
		if err == nil && applied > 0 && applied == before {
			return nil
		}
		before = applied
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
	return fmt.Errorf("waiting until all nodes have applied the same: %w", ctx.Err())
}
