package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// killer kills the server and its drivers at random moments until ctx ends or it
// killed enough.
type killer struct {
	server  *server.Server
	client  *client.Client
	random  *rand.Rand
	limit   int
	kills   int
	between time.Duration // kills, on average
}

func (k *killer) run(ctx context.Context) error {
	for k.limit == 0 || k.kills < k.limit {
		pause := k.between/4 + time.Duration(k.random.Int64N(int64(k.between*3/2)))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := k.once(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (k *killer) once(ctx context.Context) error {
	what := k.random.IntN(4)
	if what != 0 {
		k.killDriver(ctx)
	}
	if what == 1 || what == 2 {
		return nil // a driver alone
	}
	if err := k.server.Kill(); err != nil {
		return err
	}
	k.kills++
	return k.server.Start()
}

// killDriver kills one driver process, if the server can be asked for one.
func (k *killer) killDriver(ctx context.Context) {
	answer, err := k.client.Do(ctx, http.MethodGet, "/v1/drivers", "", nil)
	if err != nil || answer.Status != http.StatusOK {
		return
	}
	pids := server.DriverPIDs(answer, "")
	if len(pids) == 0 {
		return
	}
	pid := pids[k.random.IntN(len(pids))]
	if server.KillDriver(pid) == nil {
		k.kills++
	}
}
