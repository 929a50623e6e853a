package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// ReadIndex returns an index that covers everything that was answered before it was called, on any node. A state
// machine that has applied it may be read: nothing older is seen. See WaitApplied. Nothing is written to the log.
// Many callers share one question to the other nodes. Errors: ErrNotLeader, ErrStopped, that of ctx.
func (n *Node) ReadIndex(ctx context.Context) (index uint64, err error) {
	err = n.withLeader(ctx, func() error {
		index, err = n.joinRound(ctx)
		return err
	})
	return index, err
}

// joinRound waits for the next question to the leader, or of the leader to the others.
func (n *Node) joinRound(ctx context.Context) (uint64, error) {
	r := n.reads.join()
	select {
	case <-r.done:
		if r.err != nil {
			return 0, fmt.Errorf("asking for a read index: %w", r.err)
		}
		return r.index, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("asking for a read index: %w", ctx.Err())
	case <-n.dead:
		return 0, fmt.Errorf("asking for a read index: %w", n.stoppedError())
	}
}

// WaitApplied returns when the state machine of this node has applied index, or something after it.
// Errors: ErrStopped, that of ctx.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	if err := n.watch.wait(ctx, n.stopping, index); err != nil {
		return fmt.Errorf("waiting for index %d: %w", index, err)
	}
	return nil
}

// AppliedIndex returns the index of the last entry that the state machine of this node has applied.
func (n *Node) AppliedIndex() uint64 { return n.fsm.applied.Load() }

// LastTime is when the newest commands that this node was told to be agreed on were taken in; it may be earlier before
// the first since the node was opened.
func (n *Node) LastTime() time.Time { return n.fsm.lastTime() }

// OnApplied has call called with the index whenever the state machine has applied more, and once right away. It is
// called between two writes of the state machine: it must be quick and must not call the node. Stop ends it.
func (n *Node) OnApplied(call func(index uint64)) (stop func()) { return n.watch.register(call) }

// reads gathers callers of ReadIndex into rounds: those that come while one is running share the next.
type reads struct {
	wake chan struct{}
	mu   sync.Mutex
	next *readRound
}

type readRound struct {
	done  chan struct{}
	index uint64
	err   error
}

func newReads() *reads { return &reads{wake: make(chan struct{}, 1)} }

// join returns the round that begins next.
func (r *reads) join() *readRound {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &readRound{done: make(chan struct{})}
		r.wake <- struct{}{} // there is room: the token of the round before was taken with it
	}
	return r.next
}

func (r *reads) begin() *readRound {
	r.mu.Lock()
	defer r.mu.Unlock()
	round := r.next
	r.next = nil
	return round
}

func (n *Node) readLoop() {
	for {
		select {
		case <-n.reads.wake:
			round := n.reads.begin()
			round.index, round.err = n.verify()
			close(round.done)
		case <-n.stopping:
			return
		}
	}
}

// verify makes sure that this node still leads, or asks the one that does. What was answered or read before, on any
// node, was agreed on before: it is covered by how far this leader knows that, which no other node is ahead of.
func (n *Node) verify() (uint64, error) {
	if err := n.stoppedError(); err != nil {
		return 0, err
	}
	term, err := n.leadership.current()
	if err != nil {
		return n.askReadIndex()
	}
	if n.alone {
		return n.AppliedIndex(), nil // who else would lead?
	}
	index := n.agreed()
	if err := n.confirm(term); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	if now, err := n.leadership.current(); err != nil || now != term {
		return 0, ErrNotLeader
	}
	return index, nil
}

// agreed returns the last entry with commands that is known here to be agreed on. Others are not handed to a state
// machine: nobody could wait for them.
func (n *Node) agreed() uint64 {
	commit := n.raft.CommitIndex()
	before, applied := n.leadership.beginning()
	if last, above := n.store.lastCommand(commit, before); above {
		return last
	}
	return applied
}

// askReadIndex asks the leader.
func (n *Node) askReadIndex() (index uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.LeaderPatience)
	defer cancel()
	err = n.askLeader(ctx, func(ctx context.Context, leader clusterpb.PeerClient) error {
		reply, err := leader.ReadIndex(ctx, &clusterpb.ReadIndexRequest{})
		index = reply.GetIndex()
		return err
	})
	return index, err
}
