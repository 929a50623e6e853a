package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leadership knows whether this node leads and has applied everything that came before it led.
type leadership struct {
	node func() *raft.Raft

	mu      sync.Mutex
	term    uint64        // in which the node is ready to lead, or 0
	before  uint64        // the end of the log when the term began
	applied uint64        // covers all commands up to before
	changed chan struct{} // closed and replaced when term changes
}

func newLeadership(r *raft.Raft) *leadership {
	return &leadership{node: func() *raft.Raft { return r }, changed: make(chan struct{})}
}

func (l *leadership) set(term, before, applied uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term, l.before, l.applied = term, before, applied
	close(l.changed)
	l.changed = make(chan struct{})
}

// current returns the term in which the node is ready to lead, or ErrNotLeader. The node may have lost its leadership
// and be told of it a little later.
func (l *leadership) current() (term uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || l.node().CurrentTerm() != l.term {
		return 0, ErrNotLeader
	}
	return l.term, nil
}

// wake has those look again who wait for a leader.
func (l *leadership) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leadership) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// someoneLeads returns ErrNotLeader unless this node leads or knows who does.
func (n *Node) someoneLeads() error {
	_, err := n.leadership.current()
	if err == nil || n.peers == nil {
		return err
	}
	if _, leader := n.raft.LeaderWithID(); leader == "" {
		return fmt.Errorf("%w, and nobody is known to be", ErrNotLeader)
	}
	return nil
}

// A question that found no leader is asked again when another one is known, or after a pause that doubles.
const (
	firstPause = 2 * time.Millisecond
	mostPause  = 50 * time.Millisecond
)

// withLeader asks until the answer is not ErrNotLeader, or nobody led for LeaderPatience.
func (n *Node) withLeader(ctx context.Context, ask func() error) error {
	began := time.Now()
	changed := n.leadership.next()
	err := ask()
	for pause := firstPause; n.peers != nil && errors.Is(err, ErrNotLeader); pause = min(2*pause, mostPause) {
		if time.Since(began) > n.cfg.LeaderPatience {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-n.stopping:
		}
		timer.Stop()
		if stopped := errors.Join(n.stoppedError(), ctx.Err()); stopped != nil {
			return fmt.Errorf("%w: %w", stopped, err)
		}
		changed = n.leadership.next()
		err = ask()
	}
	return err
}

// beginning returns the end of the log when the term began, and an index of commands that covers all up to there.
func (l *leadership) beginning() (before, applied uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.before, l.applied
}

// leadCheck is how often it is looked whether raft leads and this node does not know. It is told, but that may come to
// nothing: while the lead is about to go to another node, raft takes in no barrier, and then it may stay all the same.
const leadCheck = 200 * time.Millisecond

// watchLeadership follows raft: when it is elected, it waits until everything before is applied.
func (n *Node) watchLeadership() {
	check := time.NewTicker(leadCheck)
	defer check.Stop()
	others := make(chan raft.Observation, 16)
	observer := raft.NewObserver(others, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(observer)
	defer n.raft.DeregisterObserver(observer)
	for {
		select {
		case <-others:
			if n.peers != nil {
				_, leader := n.raft.LeaderWithID()
				n.peers.follow(string(leader))
			}
			n.leadership.wake()
		case leads := <-n.raft.LeaderCh():
			if leads {
				n.lead()
				continue
			}
			n.leadership.set(0, 0, 0)
			n.cfg.Metrics.led(false)
			n.log.Info("node does not lead any more")
		case <-check.C:
			if _, err := n.leadership.current(); err != nil && n.raft.State() == raft.Leader {
				n.lead()
			}
		case <-n.stopping:
			return
		}
	}
}

func (n *Node) lead() {
	term, before := n.raft.CurrentTerm(), n.raft.LastIndex()
	if err := n.raft.Barrier(0).Error(); err != nil {
		n.log.Debug("leadership ended before it began", slog.Any("error", err))
		return
	}
	if n.stoppedError() != nil || n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return // a node that failed never leads; of another term there will be another notice
	}
	n.clock.advance(n.fsm.lastTime())
	n.heard.begin(n.memberIDs(), time.Now())
	n.leadership.set(term, before, n.AppliedIndex())
	n.cfg.Metrics.led(true)
	n.log.Info("node leads", slog.Uint64("term", term), slog.Uint64("applied", n.AppliedIndex()))
}

func (n *Node) memberIDs() []string {
	var ids []string
	for _, s := range n.servers() {
		ids = append(ids, string(s.ID))
	}
	return ids
}

// Ready returns when proposals are taken and all that was agreed before is applied here: when the node leads, or knows
// who does and has caught up. A node that is the only voter gets there by itself. Errors: that of ctx, ErrStopped.
func (n *Node) Ready(ctx context.Context) error {
	if n.peers == nil {
		return n.readyToLead(ctx)
	}
	for {
		index, err := n.ReadIndex(ctx)
		if err == nil {
			return n.WaitApplied(ctx, index)
		}
		if ctx.Err() != nil || n.stoppedError() != nil {
			return fmt.Errorf("waiting for a leader: %w", errors.Join(n.stoppedError(), ctx.Err(), err))
		}
	}
}

func (n *Node) readyToLead(ctx context.Context) error {
	for {
		if err := n.stoppedError(); err != nil {
			return fmt.Errorf("waiting to lead: %w", err)
		}
		n.leadership.mu.Lock()
		ready, changed := n.leadership.term != 0, n.leadership.changed
		n.leadership.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting to lead: %w", ctx.Err())
		case <-n.stopping:
		}
	}
}
