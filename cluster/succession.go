package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// A leader whose program has ended need not be waited for. Its kernel closes its connections at once and refuses new
// ones from then on, which no leader does that is slow, or paused, or cut off. So a follower that loses a connection
// from the leader tries to connect, and if that is refused it asks the others whether they find the same; if most do,
// it stands for election without waiting. For all that is not so certain there is the election timeout, which can be
// long enough that a busy machine is not taken for a dead one.

const (
	// successionPatience bounds the time from a lost connection until this node stands for election or leaves it.
	successionPatience = time.Second
	// nextKnock is how long after a connection that was not refused the next one is tried, and knocks how many may come
	// about until the leader is taken to be there: the kernel does not close all that a program had at one instant.
	nextKnock = 10 * time.Millisecond
	knocks    = 5
	// promised is how long a node wants one to lead, itself or another, until it wants any.
	promised = 100 * time.Millisecond
)

// succession is whom this node wants to succeed a leader: itself or another, one at a time.
type succession struct {
	mu    sync.Mutex
	doubt reign // which leader it is being found out of whether it has ended
	after reign
	by    claim
	since time.Time
}

// claim is the end of the log of a node that wants to lead.
type claim struct {
	term, index uint64
	node        string
}

// before says whether a claim goes before another one: that of the longer log, and of equals that whose name comes
// first.
func (c claim) before(other claim) bool {
	return cmp.Or(cmp.Compare(other.term, c.term), cmp.Compare(other.index, c.index), cmp.Compare(c.node, other.node)) < 0
}

// inquire reports whether nobody else is finding out about that leader.
func (s *succession) inquire(r reign) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.doubt != r
	s.doubt = r
	return first
}

// known is called when it was found out.
func (s *succession) known(r reign) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubt == r {
		s.doubt = reign{}
	}
}

// open says whether nobody is wanted to succeed that leader.
func (s *succession) open(r reign) bool {
	return s.after != r || time.Since(s.since) > promised
}

// begin reports whether this node may ask for the lead.
func (s *succession) begin(r reign, own claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open(r) {
		return false
	}
	s.after, s.by, s.since = r, own, time.Now()
	return true
}

// yield reports whether this node wants that other one to lead. Whom it wants once it wants for a while, unless that is
// itself.
func (s *succession) yield(r reign, self string, other claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open(r) && s.by.node != other.node && (s.by.node != self || !other.before(s.by)) {
		return false
	}
	s.after, s.by, s.since = r, other, time.Now()
	return true
}

// still reports whether it is a claim of that node that this one wants to succeed.
func (s *succession) still(r reign, node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.after == r && s.by.node == node
}

// reign is a leader and its term.
type reign struct {
	leader raft.ServerID
	at     raft.ServerAddress
	term   uint64
}

func (n *Node) reign() reign {
	r := reign{term: n.raft.CurrentTerm()}
	r.at, r.leader = n.raft.LeaderWithID()
	return r
}

// lost is called when a connection that another node had made for Raft has ended from there.
func (n *Node) lost(peer string) {
	if n.running.Load() == nil {
		return
	}
	r := n.reign()
	if string(r.leader) != peer || n.raft.State() != raft.Follower || n.disk.check(false) != nil {
		return // of those whose disk is full, others may have room
	}
	if n.succession.inquire(r) {
		go n.inquire(r) // ends within successionPatience, or with the node
	}
}

// inquire finds out whether the leader's program has ended, and has it succeeded if so.
func (n *Node) inquire(r reign) {
	defer n.succession.known(r)
	ctx, cancel := context.WithTimeout(context.Background(), successionPatience)
	defer cancel()
	go func() {
		select {
		case <-n.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := n.ended(ctx, r)
	for err == nil && n.reign() == r && n.raft.State() == raft.Follower {
		if own := n.claim(); n.succession.begin(r, own) {
			if err = n.succeed(ctx, r, own); err != nil {
				n.log.Info("node leaves it to others to succeed the leader", slog.Any("error", err))
			}
		}
		select {
		case <-time.After(promised + rand.N(promised)): // #nosec G404 -- only not all at the same time
			err = nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
}

// succeed has this node stand for election if the leader's program has ended, and most others find so and let it.
func (n *Node) succeed(ctx context.Context, r reign, own claim) error {
	if s, ok := n.member(n.id.NodeID); !ok || s.Suffrage != raft.Voter {
		return errors.New("this node has no vote")
	}
	if err := n.askToYield(ctx, r, own); err != nil {
		return err
	}
	if n.raft.State() != raft.Follower || n.reign() != r || !n.succession.still(r, n.id.NodeID) {
		return errors.New("another node leads, or goes first")
	}
	n.log.Info("node stands for election: the program of the leader has ended", slog.String("leader", string(r.leader)))
	self := raft.ServerID(n.id.NodeID)
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	return n.transport.TimeoutNow(self, n.transport.LocalAddr(), request, &raft.TimeoutNowResponse{})
}

// ended returns nil once connections to a leader are refused.
func (n *Node) ended(ctx context.Context, r reign) error {
	for there := 0; ; {
		conn, err := n.cfg.Network.Dial(ctx, PurposePeer, string(r.leader), string(r.at))
		if err == nil {
			_ = conn.Close()
			if there++; there == knocks {
				return fmt.Errorf("%s is there", r.leader)
			}
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		select {
		case <-time.After(nextKnock):
		case <-ctx.Done():
			return cmp.Or(err, ctx.Err())
		}
	}
}

// askToYield returns nil once most voters, this node being one of them, find that the leader has ended and let this
// node succeed it.
func (n *Node) askToYield(ctx context.Context, r reign, own claim) error {
	request := &clusterpb.YieldRequest{
		Leader: string(r.leader), Term: r.term, LastTerm: own.term, LastIndex: own.index,
	}
	return n.poll(ctx, func(ctx context.Context, s raft.Server) bool {
		if s.ID == r.leader {
			return false
		}
		conn, err := n.link(string(s.ID), string(s.Address))
		if err != nil {
			return false
		}
		reply, err := clusterpb.NewPeerClient(conn).Yield(ctx, request)
		return err == nil && reply.GetYields()
	})
}

// claim is that of this node, by what Raft compares when it is asked for a vote.
func (n *Node) claim() claim {
	stats := n.raft.Stats()
	c := claim{node: n.id.NodeID}
	c.term, _ = strconv.ParseUint(stats["last_log_term"], 10, 64)
	c.index, _ = strconv.ParseUint(stats["last_log_index"], 10, 64)
	return c
}

// yields says whether this node leaves the lead to one that asks for it.
func (n *Node) yields(ctx context.Context, node string, request *clusterpb.YieldRequest) bool {
	ctx, cancel := context.WithTimeout(ctx, successionPatience)
	defer cancel()
	r := n.reign()
	if n.stoppedError() != nil || string(r.leader) != request.GetLeader() || r.term != request.GetTerm() {
		return false
	}
	other := claim{term: request.GetLastTerm(), index: request.GetLastIndex(), node: node}
	own := n.claim()
	own.node = node // names decide only between those that ask
	if own.before(other) {
		return false // this node would not vote for it
	}
	return n.ended(ctx, r) == nil && n.succession.yield(r, n.id.NodeID, other)
}

// attentive tells when a connection has ended from the other side.
type attentive struct {
	net.Conn
	lost func()
	once sync.Once
}

// Read implements net.Conn.
func (c *attentive) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heed(err)
	return n, err
}

// Write implements net.Conn.
func (c *attentive) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.heed(err)
	return n, err
}

func (c *attentive) heed(err error) {
	if brokenOff(err) {
		c.once.Do(c.lost)
	}
}
