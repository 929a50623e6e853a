package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// steady is Raft's transport without its shortcut for heartbeats, and with word of what was agreed on.
//
// The shortcut: with it, raft v1.7.3 handles a heartbeat of a new leader on another goroutine than everything else, and
// a leader that was paused, and is appending, stamps its own entries with the new leader's term. Nobody ever finds out
// that they are not the new leader's: the states part for good.
//
// The word: Raft lets followers know what is agreed on with the next entries, or after 50 to 100 ms if there are none.
// Whoever proposed at a follower waits for that.
type steady struct {
	*raft.NetworkTransport
	word *word
}

// SetHeartbeatHandler implements raft.Transport.
func (steady) SetHeartbeatHandler(func(raft.RPC)) {}

// handOverPatience is how long a node may take to answer that it is to lead now.
const handOverPatience = 500 * time.Millisecond

// TimeoutNow implements raft.Transport. As long as it lasts this node takes nothing in, also where the node is cut off
// that is to lead.
func (s steady) TimeoutNow(
	id raft.ServerID, target raft.ServerAddress, request *raft.TimeoutNowRequest, response *raft.TimeoutNowResponse,
) error {
	var own raft.TimeoutNowResponse
	answered := make(chan error, 1)
	go func() { answered <- s.NetworkTransport.TimeoutNow(id, target, request, &own) }()
	select {
	case err := <-answered:
		*response = own
		return err
	case <-time.After(handOverPatience):
		return fmt.Errorf("%s did not say within %s that it leads", id, handOverPatience)
	}
}

// RequestVote implements raft.Transport.
func (s steady) RequestVote(
	id raft.ServerID, target raft.ServerAddress, request *raft.RequestVoteRequest, response *raft.RequestVoteResponse,
) error {
	return insist(func() error { return s.NetworkTransport.RequestVote(id, target, request, response) })
}

// RequestPreVote implements raft.WithPreVote.
func (s steady) RequestPreVote(
	id raft.ServerID, target raft.ServerAddress,
	request *raft.RequestPreVoteRequest, response *raft.RequestPreVoteResponse,
) error {
	return insist(func() error { return s.NetworkTransport.RequestPreVote(id, target, request, response) })
}

// insist asks for a vote once more when the connection was dead: the transport keeps some that are idle, and does not
// know which of them ended when the other node was started again. Raft would wait for its timeout and have lost the
// vote. Asked twice, a node votes once and answers twice.
func insist(ask func() error) (err error) {
	for range raftIdle + 1 {
		if err = ask(); !brokenOff(err) {
			return err
		}
	}
	return err
}

// brokenOff reports whether a connection was ended by the other side.
func brokenOff(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// AppendEntriesPipeline implements raft.Transport.
func (s steady) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := s.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	t := newTeller(inner, s.word)
	go t.loop()
	return t, nil
}

// word is the newest entry that this node knows to be agreed on, and the followers that it sends entries to.
type word struct {
	mu          sync.Mutex
	index, term uint64
	tellers     map[*teller]bool
}

func newWord() *word { return &word{tellers: map[*teller]bool{}} }

// on notes an entry that is agreed on.
func (a *word) on(index, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index, a.term = index, term
	for t := range a.tellers {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

func (a *word) newest() (index, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index, a.term
}

func (a *word) add(t *teller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tellers[t] = true
}

func (a *word) remove(t *teller) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tellers, t)
}

// teller sends entries to one follower, and word of what was agreed on when no entries bring it.
type teller struct {
	raft.AppendPipeline
	word   *word
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once

	turn chan struct{} // has who sends: what is sent is in the order of the log; guards what follows
	last raft.AppendEntriesRequest
	sent uint64 // the last entry
	told uint64 // what the follower knows to be agreed on
	// early is what was agreed on before it was sent to this follower.
	early uint64
}

func newTeller(inner raft.AppendPipeline, w *word) *teller {
	t := &teller{
		AppendPipeline: inner, word: w, wake: make(chan struct{}, 1), closed: make(chan struct{}),
		turn: make(chan struct{}, 1),
	}
	w.add(t)
	return t
}

// AppendEntries implements raft.AppendPipeline.
func (t *teller) AppendEntries(
	request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse,
) (raft.AppendFuture, error) {
	if !t.begin() {
		return nil, raft.ErrPipelineShutdown
	}
	defer t.end()
	defer t.giveUpLater().Stop()
	future, err := t.AppendPipeline.AppendEntries(request, response)
	if err != nil {
		return future, err
	}
	t.last, t.sent, t.told = *request, request.PrevLogEntry, request.LeaderCommitIndex
	if n := len(request.Entries); n > 0 {
		t.sent = request.Entries[n-1].Index
	}
	t.last.Entries = nil
	if t.told < t.early && t.early <= t.sent { // agreed on after Raft made this message
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	return future, nil
}

// begin waits for the turn of who called it, and reports whether it came before the pipeline was closed. A turn lasts
// as long as there is no room, and a mutex would keep the time of a synctest bubble from passing meanwhile.
func (t *teller) begin() bool {
	select {
	case t.turn <- struct{}{}:
		return true
	case <-t.closed:
		return false
	}
}

func (t *teller) end() { <-t.turn }

// giveUpLater closes a pipeline in which there is no room for too long; Raft makes another. When a follower has a newer
// term, raft v1.7.3 takes no more answers from it, while what sends may wait for room: that would never end, nor would
// the node.
func (t *teller) giveUpLater() *time.Timer {
	return time.AfterFunc(raftTimeout, func() { _ = t.Close() })
}

// Close implements raft.AppendPipeline.
func (t *teller) Close() error {
	t.once.Do(func() {
		t.word.remove(t)
		close(t.closed)
	})
	return t.AppendPipeline.Close()
}

func (t *teller) loop() {
	for {
		select {
		case <-t.wake:
		case <-t.closed:
			return
		}
		if index, term := t.word.newest(); t.tell(index, term) != nil {
			return // Raft meets the same error, and begins anew
		}
	}
}

// tell says that an entry is agreed on, if the follower has been sent it and was not told. It is an ordinary message of
// Raft without entries, of the term that this node last sent entries in. It claims nothing beyond the entry, which the
// follower checks to be the one that it has: so it is true whoever leads by now.
func (t *teller) tell(index, term uint64) error {
	if !t.begin() {
		return raft.ErrPipelineShutdown
	}
	defer t.end()
	if index > t.sent {
		t.early = index
		return nil
	}
	if index <= t.told {
		return nil
	}
	defer t.giveUpLater().Stop()
	request := t.last
	request.PrevLogEntry, request.PrevLogTerm, request.LeaderCommitIndex = index, term, index
	if _, err := t.AppendPipeline.AppendEntries(&request, new(raft.AppendEntriesResponse)); err != nil {
		return err
	}
	t.told = index
	return nil
}
