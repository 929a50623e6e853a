package cluster

import (
	"context"
	"fmt"
	"sync"
)

// ReadIndex returns an index that covers everything that was answered before it was called, on any node. A state
// machine that has applied it, as this node's has, may be read: nothing older is seen. Nothing is written to the log.
// Many callers share one question to the other nodes. Errors: ErrNotLeader, ErrStopped, that of ctx.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
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

// verify makes sure that this node still leads. What was answered before has been applied here: by this leader before
// it answered, by those before it until this one was ready.
func (n *Node) verify() (uint64, error) {
	if err := n.stoppedError(); err != nil {
		return 0, err
	}
	term, err := n.leadership.current()
	if err != nil {
		return 0, err
	}
	index := n.AppliedIndex()
	if err := n.raft.VerifyLeader().Error(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	if now, err := n.leadership.current(); err != nil || now != term {
		return 0, ErrNotLeader
	}
	return index, nil
}
