package cluster

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
)

// Network connects the nodes of a cluster. Each connection has a purpose, is encrypted, and each of its ends knows
// which node the other is: the connections it accepts are Conns.
type Network interface {
	// Listener accepts the connections that other nodes made for a purpose. It is asked for once.
	Listener(purpose string) (net.Listener, error)
	// Dial connects to a node at an address, host:port. An empty name is any node of the cluster.
	Dial(ctx context.Context, purpose, node, address string) (net.Conn, error)
	// Address is where others reach this node, host:port.
	Address() string
	// Close closes listeners and connections.
	Close() error
}

// Conn is a connection to another node.
type Conn = calls.Conn

// Purposes of connections.
const (
	// PurposeRaft is Raft's own messages.
	PurposeRaft = "raft"
	// PurposePeer is gRPC between nodes.
	PurposePeer = "peer"
)

// raftLayer is the network as Raft's transport sees it.
type raftLayer struct {
	net.Listener
	network Network
	name    func(address string) string
	// lost is told of the nodes that ended a connection they had made.
	lost func(node string)
}

// Accept implements net.Listener.
func (l *raftLayer) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	known, ok := accepted.(Conn)
	if !ok {
		return accepted, nil
	}
	return &attentive{Conn: accepted, lost: func() { l.lost(known.Peer()) }}, nil
}

// Addr implements net.Listener.
func (l *raftLayer) Addr() net.Addr { return address(l.network.Address()) }

// Dial implements raft.StreamLayer.
func (l *raftLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.network.Dial(ctx, PurposeRaft, l.name(string(to)), string(to))
}

// address is one that was given as text.
type address string

// Network implements net.Addr.
func (a address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
