package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"
)

// leadership knows whether this node leads and has applied everything that came before it led.
type leadership struct {
	node func() *raft.Raft

	mu      sync.Mutex
	term    uint64        // in which the node is ready to lead, or 0
	changed chan struct{} // closed and replaced when term changes
}

func newLeadership(r *raft.Raft) *leadership {
	return &leadership{node: func() *raft.Raft { return r }, changed: make(chan struct{})}
}

func (l *leadership) set(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = term
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

// watchLeadership follows raft: when it is elected, it waits until everything before is applied.
func (n *Node) watchLeadership() {
	for {
		select {
		case leads := <-n.raft.LeaderCh():
			if leads {
				n.lead()
				continue
			}
			n.leadership.set(0)
			n.cfg.Metrics.led(false)
			n.log.Info("node does not lead any more")
		case <-n.stopping:
			return
		}
	}
}

func (n *Node) lead() {
	term := n.raft.CurrentTerm()
	if err := n.raft.Barrier(0).Error(); err != nil {
		n.log.Debug("leadership ended before it began", slog.Any("error", err))
		return
	}
	if n.stoppedError() != nil || n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return // a node that failed never leads; of another term there will be another notice
	}
	n.clock.advance(n.fsm.lastTime())
	n.leadership.set(term)
	n.cfg.Metrics.led(true)
	n.log.Info("node leads", slog.Uint64("term", term), slog.Uint64("applied", n.AppliedIndex()))
}

// Ready returns when the node leads and has applied all that was agreed before, so that it can take proposals. A node
// that is the only voter gets there by itself. Errors: that of ctx, ErrStopped.
func (n *Node) Ready(ctx context.Context) error {
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
