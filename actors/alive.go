package actors

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// aliveTimeout bounds one question whether a host answers.
	aliveTimeout = 10 * time.Second
	// silentLooks is how often a host must not answer before it is suspected.
	silentLooks = 2
)

// alive looks whether hosts answer. What it knows is a cache: what is news is written
// down in the turn of the host's own actor.
type alive struct {
	system *System

	mu     sync.Mutex
	silent map[string]int // looks in a row, by the host's id
}

func newAlive(s *System) *alive { return &alive{system: s, silent: map[string]int{}} }

// look asks whether a host answers, if this node acts for it; else it is taken to.
func (a *alive) look(h *resources.Host) (answers bool) {
	if !a.system.actsFor(h.Ref()) {
		return true
	}
	why := a.ask(h)
	switch {
	case why == nil:
		a.count(h, 0)
		return true
	case !operations.Silent(why):
		return false
	case a.count(h, 1) >= silentLooks && h.Status.Suspicion == nil:
		a.note(h, why, 0)
	}
	return false
}

func (a *alive) count(h *resources.Host, more int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if more == 0 {
		delete(a.silent, h.ID)
		return 0
	}
	a.silent[h.ID] += more
	return a.silent[h.ID]
}

func (a *alive) ask(h *resources.Host) error {
	ctx, cancel := context.WithTimeout(a.system.base, aliveTimeout)
	defer cancel()
	conn, call, err := a.system.askHost(ctx, h)
	if err != nil {
		return err
	}
	_, err = driverpb.NewHypervisorClient(conn).StatHost(ctx, &driverpb.HostCallRequest{Call: call})
	return err
}

// note has what is news of a host written down.
func (a *alive) note(h *resources.Host, why error, left int) {
	ref := h.Ref()
	a.system.send(ref, &care{name: ref.String(), do: func(_ context.Context, c *operations.Context) error {
		return operations.LookAtHost(c, why, left)
	}})
}

// returned has what runs on a host that answers again, and should not any more, ended by
// those who act for it, and then lets the host be ready.
func (a *alive) returned(h *resources.Host, states map[string]string) {
	var stale []resources.Ref
	err := a.system.config.State.View(func(v *persistence.View) (err error) {
		stale, err = operations.Stale(v, h.ID, slices.Sorted(maps.Keys(states)))
		return err
	})
	if err != nil {
		a.system.config.Logger.Warn("reading what was on a host failed", slog.String("host", h.ID), slog.Any("error", err))
		return
	}
	for _, ref := range stale {
		a.system.send(ref, &care{name: ref.String(), do: func(ctx context.Context, c *operations.Context) error {
			return operations.EndStale(ctx, c, h.ID)
		}})
	}
	if a.system.actsFor(h.Ref()) {
		a.note(h, nil, len(stale))
	}
}
