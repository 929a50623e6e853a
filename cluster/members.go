package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// Member is a node of the cluster, as this node knows it.
type Member struct {
	// ID names it, Address is where it is reached, host:port.
	ID, Address string
	// Voter says that its word counts; one that is not yet a voter receives what is agreed on and becomes one when it has
	// caught up.
	Voter bool
	// Leader says that it leads.
	Leader bool
	// Heard is when the leader last heard from it, as far as this node knows; zero if it does not.
	Heard time.Time
	// Applied is how far its state was then, Version the program it runs, Leaving whether it is about to stop.
	Applied uint64
	Version string
	Leaving bool
	// Silent says that it has not renewed since the node that leads began to.
	Silent bool
}

// Leading lists the nodes as this node knows them, and the term in which it leads: what Heard says of each holds in
// that term. The term is 0 while it does not lead. Those that were silent for longer than over are not heard from then
// on, until Settled is called: what is decided on the strength of their silence holds.
func (n *Node) Leading(over time.Duration) ([]Member, uint64) {
	term, err := n.leadership.current()
	if err != nil {
		return nil, 0
	}
	n.heard.condemn(over)
	members := n.Members()
	if again, err := n.leadership.current(); err != nil || again != term {
		return nil, 0
	}
	return members, term
}

// Settled says that what Leading led to was agreed on and applied, or refused: all nodes may be heard again.
func (n *Node) Settled() { n.heard.pardon() }

// Members lists the nodes of the cluster.
func (n *Node) Members() []Member {
	_, leader := n.raft.LeaderWithID()
	known := n.heard.show
	if _, err := n.leadership.current(); err == nil {
		known = n.heard.of
	}
	var list []Member
	for _, s := range n.servers() {
		m := Member{
			ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: s.ID == leader,
		}
		if h, ok := known(m.ID); ok {
			m.Heard, m.Applied, m.Version, m.Leaving = h.at, h.applied, h.version, h.leaving
			m.Silent = !h.renewed
		}
		list = append(list, m)
	}
	return list
}

func (n *Node) servers() []raft.Server {
	future := n.raft.GetConfiguration()
	if future.Error() != nil {
		return nil // raft has stopped
	}
	return future.Configuration().Servers
}

func (n *Node) member(id string) (raft.Server, bool) {
	for _, s := range n.servers() {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

// nameOf names the node that is reached at an address; "" if none is known to be.
func (n *Node) nameOf(address string) string {
	r := n.running.Load()
	if r == nil { // it is being started
		return ""
	}
	future := r.GetConfiguration()
	if future.Error() != nil {
		return ""
	}
	for _, s := range future.Configuration().Servers {
		if string(s.Address) == address {
			return string(s.ID)
		}
	}
	return ""
}

// Conn returns the connection to another node of the cluster, for calls of a service that its Config.Register made.
// Errors: ErrNotMember, ErrStopped.
func (n *Node) Conn(id string) (grpc.ClientConnInterface, error) {
	s, ok := n.member(id)
	if !ok || n.peers == nil {
		return nil, fmt.Errorf("connecting to node %q: %w", id, ErrNotMember)
	}
	return n.link(id, string(s.Address))
}

// link returns the connection to a node that is reached at an address.
func (n *Node) link(id, address string) (*grpc.ClientConn, error) {
	conn, err := n.links.To(id, address)
	if errors.Is(err, calls.ErrClosed) {
		return nil, ErrStopped
	}
	return conn, err
}

// leader returns the node that leads, and the connection to it.
func (n *Node) leader() (id string, conn grpc.ClientConnInterface, err error) {
	address, leader := n.raft.LeaderWithID()
	if n.peers == nil || leader == "" || string(leader) == n.id.NodeID {
		return "", nil, ErrNotLeader
	}
	conn, err = n.link(string(leader), string(address))
	return string(leader), conn, err
}

// askLeader asks the node that leads, as long as it does: what is asked of one that was cut off, and is not told so,
// would hold up what comes after it. Errors: ErrNotLeader, that of ctx.
func (n *Node) askLeader(ctx context.Context, ask func(context.Context, clusterpb.PeerClient) error) error {
	changed := n.leadership.next()
	leader, conn, err := n.leader()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go n.endWith(ctx, leader, changed, cancel)
	err = leaderError(ask(ctx, clusterpb.NewPeerClient(conn)))
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrNotLeader) {
		return cause
	}
	return err
}

// endWith cancels when a node does not lead any more, as far as this one knows.
func (n *Node) endWith(ctx context.Context, leader string, changed <-chan struct{}, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		changed = n.leadership.next()
		if _, now := n.raft.LeaderWithID(); string(now) != leader {
			cancel(fmt.Errorf("%w: it was %s", ErrNotLeader, leader))
			return
		}
	}
}

