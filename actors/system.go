package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Config is what a system needs.
type Config struct {
	// Node is this node's id.
	Node       string
	Log        Log
	State      State
	Codec      *persistence.Codec
	Vocabulary resources.Vocabulary
	Drivers    Drivers
	Logger     *slog.Logger
	// IdleAfter is how long a resource with nothing to do stays active.
	IdleAfter time.Duration
	// Ended, if set, is told of every operation that ended. It must be quick.
	Ended func(op *resources.Operation)
	// Lease says whether this node may act now, by the clock: see Hold. nil = it is the
	// only node, and always may.
	Lease func() bool
	// Fresh returns when State has all that was answered before it was called, by any
	// node. nil = it always has: this is the only node.
	Fresh func(ctx context.Context) error
	// CareEvery is the time from one look at the health of all resources to the next;
	// 0 = a minute.
	CareEvery time.Duration
	// Cared, if set, is told what became of the care for resources. It must be quick.
	Cared func(kind resources.Kind, what Care)
	// Crashed, if set, is told of each crash of a resource's actor. It must be quick.
	Crashed func(kind resources.Kind)
	// Secrets has the keys that secrets of resources are sealed with; nil = there are none, and they lie in clear.
	Secrets *secrets.Keeper
	// Table says what is done for each action; nil = operations.NewTable().
	Table operations.Table
}

// System runs the actors of one node.
type System struct {
	config  Config
	engine  *Engine
	runner  *runner
	actors  *actor.ActorSystem
	base    context.Context //nolint:containedctx // ends when the node stops
	stop    context.CancelFunc
	mu      sync.RWMutex
	shards  map[persistence.Shard]*running
	total   int
	holding bool // see Hold
	// regained has a token when the lease is back.
	regained chan struct{}
	early    []operations.Started // to be given their resources once there are shards
	works    sync.WaitGroup
	stopped  bool
	health   *health
	alive    *alive
}

// New makes a system; Start sets it going.
func New(c Config) *System {
	base, stop := context.WithCancel(context.Background())
	if c.Table == nil {
		c.Table = operations.NewTable()
	}
	if c.CareEvery == 0 {
		c.CareEvery = careEvery
	}
	f := newFeed(c.State)
	engine := &Engine{
		log: c.Log, state: c.State, codec: c.Codec, vocabulary: c.Vocabulary, table: c.Table,
		drivers: c.Drivers, feed: f, waiting: newWaiters(), logger: c.Logger, base: base, secrets: c.Secrets,
	}
	s := &System{
		config: c, engine: engine, base: base, stop: stop, shards: map[persistence.Shard]*running{},
		holding: c.Lease == nil, regained: make(chan struct{}, 1),
		runner: &runner{
			log: c.Log, state: c.State, codec: c.Codec, vocabulary: c.Vocabulary, table: engine.table,
			engine: engine, logger: c.Logger,
		},
	}
	s.health = newHealth(s)
	s.alive = newAlive(s)
	engine.holds = s.holds
	if engine.fresh = c.Fresh; c.Fresh == nil {
		engine.fresh = func(context.Context) error { return nil }
	}
	return s
}

// Engine is what can be asked of the zone through this node.
func (s *System) Engine() *Engine { return s.engine }

// Applied says that the state changed: to be called after each applied entry.
func (s *System) Applied() { s.engine.feed.notify() }

// Start takes the shards of the zone with a new epoch and goes on with everything
// that was under way.
func (s *System) Start(ctx context.Context) error {
	from, err := s.position()
	if err != nil {
		return err
	}
	s.actors = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return s.config.Logger // says already what part of the node it is
	}))
	placements := s.config.State.Placements()
	if err := s.own(ctx); err != nil {
		return err
	}
	s.works.Go(func() { s.dispatch(from) })
	s.works.Go(func() { s.followPlacement(placements) })
	s.works.Go(s.compact)
	s.works.Go(s.watch)
	s.works.Go(s.health.run)
	return errors.Join(s.resume(), s.adoptEarly())
}

func (s *System) position() (resources.Position, error) {
	var p resources.Position
	err := s.config.State.View(func(v *persistence.View) error {
		applied, err := v.Applied()
		p = resources.Position{Revision: applied, Index: ^uint32(0)}
		return err
	})
	return p, err
}

func parseRef(name string) resources.Ref {
	kind, id, _ := strings.Cut(name, "/")
	return resources.Ref{Kind: resources.Kind(kind), ID: id}
}

// send gives a message to a resource's actor, if this node runs it.
func (s *System) send(ref resources.Ref, message any) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r, ok := s.shard(ref); ok && !s.stopped {
		s.actors.Root.Send(r.pid, message)
	}
}

// shard finds who acts for a resource: nobody before Start. The caller holds mu.
func (s *System) shard(ref resources.Ref) (*running, bool) {
	if s.total == 0 {
		return nil, false
	}
	r, ok := s.shards[persistence.ShardOf(ref, s.total)]
	return r, ok
}

// actsFor reports whether this node may act for a resource now.
func (s *System) actsFor(ref resources.Ref) bool {
	if !s.leased() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.shard(ref)
	return ok
}

// dispatch turns events into messages: to the actors concerned, and to those who
// wait for operations. When the events can't be read it begins anew from what the
// state is by then: what is accepted must be done.
func (s *System) dispatch(from resources.Position) {
	for {
		err := s.engine.feed.follow(s.base, from, s.news, s.tell)
		for err != nil && s.base.Err() == nil {
			s.config.Logger.Error("following the events failed", slog.Any("error", err))
			select {
			case <-s.base.Done():
			case <-time.After(dispatchDelay):
			}
			if from, err = s.position(); err == nil {
				err = s.resume()
			}
			s.engine.waiting.wakeAll()
		}
		if s.base.Err() != nil {
			return
		}
	}
}

