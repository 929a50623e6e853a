package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/shard"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// running is a shard that this node acts for.
type running struct {
	shard *shard.Shard
	pid   *actor.PID
	fence persistence.Fence
	turns turns
	// leaving says that the shard is being given to another node.
	leaving bool
}

// turns counts the turns of a shard's resources that run.
type turns struct {
	mu   sync.Mutex
	open int
	none chan struct{} // closed when there are none any more; once it is there no more begin
}

func (t *turns) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.none != nil {
		return false
	}
	t.open++
	return true
}

func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open--; t.open == 0 && t.none != nil {
		close(t.none)
	}
}

// close lets no more turns begin, and returns a channel that is closed when none runs.
func (t *turns) close() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.none == nil {
		t.none = make(chan struct{})
		if t.open == 0 {
			close(t.none)
		}
	}
	return t.none
}

// handGrace is how long steps that run may go on when a shard is given to another
// node; then they are cut short, and have as long again to end.
const handGrace = 10 * time.Second

// Hold says whether this node may act for its shards: not while its lease is over.
// When Hold(false) returned, no resource takes up anything more, and what runs is
// being cut short; the durable queue keeps what waits. Hold(true) takes effect a
// little later: what was taken from this node meanwhile is let go of first.
func (s *System) Hold(may bool) {
	if may {
		select {
		case s.regained <- struct{}{}:
		default: // it is to be looked at anyway
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holding = false
	for _, r := range s.shards {
		r.shard.Fence()
	}
}

// regain has this node act for its shards again, by the shard table as it is now.
func (s *System) regain() error {
	if err := s.settle(); err != nil {
		return err
	}
	s.mu.Lock()
	if !s.leased() { // Hold(false) was called, or is about to be
		s.mu.Unlock()
		return nil
	}
	s.holding = true
	for _, r := range s.shards {
		r.shard.Unfence()
	}
	s.mu.Unlock()
	return errors.Join(s.resume(), s.adoptEarly()) // nobody was told of what came meanwhile
}

// leased reports whether this node's lease lasts, by the clock.
func (s *System) leased() bool { return s.config.Lease == nil || s.config.Lease() }

// holds reports whether this node may still act by a fence.
func (s *System) holds(f persistence.Fence) bool {
	if !s.leased() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.shards[f.Shard]
	return ok && s.holding && r.fence == f
}

// Shards counts the shards that this node acts for.
func (s *System) Shards() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.shards)
}

// followPlacement takes shards and lets go of them, as the shard table says, until
// the node stops.
func (s *System) followPlacement(seen uint64) {
	regained := false
	for s.base.Err() == nil {
		changed := s.engine.feed.next()
		now := s.config.State.Placements()
		var err error
		switch {
		case regained:
			err = s.regain()
		case now != seen:
			err = s.settle()
		}
		if err != nil {
			s.config.Logger.Error("following the shard table failed", slog.Any("error", err))
			select {
			case <-s.base.Done():
			case <-time.After(dispatchDelay):
			}
			continue
		}
		seen, regained = now, false
		select {
		case <-s.base.Done():
		case <-changed:
		case <-s.regained:
			regained = true
		}
	}
}

// settle makes the shards that run those of the table.
func (s *System) settle() error {
	var owners []persistence.Owner
	err := s.config.State.View(func(v *persistence.View) (err error) {
		owners, err = v.Owners()
		return err
	})
	if err != nil {
		return err
	}
	taken, err := s.compare(owners)
	for _, id := range taken {
		if err := s.resumeShard(id); err != nil {
			return err
		}
	}
	return err
}

// compare lets go of shards that are another node's by now, and takes those that
// are this one's.
func (s *System) compare(owners []persistence.Owner) (taken []persistence.Shard, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, nil
	}
	s.total = len(owners)
	for i, owner := range owners {
		id := persistence.Shard(i)
		mine := owner.Node == s.config.Node
		if r := s.shards[id]; r != nil {
			if mine && owner.Epoch == r.fence.Epoch {
				s.handOver(r, owner.Next)
				continue
			}
			s.drop(r)
		}
		if !mine {
			continue
		}
		if err := s.take(id, owner.Epoch); err != nil {
			return taken, err
		}
		taken = append(taken, id)
	}
	return taken, nil
}

