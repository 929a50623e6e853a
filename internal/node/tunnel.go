package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/tunnels"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ends are the ends of tunnels at this node.
func (n *Node) ends() *relay.Tunnels {
	return &relay.Tunnels{
		Console: n.offered.Console, Enter: n.offered.Enter,
		Reach: func(ctx context.Context, to relay.Member) (net.Conn, error) {
			if n.network == nil {
				return nil, errors.New("this node reaches no others")
			}
			return tunnels.Reach(n.network.wire)(ctx, to)
		},
	}
}

// meetTunnels leads the members that connect to where they are expected, until ctx ends.
func (n *Node) meetTunnels(ctx context.Context) {
	log := n.config.Log.With(slog.String("component", "tunnels"))
	if err := tunnels.Serve(ctx, n.network.wire, n.tunnels, log); err != nil {
		log.Error("no machine can move to this node", slog.Any("error", err))
	}
}

// Tunnel implements actors.Drivers. The two members connect to each other; this node only tells them to.
func (f *fleet) Tunnel(
	ctx context.Context, from, to operations.Place, socket string,
) (local string, closed func(), err error) {
	if f.here(from.Node) && f.here(to.Node) {
		return f.tunnelHere(ctx, from, to, socket)
	}
	source, sender, err := f.tunneler(from.Node)
	if err != nil {
		return "", nil, err
	}
	target, receiver, err := f.tunneler(to.Node)
	if err != nil {
		return "", nil, err
	}
	ticket := make([]byte, relay.TicketBytes)
	rand.Read(ticket) // never fails (crypto/rand)
	forget, err := target.Expect(ctx, relayed(to), socket, sender, ticket)
	if err != nil {
		return "", nil, fmt.Errorf("having node %s expect a machine: %w", to.Node, err)
	}
	path, end, err := source.Dig(ctx, relayed(from), receiver, ticket)
	if err != nil {
		forget()
		return "", nil, fmt.Errorf("making a way from node %s to node %s: %w", from.Node, to.Node, err)
	}
	return path, func() {
		end()
		forget()
	}, nil
}

// tunnelHere joins two drivers of this node.
func (f *fleet) tunnelHere(
	ctx context.Context, from, to operations.Place, socket string,
) (local string, closed func(), err error) {
	far, err := f.own.Console(ctx, relayed(to), socket)
	if err != nil {
		return "", nil, err
	}
	entry, err := f.own.Enter(relayed(from), far)
	if err != nil {
		return "", nil, err
	}
	return entry.Path(), entry.Close, nil
}

// tunneler returns who makes the ends of tunnels at a node or agent, and how others know that one.
func (f *fleet) tunneler(node string) (relay.Tunneler, relay.Member, error) {
	if f.here(node) {
		node = f.node
	} else if node == "" {
		node = f.founder()
	}
	if t, who, err := f.agents.tunneler(node); t != nil || err != nil {
		return t, who, err
	}
	who := relay.Member{Role: string(pki.RoleNode), Name: node}
	for _, m := range f.cluster.Members() {
		if m.ID == node {
			who.Address = m.Address
		}
	}
	if node == f.node {
		return f.tunnels, who, nil
	}
	conn, err := f.cluster.Conn(node)
	if err != nil || who.Address == "" {
		return nil, who, unreachable(node, err)
	}
	return relay.NewRemoteTunnels(conn), who, nil
}

// tunneler returns who makes the ends of tunnels at an agent; nil if there is none of that name.
func (a *agents) tunneler(name string) (relay.Tunneler, relay.Member, error) {
	a.mu.Lock()
	one := a.by[name]
	a.mu.Unlock()
	if one == nil {
		return nil, relay.Member{}, a.absent(name)
	}
	if _, err := one.drivers(); err != nil {
		return nil, relay.Member{}, err
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.conn == nil {
		return nil, relay.Member{}, silentAgent(resources.CodeAgentSilent, "agent "+name+" does not answer just now")
	}
	who := relay.Member{Role: string(pki.RoleHost), Name: one.name, Address: one.address}
	return relay.NewRemoteTunnels(one.conn), who, nil
}

func unreachable(node string, err error) error {
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: resources.CodeNodeUnreachable,
		Message: fmt.Sprintf("node %s, whose drivers act for this, can't be reached: %v", node, err),
		Remedy:  "see \"bulkhead node list\": start the node, or forget what was on it if it is lost",
	}
}

// registerTunnels serves the ends of this node's tunnels to the nodes of the cluster, and to nobody else.
func (n *Node) registerTunnels(s grpc.ServiceRegistrar) {
	relay.RegisterTunnels(s, n.tunnels, func(ctx context.Context) error {
		_, err := cluster.PeerOf(ctx)
		return err
	})
}
