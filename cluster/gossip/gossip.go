package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"
)

const (
	// joinAtOnce is how many addresses are called at the same time.
	joinAtOnce = 8
	// farewellTime is how long Leave waits for a farewell to go out, twice, if its context allows.
	farewellTime = 3 * time.Second
)

// Gossip is a member. Its methods may be called at the same time.
type Gossip struct {
	config    Config
	keys      *keys
	transport *transport
	delegate  *delegate
	roster    *roster
	conflicts *conflicts
	life      uint64
	list      *memberlist.Memberlist

	changes chan struct{} // holds one when something changed
	stop    chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows, and announcing
	facts  Facts
	left   bool
	closed bool
}

// Open starts a member that knows nobody but itself. Join makes it known; Close must be called in the end.
func Open(config Config) (*Gossip, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	listen, advertise, err := config.addresses()
	if err != nil {
		return nil, err
	}
	life := rand.Uint64() | 1 // not 0, which is that of a member that says nothing of it
	meta, err := announcement{Facts: config.Facts, Life: life}.encode()
	if err != nil {
		return nil, err
	}
	ring, err := newKeys(config.Keys)
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		config: config, keys: ring, life: life, facts: config.Facts,
		changes: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	g.config.Keys = nil
	g.roster = newRoster(config.Log, g.noteChange)
	g.conflicts = newConflicts(config.Log, g.noteChange)
	g.transport, err = openTransport(context.Background(), config.Network, listen, advertise)
	if err != nil {
		return nil, err
	}
	g.delegate = &delegate{
		self: config.Name, clusterID: config.Facts.ClusterID, log: config.Log, roster: g.roster,
		conflicts: g.conflicts, own: g.Address, meta: meta,
		farewells: memberlist.TransmitLimitedQueue{NumNodes: g.roster.count, RetransmitMult: retransmit},
	}
	g.list, err = memberlist.Create(g.libraryConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting gossip: %w", err), g.transport.Shutdown())
	}
	g.running.Go(g.tellChanges)
	g.running.Go(g.retryDead)
	return g, nil
}

func (g *Gossip) libraryConfig() *memberlist.Config {
	l := g.config.library()
	l.Transport = g.transport
	l.Keyring = g.keys.ring
	l.LogOutput = &libraryLog{log: g.config.Log, suspected: g.roster.suspected, closed: g.stop}
	l.Delegate, l.Events, l.Conflict = g.delegate, g.delegate, g.delegate
	l.Merge, l.Alive = g.delegate, g.delegate
	return l
}

// Address returns where others reach this member, the port being known.
func (g *Gossip) Address() netip.AddrPort { return g.transport.advertise }

// Members returns all members that are known, this one among them, by name. The last 256 that died or left are among
// them.
func (g *Gossip) Members() []Member { return g.roster.all() }

// Conflicts returns the names that more than one process was seen to have, by name.
func (g *Gossip) Conflicts() []Conflict { return g.conflicts.all() }

// Join makes this member known to those at addresses, host:port, and to all that they know. It may be repeated, and
// ignores its own address. It returns how many were reached, and an error if none was though there were some, or if
// ctx ended first.
func (g *Gossip) Join(ctx context.Context, addresses []string) (reached int, err error) {
	if !g.begin() {
		return 0, ErrClosed
	}
	defer g.running.Done()
	targets, failed := g.targets(ctx, addresses)
	results := make(chan error, len(targets))
	group := errgroup.Group{}
	group.SetLimit(joinAtOnce)
	g.running.Go(func() {
		for _, target := range targets {
			group.Go(func() error {
				results <- g.call(ctx, target)
				return nil
			})
		}
		_ = group.Wait()
	})
	for range targets {
		select {
		case err := <-results:
			if err == nil {
				reached++
			}
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return reached, fmt.Errorf("joining: %w", errors.Join(ctx.Err(), failed))
		}
	}
	if reached > 0 {
		return reached, nil
	}
	return 0, failed
}

// begin reports whether something may begin that Close waits for.
func (g *Gossip) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.left {
		return false
	}
	g.running.Add(1)
	return true
}

// targets resolves addresses; each comes once, and this member's own do not.
func (g *Gossip) targets(ctx context.Context, addresses []string) (targets []netip.AddrPort, failed error) {
	seen := map[netip.AddrPort]bool{}
	for _, address := range addresses {
		found, err := resolve(ctx, address)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("joining: %w", err))
			continue
		}
		for _, target := range found {
			if !seen[target] && !g.transport.is(target) {
				seen[target] = true
				targets = append(targets, target)
			}
		}
	}
	return targets, failed
}