// take begins to act for a shard. The caller holds mu.
func (s *System) take(id persistence.Shard, epoch uint64) error {
	fence := persistence.Fence{Shard: id, Node: s.config.Node, Epoch: epoch}
	sh, err := shard.New(shard.Settings{
		ID: uint32(id), Epoch: epoch, IdleAfter: s.config.IdleAfter, Log: s.config.Logger,
		Crashed: func(c shard.Crash) { s.crashed(c, fence) },
		Activate: func(a shard.Activation) actor.Producer {
			ref := parseRef(a.Resource)
			kept := &slot{system: s, ref: ref, fence: fence}
			return func() actor.Actor { return &resource{slot: kept} }
		},
	})
	if err != nil {
		return fmt.Errorf("making shard %d: %w", id, err)
	}
	if !s.holding {
		sh.Fence()
	}
	pid, err := s.actors.Root.SpawnNamed(sh.Props(), sh.Name())
	if err != nil {
		return fmt.Errorf("starting shard %d: %w", id, err)
	}
	s.shards[id] = &running{shard: sh, pid: pid, fence: fence}
	s.config.Logger.Debug("a shard was taken", slog.Uint64("shard", uint64(id)), slog.Uint64("epoch", epoch))
	return nil
}

// drop ends a shard that this node does not act for any more. The caller holds mu.
func (s *System) drop(r *running) {
	delete(s.shards, r.fence.Shard)
	r.turns.close()
	r.shard.Fence()
	s.actors.Root.Stop(r.pid)
}

// handOver gives a shard to another node, if one is named, as soon as nothing of it
// runs. The caller holds mu.
func (s *System) handOver(r *running, to string) {
	if to == "" || to == s.config.Node || r.leaving {
		return
	}
	r.leaving = true
	none := r.turns.close()
	s.works.Go(func() {
		if s.drained(r, none) {
			s.give(r, to)
		}
	})
}

// give tries to give a shard away until it is no longer this node's: nothing of it
// runs here any more.
func (s *System) give(r *running, to string) {
	place := &persistence.Place{
		Node: to, Shards: []persistence.Shard{r.fence.Shard}, Epochs: []uint64{r.fence.Epoch},
	}
	for s.base.Err() == nil {
		_, err := s.config.Log.Propose(s.base, place)
		if err == nil || resources.ClassOf(err) == resources.ClassStale {
			return
		}
		s.config.Logger.Warn("giving a shard to another node failed; it is tried again",
			slog.Int("shard", int(r.fence.Shard)), slog.String("to", to), slog.Any("error", err))
		select {
		case <-s.base.Done():
		case <-time.After(dispatchDelay):
		}
	}
}

// drained waits until nothing of a shard runs. What takes too long is cut short.
func (s *System) drained(r *running, none <-chan struct{}) bool {
	for range 2 {
		select {
		case <-none:
			return true
		case <-s.base.Done():
			return false
		case <-time.After(handGrace):
			r.shard.Fence()
		}
	}
	s.config.Logger.Warn("a shard is given to another node while a call of it does not end",
		slog.Int("shard", int(r.fence.Shard)))
	return true // its epoch is over: what the call brings is refused
}

// turn runs fn as a turn of a resource, unless the node stops or no longer acts for
// it.
func (s *System) turn(fence persistence.Fence, fn func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.shards[fence.Shard]
	if s.stopped || !ok || r.fence != fence || !r.turns.begin() {
		return false
	}
	s.works.Go(func() {
		defer r.turns.end()
		fn()
	})
	return true
}

// resume nudges every resource that has an operation in its queue.
func (s *System) resume() error {
	s.mu.RLock()
	ids := make([]persistence.Shard, 0, len(s.shards))
	for id := range s.shards {
		ids = append(ids, id)
	}
	s.mu.RUnlock()
	for _, id := range ids {
		if err := s.resumeShard(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) resumeShard(id persistence.Shard) error {
	var waiting []resources.Ref
	err := s.config.State.View(func(v *persistence.View) error {
		return v.Waiting(id, func(ref resources.Ref) bool {
			waiting = append(waiting, ref)
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("reading the queue of shard %d: %w", id, err)
	}
	for _, ref := range waiting {
		s.send(ref, &nudge{name: ref.String()})
	}
	return nil
}

// first reports whether this node acts for the first shard: what one node is to do
// for all is done by that one.
func (s *System) first() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.shards[0]
	return ok && s.holding
}

// own takes the shards that are this node's, with a new epoch: what its process of
// before began is over.
func (s *System) own(ctx context.Context) error {
	place := &persistence.Place{Node: s.config.Node, Own: s.config.Lease != nil}
	result, err := s.config.Log.Propose(ctx, place)
	for began := time.Now(); s.config.Lease != nil && isPassing(err) && time.Since(began) < ownPatience; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("taking the shards: %w", err)
		case <-time.After(unknownDelay): // twice does no harm: the leader was lost meanwhile
		}
		result, err = s.config.Log.Propose(ctx, place)
	}
	if err != nil {
		return fmt.Errorf("taking the shards: %w", err)
	}
	_, err = s.compare(result.Owners)
	return err
}

// ownPatience is how long a node that starts may wait for a leader.
const ownPatience = time.Minute

// isPassing reports whether the same may be agreed on a little later.
func isPassing(err error) bool {
	class := resources.ClassOf(err)
	return class == resources.ClassUnknown || class == resources.ClassUnavailable
}
