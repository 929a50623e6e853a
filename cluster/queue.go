package cluster

import (
	"sync"
	"sync/atomic"
	"time"
)

// proposal is a command on its way to the log.
type proposal struct {
	command  []byte
	tag      tag // of the node that sent it here, zero for one of this node
	reserved bool
	state    atomic.Int32
	done     chan answer  // takes one answer
	reply    func(answer) // gets the answer of one that another node sent; quick
}

type answer struct {
	result Result
	index  uint64 // of the entry that holds the command, if it is known
	err    error
}

func (p *proposal) answer(a answer) {
	if p.reply != nil {
		p.reply(a)
		return
	}
	p.done <- a
}

// States of a proposal. It leaves waiting once, either into a frame or because its caller gave up.
const (
	proposalWaiting int32 = iota
	proposalTaken
	proposalAbandoned
)

func newProposal(command []byte, reserved bool) *proposal {
	return &proposal{command: command, reserved: reserved, done: make(chan answer, 1)}
}

func (p *proposal) take() bool    { return p.state.CompareAndSwap(proposalWaiting, proposalTaken) }
func (p *proposal) abandon() bool { return p.state.CompareAndSwap(proposalWaiting, proposalAbandoned) }

// queue holds proposals until they are taken into a frame. How much it holds is limited by who puts them in.
type queue struct {
	wake chan struct{} // has a token when there may be something to take

	mu      sync.Mutex
	waiting []*proposal
	closed  bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put adds p. It answers false when the queue is closed.
func (q *queue) put(p *proposal) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, p)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns the proposals that go into the next frame.
func (q *queue) take() []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*proposal
	bytes, n := frameOverhead, 0
	for _, p := range q.waiting {
		size := commandBytes(p.command)
		if len(batch) == maxFrameCommands || len(batch) > 0 && bytes+size > maxApplyBytes || bytes+size > maxFrameBytes {
			break
		}
		n++
		if p.take() {
			batch = append(batch, p)
			bytes += size
		}
	}
	rest := copy(q.waiting, q.waiting[n:])
	clear(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	return batch
}

// close refuses what comes from now on and returns what is waiting.
func (q *queue) close() []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.waiting
	q.waiting, q.closed = nil, true
	return rest
}

// clock gives the times of frames. They never go back, also when the clock of the node does.
type clock struct {
	mu   sync.Mutex
	last time.Time
	now  func() time.Time
}

func (c *clock) stamp() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now().UTC().Round(0); now.After(c.last) {
		c.last = now
	}
	return c.last
}

// advance makes t the least time given out from now on.
func (c *clock) advance(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.last) {
		c.last = t
	}
}
