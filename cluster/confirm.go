package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// confirm makes sure that no other node has led in a later term before this was called. Raft's own VerifyLeader does
// not: it counts any answer that arrives after it was asked, also one to a message of before. A leader that was
// stopped has such answers waiting, and would confirm itself with them long after another one was elected.
func (n *Node) confirm(term uint64) error {
	if n.peers == nil { // nodes that are connected in memory, in tests
		return n.raft.VerifyLeader().Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.LeaderPatience)
	defer cancel()
	return n.poll(ctx, func(ctx context.Context, s raft.Server) bool {
		conn, err := n.link(string(s.ID), string(s.Address))
		if err != nil {
			return false
		}
		reply, err := clusterpb.NewPeerClient(conn).Confirm(ctx, &clusterpb.ConfirmRequest{Term: term})
		return err == nil && reply.GetLeads()
	})
}

// poll asks the other voters, all at once, and returns nil once a majority has said yes, this node being one of them.
func (n *Node) poll(ctx context.Context, ask func(context.Context, raft.Server) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var others []raft.Server
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter && string(s.ID) != n.id.NodeID {
			others = append(others, s)
		}
	}
	answers := make(chan bool, len(others))
	for _, s := range others {
		go func() { answers <- ask(ctx, s) }() // ends with ctx
	}
	return n.count(ctx, answers, len(others))
}

// count returns when a majority has said yes, this node being one of them, or it can't be any more.
func (n *Node) count(ctx context.Context, answers <-chan bool, others int) error {
	need := (others + 1) / 2
	for yes, open := 0, others; yes < need; open-- {
		if yes+open < need {
			return fmt.Errorf("%d of %d voters confirm it, it takes %d", yes+1, others+1, need+1)
		}
		select {
		case leads := <-answers:
			if leads {
				yes++
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d of %d voters to confirm it: %w", need+1, others+1, ctx.Err())
		case <-n.stopping:
			return ErrStopped
		}
	}
	return nil
}
