package gossip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/hashicorp/memberlist"
)

// delegate hears what memberlist has to say. It is called with memberlist's locks held: it must call nothing of it.
type delegate struct {
	self      string
	clusterID string
	log       *slog.Logger
	roster    *roster
	conflicts *conflicts
	own       func() netip.AddrPort

	farewells memberlist.TransmitLimitedQueue

	mu   sync.Mutex
	meta []byte // the encoded announcement of this node
}

func (d *delegate) announce(meta []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta = meta
}

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta
}

// NotifyMsg implements memberlist.Delegate: it takes farewells in, and passes on what it did not know.
func (d *delegate) NotifyMsg(data []byte) {
	all, err := decodeFarewells(data)
	if err != nil {
		d.log.Warn("a message cannot be read", slog.Any("error", err))
		return
	}
	for _, f := range all {
		if f.Name == d.self || !d.roster.left(f) {
			continue
		}
		if err := d.spread(f, nil); err != nil {
			d.log.Warn("a farewell cannot be passed on", slog.String("name", f.Name), slog.Any("error", err))
		}
	}
}

// spread passes a farewell on, as often as news is; then over is closed, if it is not nil.
func (d *delegate) spread(f farewell, over chan struct{}) error {
	n, err := newNews(f, over)
	if err != nil {
		return err
	}
	d.farewells.QueueBroadcast(n)
	return nil
}

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.farewells.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate: it mends what was lost on the way.
func (d *delegate) LocalState(bool) []byte {
	known := d.roster.farewells()
	if len(known) == 0 {
		return nil
	}
	data, err := encodeFarewells(known)
	if err != nil {
		d.log.Warn("farewells cannot be told", slog.Any("error", err))
		return nil
	}
	return data
}

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState(data []byte, _ bool) {
	if len(data) > 0 {
		d.NotifyMsg(data)
	}
}

// foreign returns an error if a node is of another cluster, and what it says of itself if not.
func (d *delegate) foreign(node *memberlist.Node) (announcement, error) {
	said, err := decodeAnnouncement(node.Meta)
	if err != nil {
		return said, fmt.Errorf("reading the facts of %q at %s: %w", node.Name, addressOf(node), err)
	}
	if said.ClusterID != d.clusterID {
		return said, fmt.Errorf("%w: %q at %s is of %q, not of %q",
			ErrForeign, node.Name, addressOf(node), said.ClusterID, d.clusterID)
	}
	return said, nil
}

// NotifyMerge implements memberlist.MergeDelegate: it refuses to join with another cluster, or with one that knows
// another process by the name of this one.
func (d *delegate) NotifyMerge(peers []*memberlist.Node) error {
	for _, peer := range peers {
		if _, err := d.foreign(peer); err != nil {
			return err
		}
		there := peer.State == memberlist.StateAlive || peer.State == memberlist.StateSuspect
		if address := addressOf(peer); peer.Name == d.self && there && address != d.own() {
			d.conflicts.note(peer.Name, address, d.own())
			return fmt.Errorf("%w: %q at %s", ErrNameTaken, peer.Name, address)
		}
	}
	return nil
}

// NotifyAlive implements memberlist.AliveDelegate: it refuses members of another cluster.
func (d *delegate) NotifyAlive(peer *memberlist.Node) error {
	if _, err := d.foreign(peer); err != nil {
		return err
	}
	d.roster.answered(peer.Name, addressOf(peer))
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.conflicts.note(existing.Name, addressOf(existing), addressOf(other))
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(node *memberlist.Node) { d.heard(node) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(node *memberlist.Node) { d.heard(node) }

func (d *delegate) heard(node *memberlist.Node) {
	said, err := d.foreign(node)
	if err != nil { // NotifyAlive let it in
		d.log.Warn("facts cannot be read", slog.String("name", node.Name), slog.Any("error", err))
		return
	}
	d.roster.heard(node.Name, said, addressOf(node))
}

// NotifyLeave implements memberlist.EventDelegate. It does not tell a farewell from a death.
func (d *delegate) NotifyLeave(node *memberlist.Node) { d.roster.ended(node.Name) }
