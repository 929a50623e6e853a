package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// forwarder sends what this node proposes to the leader. A proposal is answered when its entry is applied here, so
// that its proposer sees in the state of its own node what it was told, and by the leader, so that nobody who reads
// what the leader has applied misses what was answered.
type forwarder struct {
	origin uint64 // this run of this node
	leader func() (node string, conn grpc.ClientConnInterface, err error)

	mu      sync.Mutex
	number  uint64
	waiting map[uint64]*sent
	// replaced is how far the state was after it was last replaced by a snapshot.
	replaced uint64
	stream   *stream
	readers  sync.WaitGroup
}

// sent is a proposal on its way.
type sent struct {
	proposal *proposal
	stream   *stream
	index    uint64 // of its entry, once the leader has applied it and said so
	applied  bool   // here
	result   Result // if applied
	left     func() // called when it is answered
}

// stream is a connection to one leader.
type stream struct {
	node   string
	wire   grpc.BidiStreamingClient[clusterpb.Proposals, clusterpb.Answers]
	cancel context.CancelFunc
}

func newForwarder(leader func() (string, grpc.ClientConnInterface, error)) *forwarder {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return &forwarder{
		origin: max(binary.BigEndian.Uint64(b[:]), 1), leader: leader, waiting: map[uint64]*sent{},
	}
}

// forward sends a batch. Done is called when all of it is answered.
func (f *forwarder) forward(batch []*proposal, done func()) {
	s, err := f.connect()
	if err != nil {
		done()
		answerAll(batch, nil, 0, fmt.Errorf("%w: %w", ErrNotLeader, err))
		return
	}
	message := f.register(s, batch, done)
	if err := s.wire.Send(message); err != nil {
		f.lose(s, err)
	}
}

// register notes who waits for what, before it is sent.
func (f *forwarder) register(s *stream, batch []*proposal, done func()) *clusterpb.Proposals {
	f.mu.Lock()
	defer f.mu.Unlock()
	open := len(batch)
	left := func() { // the caller holds mu
		if open--; open == 0 {
			done()
		}
	}
	message := &clusterpb.Proposals{Proposals: make([]*clusterpb.Proposal, len(batch))}
	for i, p := range batch {
		f.number++
		f.waiting[f.number] = &sent{proposal: p, stream: s, left: left}
		message.Proposals[i] = &clusterpb.Proposal{
			Number: f.number, Origin: f.origin, Command: p.command, Reserved: p.reserved,
		}
	}
	return message
}

