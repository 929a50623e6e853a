package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/placement"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/tunnels"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// network is what a node has that others can reach.
type network struct {
	member membership.Membership
	dir    string
	holder *pki.Holder
	wire   *wire.Network

	changing  sync.Mutex     // who changes identity, authority or keys of the gossip; guards what follows
	authority *pki.Authority // that certificates are signed with

	lease  atomic.Pointer[placement.Lease] // nil until there is something to act for
	gossip *gossip.Gossip
}

// memberDir is where in the data directory it is said which cluster a node belongs to.
const memberDir = "cluster"

// openNetwork makes the node reachable for others, if its data directory is that of
// a member of a cluster.
func (n *Node) openNetwork(ctx context.Context) error {
	dir := filepath.Join(n.config.DataDir, memberDir)
	m, err := membership.Load(dir)
	if errors.Is(err, membership.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	n.config.Name = m.Name
	w := &network{member: m, dir: dir}
	if w.authority, err = membership.Authority(dir); err != nil {
		return err
	}
	identity, err := membership.Identity(dir)
	if err != nil {
		return err
	}
	log := n.config.Log.With(slog.String("component", "network"))
	w.holder, err = pki.NewHolder(identity, pki.Rules{
		Clock: time.Now, Allow: n.allow, MayLapse: func(name pki.Name) bool { return name.Role == pki.RoleHost },
		Refused: func(err error) { connectionRefused(log, err) },
	})
	if err != nil {
		return err
	}
	nodes := []pki.Role{pki.RoleNode}
	n.network = w
	if err := n.renewIfDue(time.Now()); err != nil {
		return fmt.Errorf("renewing this node's certificate: %w", err)
	}
	w.wire, err = wire.Open(ctx, wire.Config{
		Listen: m.Listen, Advertise: m.Advertise, Holder: w.holder, Log: log,
		Purposes: map[string][]pki.Role{
			cluster.PurposeRaft: nodes, cluster.PurposePeer: nodes, purposeGossip: nodes, tunnels.Purpose: tunnels.Roles(),
		},
	})
	if err != nil {
		return err
	}
	n.agents = newAgents(n)
	return n.openGossip(ctx)
}

// renewIfDue has the node's certificate signed anew when two thirds of its time are
// over.
func (n *Node) renewIfDue(now time.Time) error {
	w := n.network
	w.changing.Lock()
	defer w.changing.Unlock()
	had := w.holder.Identity()
	if now.Before(had.RenewAt()) {
		return nil
	}
	admission := had.Name().Admission
	if admission == "" { // it is from before certificates had one
		m, _, err := n.memberOf(had.Name())
		if err != nil {
			return err
		}
		admission = m.Admission
	}
	return w.renew(admission)
}

// renew has the node's certificate signed anew. The caller holds changing.
func (w *network) renew(admission string) error {
	identity, err := membership.Renewed(w.authority, w.holder.Identity().Trust(), w.member, admission)
	if err != nil {
		return err
	}
	if err := membership.SaveIdentity(w.dir, identity); err != nil {
		return err
	}
	return w.holder.Set(identity)
}

// sign issues a certificate to somebody who joins, and says what else a member has.
func (w *network) sign(request []byte, name pki.Name) (join.Welcome, error) {
	w.changing.Lock()
	defer w.changing.Unlock()
	keys, err := membership.GossipKeys(w.dir)
	if err != nil {
		return join.Welcome{}, err
	}
	cert, err := w.authority.Sign(request, name, time.Now(), pki.DefaultLifetime)
	if err != nil {
		return join.Welcome{}, &join.Refusal{
			Code: "bad-request", Message: err.Error(), Remedy: "use a program of the same version",
		}
	}
	welcome := join.Welcome{
		ClusterID: w.member.ClusterID, Certificate: cert, Trust: w.holder.Identity().Trust().MarshalPEM(),
	}
	if name.Role == pki.RoleNode { // an agent signs nothing, and hears of nodes from those that call it
		welcome.Authority, welcome.GossipKeys = w.authority.MarshalPEM(), keys
	}
	return welcome, nil
}

// pin is that of the authority that certificates are signed with.
func (w *network) pin() string {
	w.changing.Lock()
	defer w.changing.Unlock()
	return w.authority.Pin()
}

// allow refuses members that were taken out of the cluster, and those whose name was
// given to another since they were let in.
func (n *Node) allow(name pki.Name, signed time.Time) error {
	m, known, err := n.memberOf(name)
	if err != nil {
		return err
	}
	out := n.outside(name, m, known)
	if out != nil && n.mayNotKnow(signed) {
		return nil
	}
	return out
}

// outside says why somebody is no member any more, by what the state says of the name.
func (n *Node) outside(name pki.Name, m persistence.Member, known bool) error {
	switch {
	case !known && name.Role == pki.RoleHost:
		return fmt.Errorf("%s was not let in", name)
	case !known, m.Expelled && n.isMember(name): // it is to be removed, and is not yet
		return nil
	case m.Expelled:
		return fmt.Errorf("%s was removed from the cluster", name)
	case m.Admission != "" && name.Admission != "" && m.Admission != name.Admission:
		return fmt.Errorf("another %s was let in under this name since: this one, of admission %s, was removed",
			name, name.Admission)
	}
	return nil
}

// mayNotKnow reports whether what was decided before a certificate was signed may not
// have reached this node, since it hears of no leader. It must not refuse a member then
// that was let in anew: it may be the one to hear it from.
func (n *Node) mayNotKnow(signed time.Time) bool {
	joined := n.joined.Load()
	if joined == nil || n.network.holds() {
		return false
	}
	return signed.After(joined.LastTime())
}

// holds reports whether this node may act, as it heard from a leader lately.
func (w *network) holds() bool {
	lease := w.lease.Load()
	return lease != nil && lease.Holds()
}

// memberOf reads what the state says of a member.
func (n *Node) memberOf(name pki.Name) (m persistence.Member, known bool, err error) {
	err = n.machine.View(func(v *persistence.View) error {
		m, known, err = v.Member(string(name.Role), name.Name)
		return err
	})
	return m, known, err
}

// isMember reports whether somebody belongs to the cluster still, as far as this node
// knows: that it is to be removed is written down first.
func (n *Node) isMember(name pki.Name) bool {
	joined := n.joined.Load()
	if joined == nil || name.Role != pki.RoleNode {
		return false
	}
	return slices.ContainsFunc(joined.Members(), func(m cluster.Member) bool { return m.ID == name.Name })
}

// register serves what other nodes ask of this one besides agreeing.
func (n *Node) register(s grpc.ServiceRegistrar) {
	peers := func(ctx context.Context) error {
		_, err := cluster.PeerOf(ctx)
		return err
	}
	relay.Register(s, &n.offered, peers)
	relay.RegisterNews(s, n.heardOfStart)
	n.registerTunnels(s)
	relay.RegisterArchives(s, n.shelf, peers)
	relay.RegisterMeters(s, &n.offered, peers)
}

// heardOfStart has those of this node's resources adopted that a driver serves which
// was started on another node.
func (n *Node) heardOfStart(ctx context.Context, product, version string) error {
	from, err := cluster.PeerOf(ctx)
	if err != nil {
		return err
	}
	if !n.started.Load() {
		return nil // all are looked at when this node is there
	}
	return n.system.Adopt(startedAt(driving.Version{Product: product, Number: version}, from))
}

// tellStarted tells the other nodes, whose actors act for resources on this one too.
func (n *Node) tellStarted(ctx context.Context, v driving.Version) {
	if n.network == nil {
		return
	}
	for _, m := range n.cluster.Members() {
		if m.ID == n.config.Name {
			continue
		}
		conn, err := n.cluster.Conn(m.ID)
		if err == nil {
			telling, cancel := context.WithTimeout(ctx, tellTime)
			err = relay.TellStarted(telling, conn, v.Product, v.Number)
			cancel()
		}
		if err != nil { // the regular look at its resources finds out
			n.config.Log.Info("a node was not told that a driver was started",
				slog.String("peer", m.ID), slog.String("driver", v.String()), slog.Any("error", err))
		}
	}
}

const tellTime = 2 * time.Second

// admitOthers answers those that have a join token.
func (n *Node) admitOthers(ctx context.Context) error {
	l, err := n.network.wire.Listener(wire.PurposeJoin)
	if err != nil {
		return err
	}
	n.chores.done.Go(func() {
		err := join.Serve(ctx, l, &admitter{node: n}, n.config.Log.With(slog.String("component", "join")))
		if err != nil && ctx.Err() == nil {
			n.config.Log.Error("nobody can join any more", slog.Any("error", err))
		}
	})
	return nil
}

// renewRegularly keeps the certificate from running out.
func (n *Node) renewRegularly(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(renewEvery - rand.N(renewEvery/4)):
		}
		if err := n.renewIfDue(time.Now()); err != nil {
			n.config.Log.Error("renewing this node's certificate failed; it is tried again", slog.Any("error", err))
		}
	}
}

