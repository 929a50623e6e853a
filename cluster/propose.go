package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Propose has command agreed on and applied, and returns its result. It returns when the state has it, durably.
//
// It waits while too much is waiting already. Errors: ErrNotLeader, ErrStopped, ErrDiskLow, ErrCommandTooLarge,
// ErrOverloaded and the error of ctx say that the command was not taken in; ErrUnknownOutcome says that it was, and
// that only the state can tell what became of it.
func (n *Node) Propose(ctx context.Context, command []byte) (Result, error) {
	return n.measure(ctx, command, false)
}

// ProposeReserved is Propose for commands that finish what was begun or free space. They are still taken when the disk
// is too full for others.
func (n *Node) ProposeReserved(ctx context.Context, command []byte) (Result, error) {
	return n.measure(ctx, command, true)
}

func (n *Node) measure(ctx context.Context, command []byte, reserved bool) (Result, error) {
	start := time.Now()
	result, err := n.propose(ctx, command, reserved)
	if err != nil {
		err = fmt.Errorf("proposing a command: %w", err)
	}
	n.cfg.Metrics.proposed(start, err)
	return result, err
}

func (n *Node) propose(ctx context.Context, command []byte, reserved bool) (Result, error) {
	if len(command) > MaxCommandBytes {
		return nil, fmt.Errorf("%d bytes, the most is %d: %w", len(command), MaxCommandBytes, ErrCommandTooLarge)
	}
	if err := errors.Join(n.stoppedError(), ctx.Err()); err != nil {
		return nil, err
	}
	if _, err := n.leadership.current(); err != nil {
		return nil, err
	}
	if err := n.disk.check(reserved); err != nil {
		return nil, err
	}
	cost := int64(len(command)) + commandQueueCost
	if err := n.room.Acquire(ctx, cost); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverloaded, err)
	}
	defer n.room.Release(cost)
	p := newProposal(command)
	if !n.queue.put(p) {
		return nil, n.stoppedError()
	}
	return n.await(ctx, p)
}

// await waits for the answer to p.
func (n *Node) await(ctx context.Context, p *proposal) (Result, error) {
	var why error
	select {
	case a := <-p.done:
		return a.result, a.err
	case <-ctx.Done():
		why = ctx.Err()
	case <-n.dead:
		why = n.stoppedError()
	}
	if p.abandon() {
		return nil, why
	}
	select {
	case a := <-p.done:
		return a.result, a.err
	default:
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, why)
	}
}

// proposeLoop puts what waits into frames, and the frames into the log, until the node stops.
func (n *Node) proposeLoop() {
	defer func() {
		for _, p := range n.queue.close() {
			if p.take() {
				p.done <- answer{err: n.stoppedError()}
			}
		}
	}()
	for {
		select {
		case <-n.queue.wake:
		case <-n.stopping:
			return
		}
		for more := true; more; {
			select {
			case n.slots <- struct{}{}:
			case <-n.stopping:
				return
			}
			if more = n.submit(n.queue.take()); !more {
				<-n.slots
			}
		}
	}
}

// submit puts a frame into the log; the slot it needs is given back when it is through. It answers false, and keeps the
// slot, if there is nothing to do.
func (n *Node) submit(batch []*proposal) bool {
	if len(batch) == 0 {
		return false
	}
	if _, err := n.leadership.current(); err != nil {
		<-n.slots
		answerAll(batch, nil, err)
		return true
	}
	commands := make([][]byte, len(batch))
	for i, p := range batch {
		commands[i] = p.command
	}
	data := encodeFrame(n.clock.stamp(), commands)
	n.cfg.Metrics.framed(len(commands), len(data))
	future := n.raft.Apply(data, 0)
	n.inFlight.Go(func() {
		results, err := settle(future, len(batch))
		<-n.slots
		answerAll(batch, results, err)
	})
	return true
}

// settle waits for a frame and returns the results of its commands.
func settle(future raft.ApplyFuture, commands int) (Results, error) {
	switch err := future.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return nil, ErrNotLeader // raft answers so before it appends
	default:
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	o, ok := future.Response().(outcome)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: the state machine had the entry already", ErrUnknownOutcome)
	case o.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, o.err)
	case len(o.results) != commands:
		return nil, fmt.Errorf("%w: %d results for %d commands", ErrUnknownOutcome, len(o.results), commands)
	}
	return o.results, nil
}

func answerAll(batch []*proposal, results Results, err error) {
	for i, p := range batch {
		a := answer{err: err}
		if err == nil {
			a.result = results[i]
		}
		p.done <- a
	}
}