// Add takes a node in that is reached at address. It is sent what was agreed on and becomes a voter when it has caught
// up. One that belongs to the cluster already is reached at address from now on. Any node can be asked.
// Errors: ErrNotLeader, ErrStopped, that of ctx.
func (n *Node) Add(ctx context.Context, id, address string) error {
	return n.ask(ctx, "adding node "+id, &clusterpb.ChangeRequest{Change: &clusterpb.ChangeRequest_Add_{
		Add: &clusterpb.ChangeRequest_Add{NodeId: id, Address: address},
	}})
}

// Remove takes a node out of the cluster. It is refused with ErrQuorum if fewer than a majority of the voters that
// remain are known to be well, unless force is set. Any node can be asked, also the one to be removed.
// Errors: ErrQuorum, ErrNotMember, ErrNotLeader, ErrStopped, that of ctx.
func (n *Node) Remove(ctx context.Context, id string, force bool) error {
	return n.ask(ctx, "removing node "+id, &clusterpb.ChangeRequest{Change: &clusterpb.ChangeRequest_Remove_{
		Remove: &clusterpb.ChangeRequest_Remove{NodeId: id, Force: force},
	}})
}

// Transfer has another node lead: the one named, or any. It is no error if id leads already.
// Errors: ErrLeadStays, ErrNotMember, ErrNotLeader, ErrStopped, that of ctx.
func (n *Node) Transfer(ctx context.Context, id string) error {
	return n.ask(ctx, "transferring the lead", &clusterpb.ChangeRequest{Change: &clusterpb.ChangeRequest_Transfer_{
		Transfer: &clusterpb.ChangeRequest_Transfer{NodeId: id},
	}})
}