// recheckRegularly closes the connections of members that were taken out.
func (n *Node) recheckRegularly(ctx context.Context) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.network.wire.Recheck()
		}
	}
}

const (
	renewEvery   = time.Hour
	recheckEvery = 5 * time.Second
)

// terms are the times that leases go by.
func (n *Node) terms() placement.Terms {
	return placement.Terms{Lease: n.config.Lease, Margin: n.config.Lease / 5}
}

// placeShards has the leader give shards to nodes.
func (n *Node) placeShards(ctx context.Context) {
	p := &placement.Placer{
		Terms: n.terms(), Log: n.log, State: n.machine, Members: n.leading,
		Settled: n.cluster.Settled,
		Logger:  n.config.Log.With(slog.String("component", "placement")),
	}
	p.Run(ctx)
}

func (n *Node) leading(over time.Duration) ([]placement.Member, uint64) {
	members, term := n.cluster.Leading(over)
	list := make([]placement.Member, len(members))
	for i, m := range members {
		list[i] = placement.Member{Name: m.ID, Heard: m.Heard, Silent: m.Silent, Draining: m.Leaving}
	}
	return list, term
}

// fresh returns when the state has everything that any node answered before.
func (n *Node) fresh(ctx context.Context) error {
	if n.network == nil {
		return nil
	}
	index, err := n.cluster.ReadIndex(ctx)
	if err == nil {
		err = n.cluster.WaitApplied(ctx, index)
	}
	return clusterError(err)
}

