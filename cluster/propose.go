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

// propose tries until the command is taken in by whoever leads, or it is refused, or nobody leads for too long.
func (n *Node) propose(ctx context.Context, command []byte, reserved bool) (Result, error) {
	if len(command) > MaxCommandBytes {
		return nil, fmt.Errorf("%d bytes, the most is %d: %w", len(command), MaxCommandBytes, ErrCommandTooLarge)
	}
	var result Result
	err := n.withLeader(ctx, func() (err error) {
		result, err = n.try(ctx, command, reserved)
		return err
	})
	return result, err
}

// try puts the command into the queue and waits for what becomes of it.
func (n *Node) try(ctx context.Context, command []byte, reserved bool) (Result, error) {
	if err := errors.Join(n.stoppedError(), ctx.Err()); err != nil {
		return nil, err
	}
	if err := n.someoneLeads(); err != nil {
		return nil, err
	}
	if err := n.disk.check(reserved); err != nil {
		return nil, err
	}
	cost := queueCost(command)
	if err := n.room.Acquire(ctx, cost); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverloaded, err)
	}
	defer n.room.Release(cost)
	p := newProposal(command, reserved)
	if !n.queue.put(p) {
		return nil, n.stoppedError()
	}
	return n.await(ctx, p)
}

func queueCost(command []byte) int64 { return int64(len(command)) + commandQueueCost }

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
				p.answer(answer{err: n.stoppedError()})
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

// submit puts a frame into the log, or sends what it would hold to the leader; the slot it needs is given back when
// it is through. It answers false, and keeps the slot, if there is nothing to do.
func (n *Node) submit(batch []*proposal) bool {
	if len(batch) == 0 {
		return false
	}
	if _, err := n.leadership.current(); err != nil {
		n.pass(batch)
		return true
	}
	if n.handing.Load() { // what were put into the log now would keep the other node from being elected
		<-n.slots
		answerAll(batch, nil, 0, fmt.Errorf("%w for long: the lead is about to go to another node", ErrNotLeader))
		return true
	}
	f := frame{at: n.clock.stamp(), level: n.cfg.Level(), commands: make([][]byte, len(batch))}
	for i, p := range batch {
		f.commands[i] = p.command
		if p.tag != (tag{}) && f.tags == nil {
			f.tags = make([]tag, len(batch))
		}
	}
	for i := range f.tags {
		f.tags[i] = batch[i].tag
	}
	data := encodeFrame(f)
	n.cfg.Metrics.framed(len(f.commands), len(data))
	future := n.raft.Apply(data, 0)
	n.inFlight.Go(func() {
		results, err := settle(future, len(batch))
		<-n.slots
		answerAll(batch, results, future.Index(), err)
	})
	return true
}

// pass sends what this node proposed to the leader, and answers what other nodes sent here, which is not for this node
// to pass on: they know better who leads, or will.
func (n *Node) pass(batch []*proposal) {
	own := make([]*proposal, 0, len(batch))
	for _, p := range batch {
		if p.reply != nil {
			p.answer(answer{err: ErrNotLeader})
			continue
		}
		own = append(own, p)
	}
	if n.peers == nil || len(own) == 0 {
		<-n.slots
		answerAll(own, nil, 0, ErrNotLeader)
		return
	}
	n.inFlight.Add(1)
	n.peers.forward(own, func() {
		<-n.slots
		n.inFlight.Done()
	})
}

// settle waits for a frame and returns the results of its commands.
func settle(future raft.ApplyFuture, commands int) (Results, error) {
	switch err := future.Error(); {
	case err == nil:
	case isLost(err):
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

// isLost reports whether raft took nothing in, since it does not lead.
func isLost(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress)
}

func answerAll(batch []*proposal, results Results, index uint64, err error) {
	for i, p := range batch {
		a := answer{err: err}
		if err == nil {
			a.result, a.index = results[i], index
		}
		p.answer(a)
	}
}