// news appends the events after a position as this node applied them, or as the state has them if that was too long
// ago.
func (s *System) news(after resources.Position, into []resources.Event) ([]resources.Event, error) {
	if events, known := s.config.State.Recent(after, into); known {
		return events, nil
	}
	return s.engine.feed.stored(after, into, matters)
}

// matters reports whether tell looks at the resource of an event.
func matters(e resources.Event) bool {
	return e.Ref.Kind == resources.KindOperation || e.Type == resources.EventUpdated && e.OperationID == ""
}

// tell passes one event on.
func (s *System) tell(e resources.Event) bool {
	if !matters(e) {
		return true
	}
	if op, ok := e.Resource.(*resources.Operation); ok {
		s.operation(e, op)
		return true
	}
	if !e.Resource.Metadata().Suspended {
		s.reconsider(e.Ref)
	}
	return true
}

func (s *System) operation(e resources.Event, op *resources.Operation) {
	name := op.Target.String()
	switch {
	case op.Ended(), op.Phase == resources.PhaseNeedsOperator && op.Resolution == "":
		s.engine.waiting.wake(op)
		if op.Ended() && s.config.Ended != nil && e.Type != resources.EventDeleted {
			s.config.Ended(op)
		}
	case e.Type == resources.EventCreated && op.Urgent:
		s.send(op.Target, &interrupt{name: name, operation: op.ID, urgent: true})
	case e.Type == resources.EventCreated:
		s.send(op.Target, &nudge{name: name})
	case op.Phase == resources.PhaseNeedsOperator:
		s.reconsider(op.Target)
	case op.Cancel && op.Phase != resources.PhaseUnwinding, op.Resolution != "":
		s.send(op.Target, &interrupt{name: name, operation: op.ID})
	}
}

// reconsider tells a resource's actor that somebody decided something about it:
// one that crashed too often may try again, too.
func (s *System) reconsider(ref resources.Ref) {
	s.send(ref, &shard.Retry{Name: ref.String()})
	s.send(ref, &reconsider{name: ref.String()})
}

// work runs fn beside the actors, unless the node stops.
func (s *System) work(fn func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.stopped {
		return false
	}
	s.works.Go(fn)
	return true
}

// Inspect asks a resource's actor for its view of itself.
func (s *System) Inspect(ref resources.Ref) (*Inspection, error) {
	s.mu.RLock()
	r, ok := s.shard(ref)
	s.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("inspecting %s: another node acts for it", ref)
	}
	answer, err := s.actors.Root.RequestFuture(r.pid, &inspect{name: ref.String()}, inspectTimeout).Result()
	if err != nil {
		return nil, fmt.Errorf("inspecting %s: %w", ref, err)
	}
	switch a := answer.(type) {
	case *Inspection:
		return a, nil
	case *mailbox.Rejected:
		return nil, fmt.Errorf("inspecting %s: %w", ref, a.Err())
	}
	return nil, fmt.Errorf("inspecting %s: unexpected answer %T", ref, answer)
}

const (
	inspectTimeout  = 5 * time.Second
	dispatchDelay   = time.Second
	compactInterval = time.Minute
	compactLimit    = 500
	compactFurther  = 5000    // records are looked at if none of the first could go
	compactRest     = 2       // times as long as it took it rests, so that others get their turn
	eventsKept      = 100_000 // log entries; each has a few events
)

// compact forgets the past from time to time, a little at a time.
func (s *System) compact() {
	tick := time.NewTicker(compactInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case <-tick.C:
		}
		for s.base.Err() == nil && s.first() {
			began := time.Now()
			removed, err := s.compactOnce()
			if err != nil {
				s.config.Logger.Warn("compacting the state failed", slog.Any("error", err))
			}
			if err != nil || removed == 0 {
				break
			}
			select {
			case <-s.base.Done():
			case <-time.After(compactRest * time.Since(began)):
			}
		}
	}
}

// compactOnce forgets some events and some of everything else, so that neither waits for the other.
func (s *System) compactOnce() (removed int, err error) {
	p, err := s.position()
	if err != nil {
		return 0, err
	}
	if p.Revision > eventsKept {
		events := &persistence.Compact{EventsBefore: p.Revision - eventsKept, Limit: compactLimit}
		if removed, err = s.forget(events); err != nil {
			return removed, err
		}
	}
	now := s.engine.Now()
	rest := &persistence.Compact{
		KeysBefore: now.Add(-keyRetention), OperationsBefore: now.Add(-operationRetention),
		AuditBefore: now.Add(-auditRetention), Limit: compactLimit,
	}
	n, err := s.forget(rest)
	if removed += n; removed > 0 || err != nil {
		return removed, err
	}
	rest.Limit = compactFurther // what comes first may be operations that are kept because their parent goes on
	return s.forget(rest)
}

func (s *System) forget(what *persistence.Compact) (int, error) {
	result, err := s.config.Log.Propose(s.base, what)
	return result.Removed, err
}

// Stop ends all work at its next step boundary: running calls are cancelled, the
// journal says what was under way. It waits until nothing runs, or ctx ends.
func (s *System) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.stop()
	done := make(chan struct{})
	go func() {
		s.works.Wait()
		s.endActors()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping the actors: %w", ctx.Err())
	}
}

func (s *System) endActors() {
	if s.actors == nil {
		return
	}
	for _, r := range s.shards {
		s.actors.Root.StopFuture(r.pid).Wait() //nolint:errcheck // the actors end with the process
	}
	s.actors.Shutdown()
}