// handOver gives this node's shards and the lead to others before it stops, if there
// are any.
func (n *Node) handOver(ctx context.Context) {
	if n.network == nil || n.system == nil || len(n.cluster.Members()) < 2 {
		return
	}
	n.cluster.Leave(true)
	patience, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	n.giveShards(patience)
	if n.cluster.Status().Leading {
		if err := n.cluster.Transfer(patience, ""); err != nil {
			n.config.Log.Info("nobody took the lead", slog.Any("error", err))
		}
	}
}

// giveShards waits until others have this node's shards, or nobody can take them.
func (n *Node) giveShards(patience context.Context) {
	tick := time.NewTicker(handOverLook)
	defer tick.Stop()
	for led := time.Now(); n.system.Shards() > 0 && patience.Err() == nil && time.Since(led) < leaderless; {
		if n.cluster.Status().Leader != "" {
			led = time.Now()
		}
		select {
		case <-tick.C:
		case <-patience.Done():
		}
	}
	if left := n.system.Shards(); left > 0 {
		n.config.Log.Warn("the node stops with shards that nobody took", slog.Int("shards", left))
	}
}

const (
	handOverTime = 8 * time.Second
	handOverLook = 20 * time.Millisecond
	// leaderless for so long, nobody will take anything.
	leaderless = time.Second
)

func sortedWith(names []string, own string) []string {
	if !slices.Contains(names, own) {
		names = append(names, own)
	}
	slices.Sort(names)
	return names
}
