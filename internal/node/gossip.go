package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

// purposeGossip is the streams of the gossip. Its packets go to the same address, by
// UDP.
const purposeGossip = "gossip"

const (
	// meetEvery is how often a node looks whether there is anybody to gossip with that
	// it does not know of.
	meetEvery = 5 * time.Second
	// farewellTime bounds how long the others are told that this node leaves.
	farewellTime = time.Second
)

// openGossip begins to tell the other nodes where this one is, and to hear of them.
// It is a hint and no more: whom to call where, and who seems to be gone.
func (n *Node) openGossip(ctx context.Context) error {
	w := n.network
	keys, err := membership.GossipKeys(w.dir)
	if err != nil {
		return err
	}
	listen, err := numeric(ctx, w.member.Listen)
	if err != nil {
		return err
	}
	advertise, err := numeric(ctx, w.member.Advertise)
	if err != nil {
		return err
	}
	w.gossip, err = gossip.Open(gossip.Config{
		Name: w.member.Name, Listen: listen, Advertise: advertise, Keys: keys,
		Facts: gossip.Facts{
			ClusterID: w.member.ClusterID, Version: n.config.Version, Address: w.wire.Address(), Role: string(pki.RoleNode),
			Protocol: cluster.EntryFormat,
		},
		Log: n.config.Log.With(slog.String("component", "gossip")), Network: &gossipNetwork{wire: w.wire},
	})
	if err != nil {
		return fmt.Errorf("beginning to gossip: %w", err)
	}
	return nil
}

// numeric resolves the host of an address.
func numeric(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("reading the address %q: %w", address, err)
	}
	if host == "" {
		host = "::"
	}
	if net.ParseIP(host) == nil {
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return "", fmt.Errorf("finding this node's address: %w", err)
		}
		host = found[0]
	}
	return net.JoinHostPort(host, port), nil
}

// meetRegularly has the node gossip with those that belong to the cluster.
func (n *Node) meetRegularly(ctx context.Context) {
	tick := time.NewTicker(meetEvery)
	defer tick.Stop()
	for {
		if missing := n.strangers(); len(missing) > 0 {
			if _, err := n.network.gossip.Join(ctx, missing); err != nil && ctx.Err() == nil {
				n.config.Log.Debug("some nodes do not gossip", slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// strangers are the addresses of the nodes that the gossip does not know to be there.
func (n *Node) strangers() []string {
	there := map[string]bool{n.config.Name: true}
	for _, m := range n.network.gossip.Members() {
		there[m.Name] = there[m.Name] || m.State == gossip.Alive
	}
	var missing []string
	for _, m := range n.cluster.Members() {
		if !there[m.ID] {
			missing = append(missing, m.Address)
		}
	}
	return missing
}

// suspects reports whether a node seems to be gone.
func (w *network) suspects(node string) bool {
	for _, m := range w.gossip.Members() {
		if m.Name == node {
			return m.State == gossip.Dead || m.State == gossip.Left
		}
	}
	return false
}

// close says farewell to the others and closes what they reached.
func (w *network) close(ctx context.Context) error {
	var errs []error
	if w.gossip != nil {
		leaving, cancel := context.WithTimeout(ctx, farewellTime)
		w.gossip.Leave(leaving) //nolint:errcheck // then they find out
		cancel()
		errs = append(errs, w.gossip.Close())
	}
	if w.wire != nil {
		errs = append(errs, w.wire.Close())
	}
	return errors.Join(errs...)
}

// gossipNetwork carries the gossip: its streams as all others between nodes, its
// packets, which it encrypts itself, by UDP.
type gossipNetwork struct{ wire *wire.Network }

// ListenPacket implements gossip.Network.
func (g *gossipNetwork) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	return gossip.Kernel().ListenPacket(ctx, address)
}

// Listen implements gossip.Network.
func (g *gossipNetwork) Listen(context.Context, string) (net.Listener, error) {
	return g.wire.Listener(purposeGossip)
}

// Dial implements gossip.Network.
func (g *gossipNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	return g.wire.Dial(ctx, purposeGossip, "", address)
}

// guided calls nodes where the gossip says that they are: one that moved says so
// there before those that agree can be told.
type guided struct {
	*wire.Network
	gossip *gossip.Gossip
}

// Dial implements cluster.Network.
func (g *guided) Dial(ctx context.Context, purpose, node, address string) (net.Conn, error) {
	for _, m := range g.gossip.Members() {
		if m.Name == node && m.State == gossip.Alive && m.Facts.Address != "" {
			address = m.Facts.Address
		}
	}
	return g.Network.Dial(ctx, purpose, node, address)
}