// ask has the leader make a change.
func (n *Node) ask(ctx context.Context, what string, r *clusterpb.ChangeRequest) error {
	err := n.withLeader(ctx, func() error {
		if _, leads := n.leadership.current(); leads == nil {
			return n.change(ctx, r)
		}
		return n.askLeader(ctx, func(ctx context.Context, leader clusterpb.PeerClient) error {
			_, err := leader.Change(ctx, r)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// change makes a change, on the leader.
func (n *Node) change(ctx context.Context, r *clusterpb.ChangeRequest) error {
	if _, err := n.leadership.current(); err != nil {
		return err
	}
	switch c := r.GetChange().(type) {
	case *clusterpb.ChangeRequest_Add_:
		return n.add(c.Add.GetNodeId(), c.Add.GetAddress())
	case *clusterpb.ChangeRequest_Remove_:
		return n.remove(ctx, c.Remove.GetNodeId(), c.Remove.GetForce())
	case *clusterpb.ChangeRequest_Transfer_:
		return n.transfer(ctx, c.Transfer.GetNodeId())
	}
	return fmt.Errorf("%w: a change of cluster members that this program does not know", ErrVersion)
}

func (n *Node) add(id, address string) error {
	known, ok := n.member(id)
	if ok && string(known.Address) == address {
		return nil
	}
	change := n.raft.AddNonvoter
	if ok && known.Suffrage == raft.Voter {
		change = n.raft.AddVoter
	}
	future := change(raft.ServerID(id), raft.ServerAddress(address), 0, n.cfg.StopTimeout)
	return changed(future)
}

// changed waits for a change. One that was appended and not agreed on before the leader lost its lead may come about
// or not: asked again, whoever leads finds out.
func changed(future raft.IndexFuture) error {
	err := future.Error()
	if err != nil && (isLost(err) || errors.Is(err, raft.ErrLeadershipLost)) {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return err
}

func (n *Node) remove(ctx context.Context, id string, force bool) error {
	if _, ok := n.member(id); !ok {
		return fmt.Errorf("%q: %w", id, ErrNotMember)
	}
	if err := n.guardQuorum(id); err != nil && !force {
		return err
	}
	if id == n.id.NodeID { // a leader that removes itself leaves the others without one for a while
		if err := n.transfer(ctx, ""); err != nil {
			return err
		}
		return ErrNotLeader // whoever leads now is asked again
	}
	err := changed(n.raft.RemoveServer(raft.ServerID(id), 0, n.cfg.StopTimeout))
	if err == nil {
		n.heard.forget(id)
		n.log.InfoContext(ctx, "node removed from the cluster", slog.String("removed", id))
	}
	return err
}

// guardQuorum refuses what would leave fewer than a majority of voters that are well.
func (n *Node) guardQuorum(without string) error {
	voters, well := 0, 0
	var silent []string
	for _, s := range n.servers() {
		id := string(s.ID)
		if s.Suffrage != raft.Voter || id == without {
			continue
		}
		voters++
		h, ok := n.heard.of(id)
		if id == n.id.NodeID || ok && h.renewed && time.Since(h.at) < n.cfg.Silence {
			well++
			continue
		}
		silent = append(silent, id)
	}
	if voters == 0 {
		return fmt.Errorf("%w: %s is the only voter", ErrQuorum, without)
	}
	need := voters/2 + 1
	if well < need && n.heard.since() < n.cfg.Silence {
		return fmt.Errorf("%w for long enough to know who is well", ErrNotLeader)
	}
	if well < need {
		return fmt.Errorf("%w: of the %d voters that remain %d are well (not %v), and it takes %d to agree",
			ErrQuorum, voters, well, silent, need)
	}
	return nil
}

func (n *Node) transfer(ctx context.Context, id string) error {
	if id == n.id.NodeID {
		return nil
	}
	if _, ok := n.member(id); !ok && id != "" {
		return fmt.Errorf("%q: %w", id, ErrNotMember)
	}
	if err := n.handOver(ctx, id); err != nil {
		return fmt.Errorf("transferring the lead: %w", err)
	}
	return nil
}

// careLoop looks after the members while this node leads: those that have caught up become voters, those that were
// silent for very long are removed, and those that moved are reached where they are now. A node whose disk is full
// leaves the lead to another.
func (n *Node) careLoop() {
	tick := time.NewTicker(n.cfg.Silence / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.stopping:
			return
		}
		if _, err := n.leadership.current(); err != nil {
			continue
		}
		for _, s := range n.servers() {
			if err := n.careFor(s); err != nil {
				n.log.Warn("looking after a node failed", slog.String("peer", string(s.ID)), slog.Any("error", err))
			}
		}
		n.yieldWhenFull()
	}
}

// yieldWhenFull gives the lead to a voter that is well and has room, when this node has none: a node that leads takes
// in what is asked of all.
func (n *Node) yieldWhenFull() {
	full := n.disk.check(false)
	if full == nil {
		return
	}
	for _, s := range n.wellVoters() {
		n.log.Warn("another node is to lead", slog.String("peer", string(s.ID)), slog.Any("error", full))
		if err := n.transfer(context.Background(), string(s.ID)); err != nil {
			n.log.Warn("another node does not lead", slog.Any("error", err))
			continue
		}
		return
	}
}

// caughtUp is how many entries a node may lack to become a voter.
const caughtUp = 1000

func (n *Node) careFor(s raft.Server) error {
	id := string(s.ID)
	if id == n.id.NodeID {
		if want := n.cfg.Network.Address(); string(s.Address) != want {
			return n.add(id, want)
		}
		return nil
	}
	h, ok := n.heard.of(id)
	if !ok {
		return nil
	}
	silent := time.Since(h.at)
	switch {
	case silent > n.cfg.RemoveSilentAfter:
		return n.remove(context.Background(), id, false)
	case silent > n.cfg.Silence:
		return nil
	case h.address != "" && h.address != string(s.Address):
		return n.add(id, h.address)
	case s.Suffrage == raft.Nonvoter && h.renewed && h.applied+caughtUp >= n.AppliedIndex():
		err := changed(n.raft.AddVoter(s.ID, s.Address, 0, n.cfg.StopTimeout))
		if err == nil {
			n.log.Info("node votes from now on", slog.String("peer", id))
		}
		return err
	}
	return nil
}