// call compares all that is known with the member at target.
func (g *Gossip) call(ctx context.Context, target netip.AddrPort) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("joining %s: %w", target, err)
	}
	_, err := g.list.Join([]string{target.String()})
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrForeign, ErrNameTaken} {
		// memberlist makes text of what the delegate returned.
		if strings.Contains(err.Error(), known.Error()) {
			return fmt.Errorf("joining %s: %w: %w", target, known, err)
		}
	}
	return fmt.Errorf("joining %s: %w", target, err)
}

// SetFacts tells all others new facts of this node; they hear of it within a second or two. They must be of the same
// cluster. It may be repeated.
func (g *Gossip) SetFacts(facts Facts) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.left {
		return ErrClosed
	}
	if facts == g.facts {
		return nil
	}
	if facts.ClusterID != g.facts.ClusterID {
		return fmt.Errorf("%w: the cluster is %q and cannot become %q", ErrFacts, g.facts.ClusterID, facts.ClusterID)
	}
	meta, err := announcement{Facts: facts, Life: g.life}.encode()
	if err != nil {
		return err
	}
	g.facts = facts
	g.delegate.announce(meta)
	_ = g.list.UpdateNode(time.Nanosecond) // what fails is the waiting; the news is on its way
	return nil
}

// Leave says good-bye, so that others see this member as left and not as dead. Then only Close is of use. It ends
// early with an error at the deadline of ctx; then others may see it as dead.
func (g *Gossip) Leave(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	if g.left {
		return nil
	}
	g.left = true
	if g.conflicts.of(g.config.Name) {
		g.config.Log.Warn("leaving without a farewell, which could be taken for the other's of this name",
			slog.String("name", g.config.Name))
		return nil
	}
	wait, err := farewellWait(ctx)
	if err != nil {
		return err
	}
	told := g.tellFarewell(wait)
	// Without it some would go on to ask whether this member is there.
	wait, err = farewellWait(ctx)
	if err != nil {
		return errors.Join(told, err)
	}
	if err := g.list.Leave(wait); err != nil {
		return fmt.Errorf("leaving: %w", errors.Join(told, err))
	}
	return told
}

// farewellWait is how long to wait for a farewell to go out.
func farewellWait(ctx context.Context) (time.Duration, error) {
	wait := farewellTime
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	if ctx.Err() != nil || wait <= 0 {
		return 0, fmt.Errorf("leaving: %w", cmp.Or(ctx.Err(), context.DeadlineExceeded))
	}
	return wait, nil
}

// tellFarewell returns when the farewell went out, or after wait; with an error if there was somebody to hear it.
func (g *Gossip) tellFarewell(wait time.Duration) error {
	over := make(chan struct{})
	own := farewell{Name: g.config.Name, Life: g.life}
	if err := g.delegate.spread(own, over); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	g.roster.left(own)
	if _, present := g.roster.dead(); present == 0 {
		return nil
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case <-over:
		return nil
	case <-late.C:
		return fmt.Errorf("leaving: nobody was told within %s: %w", wait, context.DeadlineExceeded)
	}
}

// Close ends the member. Without Leave before, others take it for dead. When it returns nothing of it runs any more,
// which can take as long as a probe that nobody answers: 400 ms, or 1.2 s on a member that hears little. It may be
// repeated.
func (g *Gossip) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	g.mu.Unlock()
	close(g.stop)
	g.roster.close()
	err := g.list.Shutdown()
	g.running.Wait()
	if len(g.roster.all()) > 1 {
		probe := g.config.Timing.ProbeEvery * time.Duration(g.list.GetHealthScore()+1)
		time.Sleep(probe + 10*time.Millisecond) // memberlist cannot be asked whether its last probe is over
	}
	if err != nil {
		return fmt.Errorf("closing gossip: %w", err)
	}
	return nil
}

// noteChange makes Changed be called soon. It never blocks.
func (g *Gossip) noteChange() {
	select {
	case g.changes <- struct{}{}:
	default:
	}
}

func (g *Gossip) tellChanges() {
	for {
		select {
		case <-g.changes:
			if g.config.Changed != nil {
				g.config.Changed()
			}
		case <-g.stop:
			return
		}
	}
}

// retryDead calls the dead: memberlist forgets them, and two halves of a network that was cut would never meet again.
func (g *Gossip) retryDead() {
	for {
		every := g.config.Timing.RetryEvery
		pause := time.NewTimer(every/2 + rand.N(every))
		select {
		case <-pause.C:
		case <-g.stop:
			pause.Stop()
			return
		}
		dead, present := g.roster.dead()
		// All members together call as many as are dead, however many they are.
		if len(dead) == 0 || rand.IntN(max(present, 1)) >= len(dead) {
			continue
		}
		target := dead[rand.IntN(len(dead))]
		if err := g.call(context.Background(), target.Gossip); err != nil {
			g.config.Log.Debug("a dead member does not answer", slog.String("name", target.Name), slog.Any("error", err))
		}
	}
}
