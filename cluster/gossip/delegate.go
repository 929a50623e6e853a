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

// NotifyMsg implements memberlist.Delegate; nobody sends messages of our own.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState([]byte, bool) {}

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
