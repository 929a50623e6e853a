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
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// purposeTunnel is that of connections which carry a machine from one member to another.
const purposeTunnel = "tunnel"

// ends are the ends of tunnels at this node.
func (n *Node) ends() *relay.Tunnels {
	return &relay.Tunnels{Console: n.offered.Console, Enter: n.offered.Enter, Reach: n.reachForTunnel}
}

// reachForTunnel connects to another member, which has to be the one that it is taken for.
func (n *Node) reachForTunnel(ctx context.Context, to relay.Member) (net.Conn, error) {
	if n.network == nil {
		return nil, errors.New("this node reaches no others")
	}
	return n.network.wire.DialTo(ctx, purposeTunnel, pki.Role(to.Role), to.Name, to.Address)
}

// meetTunnels leads the members that connect to where they are expected, until ctx ends.
func (n *Node) meetTunnels(ctx context.Context) error {
	l, err := n.network.wire.Listener(purposeTunnel)
	if err != nil {
		return err
	}
	log := n.config.Log.With(slog.String("component", "tunnels"))
	n.chores.done.Go(func() { serveTunnels(ctx, l, n.tunnels, log) })
	return nil
}

// serveTunnels has each connection met, and returns when ctx has ended and all are over.
func serveTunnels(ctx context.Context, l net.Listener, tunnels *relay.Tunnels, log *slog.Logger) {
	meetings := make(chan struct{}, maxTunnels)
	defer func() {
		for range maxTunnels {
			meetings <- struct{}{}
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		meetings <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			<-meetings
			return
		}
		go func() {
			defer func() { <-meetings }()
			known, ok := conn.(*wire.Conn)
			if !ok {
				_ = conn.Close()
				return
			}
			name := known.Name()
			err := tunnels.Meet(ctx, conn, relay.Member{Role: string(name.Role), Name: name.Name})
			if err != nil {
				log.Info("a tunnel ended", slog.String("peer", name.String()), slog.Any("error", err))
			}
		}()
	}
}

// maxTunnels at a time end at a member: more wait.
const maxTunnels = 64

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
	forget, err := target.Expect(ctx, to.Product, socket, sender, ticket)
	if err != nil {
		return "", nil, fmt.Errorf("having node %s expect a machine: %w", to.Node, err)
	}
	path, end, err := source.Dig(ctx, from.Product, receiver, ticket)
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
	far, err := f.own.Console(ctx, to.Product, socket)
	if err != nil {
		return "", nil, err
	}
	entry, err := f.own.Enter(from.Product, far)
	if err != nil {
		return "", nil, err
	}
	return entry.Path(), entry.Close, nil
}

// tunneler returns who makes the ends of tunnels at a node, and how others know that one.
func (f *fleet) tunneler(node string) (relay.Tunneler, relay.Member, error) {
	if f.here(node) {
		node = f.node
	} else if node == "" {
		node = f.founder()
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

func unreachable(node string, err error) error {
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "node-unreachable",
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