// connect returns the stream to whoever leads now.
func (f *forwarder) connect() (*stream, error) {
	node, conn, err := f.leader()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	current := f.stream
	f.mu.Unlock()
	if current != nil && current.node == node {
		return current, nil
	}
	if current != nil {
		f.lose(current, errors.New("another node leads"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{node: node, cancel: cancel}
	f.mu.Lock()
	f.stream = s // before it is there: that another node leads ends the wait for it
	f.mu.Unlock()
	if s.wire, err = clusterpb.NewPeerClient(conn).Forward(ctx); err != nil {
		f.lose(s, err)
		return nil, err
	}
	f.readers.Go(func() { f.read(s) })
	return s, nil
}

func (f *forwarder) read(s *stream) {
	for {
		message, err := s.wire.Recv()
		if err != nil {
			f.lose(s, err)
			return
		}
		for _, a := range message.GetAnswers() {
			f.answered(a)
		}
	}
}

// follow drops the stream to a node that does not lead any more: it may never say so.
func (f *forwarder) follow(leader string) {
	f.mu.Lock()
	s := f.stream
	f.mu.Unlock()
	if s != nil && s.node != leader {
		f.lose(s, errors.New("it does not lead any more"))
	}
}

// lose gives up a stream: what became of what was sent on it is not known.
func (f *forwarder) lose(s *stream, why error) {
	s.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stream == s {
		f.stream = nil
	}
	for number, w := range f.waiting {
		if w.stream == s {
			f.leave(number, w, answer{err: fmt.Errorf("%w: the link to leader %s ended: %w", ErrUnknownOutcome, s.node, why)})
		}
	}
}

// leave answers a proposal. The caller holds mu.
func (f *forwarder) leave(number uint64, w *sent, a answer) {
	delete(f.waiting, number)
	w.proposal.answer(a)
	w.left()
}

// answered takes note of what the leader said. The result comes with the entry.
func (f *forwarder) answered(a *clusterpb.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.waiting[a.GetNumber()]
	if !ok {
		return
	}
	if err := refusalError(a); err != nil {
		f.leave(a.GetNumber(), w, answer{err: err})
		return
	}
	w.index = a.GetIndex()
	switch {
	case w.applied:
		f.leave(a.GetNumber(), w, answer{result: w.result, index: w.index})
	case w.index <= f.replaced:
		f.leave(a.GetNumber(), w, answer{err: errReplaced()})
	}
}

func errReplaced() error {
	return fmt.Errorf("%w: the state was replaced by a snapshot", ErrUnknownOutcome)
}

// deliver is told the result of a command by the state machine.
func (f *forwarder) deliver(t tag, r Result) {
	if t.origin != f.origin {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w, ok := f.waiting[t.number]
	if !ok {
		return
	}
	w.applied, w.result = true, r
	if w.index > 0 {
		f.leave(t.number, w, answer{result: r, index: w.index})
	}
}

// skipped answers those whose entries this node will never apply, since it was given a snapshot that has them.
func (f *forwarder) skipped(applied uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replaced = applied
	for number, w := range f.waiting {
		if !w.applied && w.index > 0 && w.index <= applied {
			f.leave(number, w, answer{err: errReplaced()})
		}
	}
}

// close ends the stream and waits for its reader.
func (f *forwarder) close() {
	f.mu.Lock()
	s := f.stream
	f.mu.Unlock()
	if s != nil {
		f.lose(s, ErrStopped)
	}
	f.readers.Wait()
}

// refusalOf says to another node why its proposal was not taken in, or what is not known of it.
func refusalOf(err error) *clusterpb.Answer {
	a := &clusterpb.Answer{Message: err.Error(), Refusal: clusterpb.Refusal_REFUSAL_UNKNOWN}
	if low, ok := errors.AsType[*DiskLowError](err); ok {
		a.Refusal, a.Directory, a.Free, a.Needed = clusterpb.Refusal_REFUSAL_DISK_LOW, low.Dir, low.Free, low.Needed
		return a
	}
	for _, r := range refusals() {
		if errors.Is(err, r.err) {
			a.Refusal = r.refusal
			return a
		}
	}
	return a
}

// refusalError is the reverse of refusalOf; nil if nothing was refused. That the leader stops is no reason for the
// proposer to: another one will lead.
func refusalError(a *clusterpb.Answer) error {
	no := a.GetRefusal()
	if no == clusterpb.Refusal_REFUSAL_NONE {
		return nil
	}
	if no == clusterpb.Refusal_REFUSAL_DISK_LOW {
		return &DiskLowError{Dir: a.GetDirectory(), Free: a.GetFree(), Needed: a.GetNeeded()}
	}
	if no == clusterpb.Refusal_REFUSAL_STOPPED {
		return fmt.Errorf("%w: %s", ErrNotLeader, a.GetMessage())
	}
	for _, r := range refusals() {
		if a.GetRefusal() == r.refusal {
			return fmt.Errorf("the leader says: %w: %s", r.err, a.GetMessage())
		}
	}
	return fmt.Errorf("%w: the leader says: %s", ErrUnknownOutcome, a.GetMessage())
}

type refusal struct {
	err     error
	refusal clusterpb.Refusal
}

// refusals pairs errors with what is said of them; what is in none of them is unknown.
func refusals() []refusal {
	return []refusal{
		{ErrUnknownOutcome, clusterpb.Refusal_REFUSAL_UNKNOWN},
		{ErrNotLeader, clusterpb.Refusal_REFUSAL_NOT_LEADER},
		{ErrStopped, clusterpb.Refusal_REFUSAL_STOPPED},
		{ErrOverloaded, clusterpb.Refusal_REFUSAL_OVERLOADED},
		{ErrCommandTooLarge, clusterpb.Refusal_REFUSAL_TOO_LARGE},
	}
}
