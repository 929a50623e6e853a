package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/keyvalue"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// keyValueTrio is three nodes of the log and the store alone. Their callers are in their processes, as the actors of a
// node are, so that what these take counts as what servers take.
type keyValueTrio struct{ *keyvalue.Trio }

func startKeyValue(ctx context.Context, dir string) (keyValueTrio, error) {
	var hosts []string
	for _, place := range server.Loopback(trioNodes) {
		hosts = append(hosts, place.Host)
	}
	t, err := keyvalue.Start(ctx, filepath.Join(dir, "keyvalue"), hosts)
	return keyValueTrio{t}, err
}

func (t keyValueTrio) round(ctx context.Context, callers int, duration time.Duration) ([]time.Duration, error) {
	return t.Round(ctx, callers, duration)
}

func (t keyValueTrio) used() (u spent, err error) {
	u.servers, err = cpuTime(t.PIDs()...)
	return u, err
}

func (t keyValueTrio) end() error { return t.End() }
