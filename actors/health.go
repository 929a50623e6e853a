package actors

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	healthTick = time.Second
	careEvery  = time.Minute
	// healthPage is how many resources are looked at in a tick: with more than sixty
	// times as many a round takes longer than a minute.
	healthPage = 100
	// healthPause lies between two, so that a page is done within a tick: all at once they would take the processors from
	// everybody else for tens of milliseconds, each second.
	healthPause = 6 * time.Millisecond
	// The wait between two attempts to repair a resource doubles up to the longest.
	firstRepair   = 2 * time.Second
	longestRepair = 5 * time.Minute
)

// Care is what became of a look at a resource's health.
type Care string

// The sorts of news. Nothing is said of a resource that stays as it is.
const (
	CareDegraded Care = "degraded" // it was well and no longer is
	CareRepaired Care = "repaired" // it is well again
	CareFailed   Care = "failed"   // an attempt to repair it did not help
)

// health looks at all resources that drivers have, a few at a time, and has those
// that are ill repaired: soon at first, then ever more rarely. What it knows is a
// cache; each look and repair runs in the turn of the resource's own actor.
type health struct {
	system *System

	mu      sync.Mutex
	ill     map[resources.Ref]*illness
	started map[operations.Started]bool // since the last round
	soon    bool                        // another round is to begin
}

type illness struct {
	attempts int
	due      time.Time
}

// round is where the walk over the resources stands.
type round struct {
	began   time.Time
	kinds   []resources.Kind // that are left; the first is being read
	after   string
	started map[operations.Started]bool
}

func newHealth(s *System) *health {
	return &health{system: s, ill: map[resources.Ref]*illness{}, started: map[operations.Started]bool{}}
}

// restarted makes the next round begin soon, in which a version adopts all that it serves there.
func (h *health) restarted(one operations.Started) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started[one] = true
	h.soon = true
}

// hasten makes the next round begin soon, and has the next look at those that are ill
// be now.
func (h *health) hasten() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.soon = true
	for _, i := range h.ill {
		i.due = h.system.engine.Now()
	}
}

// run goes on until the node stops.
func (h *health) run() {
	tick := time.NewTicker(healthTick)
	defer tick.Stop()
	r := round{began: time.Now()}
	for {
		select {
		case <-h.system.base.Done():
			return
		case now := <-tick.C:
			h.repair(now)
			h.goOn(&r, now)
		}
	}
}

// goOn looks at the next few resources of a round, or begins another when it is
// time to.
func (h *health) goOn(r *round, now time.Time) {
	if len(r.kinds) == 0 {
		started, soon := h.takeStarted()
		if !soon && now.Sub(r.began) < h.system.config.CareEvery {
			return
		}
		*r = round{began: now, kinds: operations.Tended(), started: started}
	}
	room := healthPage
	for room > 0 && len(r.kinds) > 0 {
		page, err := h.page(r, room)
		if err != nil {
			h.system.config.Logger.Warn("reading resources failed", slog.Any("error", err))
			return
		}
		room -= page.read
		if r.after = page.next; page.next == "" {
			r.kinds = r.kinds[1:]
		}
		if !h.tendAll(page.bound, r.started) {
			return
		}
	}
}

// tendAll has those looked at that are not ill, one after the other. It answers whether the node goes on.
func (h *health) tendAll(refs []resources.Ref, started map[operations.Started]bool) bool {
	for _, ref := range refs {
		if h.isIll(ref) {
			continue
		}
		h.tend(ref, started)
		select {
		case <-h.system.base.Done():
			return false
		case <-time.After(healthPause):
		}
	}
	return true
}

// carePage is a part of a list: those in it that a driver has.
type carePage struct {
	bound []resources.Ref
	read  int
	next  string
}

func (h *health) page(r *round, limit int) (page carePage, err error) {
	err = h.system.config.State.View(func(v *persistence.View) error {
		list, err := v.List(resources.Query{Kind: r.kinds[0], After: r.after, Limit: limit})
		if err != nil {
			return err
		}
		page.read, page.next = len(list.Items), list.Next
		for _, one := range list.Items {
			_, bound, err := v.Binding(one.Metadata().Ref())
			if err != nil {
				return err
			}
			if bound && operations.MayBeTended(one) {
				page.bound = append(page.bound, one.Metadata().Ref())
			}
		}
		return nil
	})
	return page, err
}

func (h *health) takeStarted() (started map[operations.Started]bool, soon bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.soon {
		return nil, false
	}
	h.soon = false
	started = maps.Clone(h.started)
	clear(h.started)
	return started, true
}

func (h *health) isIll(ref resources.Ref) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ill[ref] != nil
}

// repair has those looked at again whose time has come, and forgets those that are
// gone.
func (h *health) repair(now time.Time) {
	for _, ref := range h.due(now) {
		var there bool
		err := h.system.config.State.View(func(v *persistence.View) error {
			r, err := v.Get(ref)
			there = err == nil && operations.MayBeTended(r)
			return nil
		})
		if err == nil && !there {
			h.forget(ref)
			continue
		}
		h.tend(ref, nil)
	}
}

// due takes those whose time has come and sets the next one, by which they are
// looked at again should nothing be heard of them.
func (h *health) due(now time.Time) []resources.Ref {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []resources.Ref
	for ref, i := range h.ill {
		if now.Before(i.due) {
			continue
		}
		i.attempts++
		i.due = now.Add(repairDelay(i.attempts, h.system.engine.share()))
		list = append(list, ref)
	}
	return list
}

// repairDelay is the wait after an attempt, spread by a share from 0 to 1 so that
// many that fell ill together do not come back together.
func repairDelay(attempt int, share float64) time.Duration {
	d := longestRepair
	if shift := min(attempt-1, 20); firstRepair<<shift < longestRepair {
		d = firstRepair << shift
	}
	return d/2 + time.Duration(share*float64(d/2))
}

func (h *health) forget(ref resources.Ref) (was bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was = h.ill[ref] != nil
	delete(h.ill, ref)
	return was
}

// tend has a resource's own actor look at it.
func (h *health) tend(ref resources.Ref, started map[operations.Started]bool) {
	h.system.send(ref, &care{name: ref.String(), do: func(ctx context.Context, c *operations.Context) error {
		if !operations.MayBeTended(c.Resource) {
			return nil
		}
		well, err := operations.Tend(ctx, c, started)
		if err != nil {
			return err
		}
		h.found(ref, well)
		return nil
	}})
}

// found takes down how a resource is.
func (h *health) found(ref resources.Ref, well bool) {
	log := h.system.config.Logger.With(slog.String("resource", ref.String()))
	switch {
	case well && h.forget(ref):
		log.Info("a resource is well again")
		h.tell(ref, CareRepaired)
	case well:
	case h.fallIll(ref):
		log.Warn("a resource is degraded")
		h.tell(ref, CareDegraded)
	default:
		h.tell(ref, CareFailed)
	}
}

// fallIll notes that a resource is ill; false if that was known.
func (h *health) fallIll(ref resources.Ref) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ill[ref] != nil {
		return false
	}
	h.ill[ref] = &illness{due: h.system.engine.Now()}
	return true
}

func (h *health) tell(ref resources.Ref, what Care) {
	if h.system.config.Cared != nil {
		h.system.config.Cared(ref.Kind, what)
	}
}
