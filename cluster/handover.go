package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

// handOver has another node lead: the voter that is named, or any. It returns once this node does not lead any more.
// Errors: ErrNotLeader, ErrLeadStays, ErrStopped, that of ctx.
//
// Raft's own way is not used. In v1.7.3 it waits, without end, for the goroutine that sends to a follower, which ends
// when the lead is lost meanwhile; from then on raft takes nothing in whenever this node leads, until its process ends
// (hashicorp/raft#696). The steps are the same: take nothing in, see that the other node has all of the log, and tell
// it to stand for election at once.
func (n *Node) handOver(ctx context.Context, id string) error {
	term, err := n.leadership.current()
	if err != nil {
		return err
	}
	if !n.handing.CompareAndSwap(false, true) {
		return fmt.Errorf("%w for long: the lead is about to go to another node already", ErrNotLeader)
	}
	defer n.handing.Store(false)
	patience, cancel := context.WithTimeout(ctx, handOverPatience+n.cfg.ElectionTimeout)
	defer cancel()
	err = n.handTo(patience, id, term)
	switch {
	case err == nil || errors.Is(err, ErrNotLeader):
		return err
	case n.stoppedError() != nil:
		return n.stoppedError()
	case ctx.Err() != nil:
		return fmt.Errorf("handing the lead over: %w", ctx.Err())
	default:
		return fmt.Errorf("%w: %s", ErrLeadStays, err.Error()) // not that it took too long: nobody asked for a time
	}
}

func (n *Node) handTo(ctx context.Context, id string, term uint64) error {
	// What was handed to raft before is in the log when this is, and a majority has it.
	if err := n.raft.Barrier(n.cfg.ElectionTimeout).Error(); err != nil {
		if isLost(err) || errors.Is(err, raft.ErrLeadershipLost) {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return fmt.Errorf("seeing that most nodes are there: %w", err)
	}
	successor, err := n.successor(ctx, id, term)
	if err != nil {
		return err
	}
	n.log.InfoContext(ctx, "another node is told to lead", slog.String("peer", string(successor.ID)))
	err = n.transport.TimeoutNow(successor.ID, successor.Address,
		&raft.TimeoutNowRequest{RPCHeader: n.header()}, &raft.TimeoutNowResponse{})
	if err != nil {
		return fmt.Errorf("telling %s to lead: %w", successor.ID, err)
	}
	return n.untilSucceeded(ctx, term)
}

// successor is the first voter that has all of the log by now: the one that is named, or any.
func (n *Node) successor(ctx context.Context, id string, term uint64) (found raft.Server, err error) {
	others := n.successors(id)
	if len(others) == 0 {
		return found, errors.New("there is no other node that votes")
	}
	answers := make(chan error, len(others))
	caught := make(chan raft.Server, len(others))
	for _, s := range others {
		go func() { // ends within raftTimeout
			err := n.hasAll(ctx, s, term)
			if err == nil {
				caught <- s
				return
			}
			answers <- fmt.Errorf("%s: %w", s.ID, err)
		}()
	}
	for range others {
		select {
		case s := <-caught:
			return s, nil
		case why := <-answers:
			err = errors.Join(err, why)
		case <-ctx.Done():
			return found, errors.Join(errors.New("no other node says in time that it has all of the log"), err)
		}
	}
	return found, err
}

// successors are the voters that are asked: the one that is named, or those that are well, or all others.
func (n *Node) successors(id string) (asked []raft.Server) {
	if well := n.wellVoters(); id == "" && len(well) > 0 {
		return well
	}
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter && string(s.ID) != n.id.NodeID && (id == "" || string(s.ID) == id) {
			asked = append(asked, s)
		}
	}
	return asked
}

// wellVoters are the other voters that were heard lately, have room, and are not about to stop.
func (n *Node) wellVoters() (well []raft.Server) {
	for _, s := range n.servers() {
		h, ok := n.heard.of(string(s.ID))
		if string(s.ID) == n.id.NodeID || s.Suffrage != raft.Voter || !ok || !h.renewed || h.full || h.leaving ||
			time.Since(h.at) > n.cfg.Silence {
			continue
		}
		well = append(well, s)
	}
	return well
}

// hasAll asks a follower whether it has the last entry of the log, by an ordinary message of Raft without entries. It
// is asked again while it lacks some: raft sends them meanwhile.
func (n *Node) hasAll(ctx context.Context, s raft.Server, term uint64) error {
	for {
		stats := n.raft.Stats()
		index, _ := strconv.ParseUint(stats["last_log_index"], 10, 64)
		of, _ := strconv.ParseUint(stats["last_log_term"], 10, 64)
		var reply raft.AppendEntriesResponse
		err := n.transport.AppendEntries(s.ID, s.Address, &raft.AppendEntriesRequest{
			RPCHeader: n.header(), Term: term, PrevLogEntry: index, PrevLogTerm: of,
			LeaderCommitIndex: min(n.raft.CommitIndex(), index),
		}, &reply)
		switch {
		case err != nil:
			return err
		case reply.Success:
			return nil
		case reply.Term > term:
			return fmt.Errorf("%w: %s knows of a newer term", ErrNotLeader, s.ID)
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return fmt.Errorf("waiting until it has all of the log: %w", ctx.Err())
		case <-n.stopping:
			return n.stoppedError()
		}
	}
}

// askAgain is the time between two questions whether a node has caught up.
const askAgain = 10 * time.Millisecond

// header is that of Raft's messages of this node.
func (n *Node) header() raft.RPCHeader {
	self := raft.ServerID(n.id.NodeID)
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self),
		Addr: n.transport.EncodePeer(self, n.transport.LocalAddr()),
	}
}

func (n *Node) leadsIn(term uint64) bool {
	now, err := n.leadership.current()
	return err == nil && now == term
}

// untilSucceeded waits until this node does not lead in a term any more.
func (n *Node) untilSucceeded(ctx context.Context, term uint64) error {
	for {
		changed := n.leadership.next()
		if !n.leadsIn(term) {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(askAgain): // the term is known before that the lead is lost
		case <-ctx.Done():
			return errors.New("the node that was told to lead does not")
		case <-n.stopping:
			return n.stoppedError()
		}
	}
}
