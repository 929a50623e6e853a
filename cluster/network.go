package cluster

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
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
type Conn interface {
	net.Conn
	// Peer names the node at the other end.
	Peer() string
}

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
}

// Addr implements net.Listener.
func (l *raftLayer) Addr() net.Addr { return address(l.network.Address()) }

// Dial implements raft.StreamLayer.
func (l *raftLayer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.network.Dial(ctx, PurposeRaft, l.name(string(to)), string(to))
}

// steady is Raft's transport without its shortcut for heartbeats: with it, raft v1.7.3 handles a heartbeat of a new
// leader on another goroutine than everything else, and a leader that was paused, and is appending, stamps its own
// entries with the new leader's term. Nobody ever finds out that they are not the new leader's: the states part for
// good.
type steady struct{ *raft.NetworkTransport }

// SetHeartbeatHandler implements raft.Transport.
func (steady) SetHeartbeatHandler(func(raft.RPC)) {}

// address is one that was given as text.
type address string

// Network implements net.Addr.
func (a address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// peerCredentials leave the encryption to the Network and tell gRPC who is at the other end.
type peerCredentials struct{}

// peerInfo is what is known of the other end.
type peerInfo struct {
	credentials.CommonAuthInfo
	node string
}

// AuthType implements credentials.AuthInfo.
func (peerInfo) AuthType() string { return "cluster" }

var errAnonymous = errors.New("the connection does not say who is at its other end")

// ClientHandshake implements credentials.TransportCredentials.
func (c peerCredentials) ClientHandshake(
	_ context.Context, _ string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	return c.ServerHandshake(conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	known, ok := conn.(Conn)
	if !ok {
		return nil, nil, errAnonymous
	}
	return conn, peerInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, node: known.Peer(),
	}, nil
}

// Info implements credentials.TransportCredentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "cluster"}
}

// Clone implements credentials.TransportCredentials.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (peerCredentials) OverrideServerName(string) error { return nil }

// A link that says nothing for linkPatience is taken for broken; after linkMost at the latest a lost one is tried
// again.
const (
	linkPatience = 5 * time.Second
	linkFirst    = 20 * time.Millisecond
	linkMost     = 500 * time.Millisecond
)

func dialOptions(dial func(context.Context, string) (net.Conn, error)) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(peerCredentials{}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 2 * linkPatience, Timeout: linkPatience}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: linkFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: linkMost},
			MinConnectTimeout: linkPatience,
		}),
	}
}

func serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(peerCredentials{}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * linkPatience, Timeout: linkPatience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: linkPatience, PermitWithoutStream: true}),
	}
}
