package calls

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Conn is a connection to another member.
type Conn interface {
	net.Conn
	// Peer names the node at the other end; what it returns for a member that is none is the name of no node.
	Peer() string
}

// PeerOf names who makes a call that a server with ServerOptions answers, as Conn.Peer does.
func PeerOf(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, errAnonymous.Error())
	}
	info, ok := p.AuthInfo.(peerInfo)
	if !ok {
		return "", status.Error(codes.Unauthenticated, errAnonymous.Error())
	}
	return info.name, nil
}

// credentialsOf leave the encryption to who made a connection and tell gRPC who is at its other end.
type credentialsOf struct{}

// peerInfo is what is known of the other end.
type peerInfo struct {
	credentials.CommonAuthInfo
	name string
}

// AuthType implements credentials.AuthInfo.
func (peerInfo) AuthType() string { return "cluster" }

var errAnonymous = errors.New("the connection does not say who is at its other end")

// ClientHandshake implements credentials.TransportCredentials.
func (c credentialsOf) ClientHandshake(
	_ context.Context, _ string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	return c.ServerHandshake(conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (credentialsOf) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	known, ok := conn.(Conn)
	if !ok {
		return nil, nil, errAnonymous
	}
	return conn, peerInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, name: known.Peer(),
	}, nil
}

// Info implements credentials.TransportCredentials.
func (credentialsOf) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "cluster"}
}

// Clone implements credentials.TransportCredentials.
func (c credentialsOf) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials.
func (credentialsOf) OverrideServerName(string) error { return nil }

// A link that says nothing for linkPatience is taken for broken; after linkMost at the latest a lost one is tried
// again.
const (
	linkPatience = 5 * time.Second
	linkFirst    = 20 * time.Millisecond
	linkMost     = 500 * time.Millisecond
)

// DialOptions are for calling over connections that dial makes, which are Conns.
func DialOptions(dial func(context.Context, string) (net.Conn, error)) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(credentialsOf{}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 2 * linkPatience, Timeout: linkPatience}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: linkFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: linkMost},
			MinConnectTimeout: linkPatience,
		}),
	}
}

// ServerOptions are for answering on a listener whose connections are Conns.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(credentialsOf{}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * linkPatience, Timeout: linkPatience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: linkPatience, PermitWithoutStream: true}),
	}
}
