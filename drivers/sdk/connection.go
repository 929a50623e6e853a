package sdk

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// TokenKey is the gRPC metadata key under which the host proves on each call that it is the one that started this
// process.
const TokenKey = "bulkhead-token"

// connection is an accepted connection that knows whether it is broken before gRPC reacts to it, so that a cancel
// by the caller and the loss of the caller can be told apart.
type connection struct {
	net.Conn
	broken atomic.Bool
	closed atomic.Bool
	gone   func()
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.broken.Store(true)
	if c.closed.CompareAndSwap(false, true) {
		c.gone()
	}
	return c.Conn.Close()
}

// peerCheck is the transport credential of the driver's socket: it lets in only processes of the expected users and
// counts connections.
type peerCheck struct {
	uids      []int // empty = any
	connected func()
	gone      func()
}

// peerInfo carries the connection to the handlers.
type peerInfo struct {
	credentials.CommonAuthInfo
	conn *connection
}

// AuthType implements credentials.AuthInfo.
func (peerInfo) AuthType() string { return "peercred" }

// ClientHandshake implements credentials.TransportCredentials; the driver never dials.
func (p *peerCheck) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are for servers only")
}

// ServerHandshake implements credentials.TransportCredentials.
func (p *peerCheck) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if err := p.admit(raw); err != nil {
		return nil, nil, err
	}
	conn := &connection{Conn: raw, gone: p.gone}
	p.connected()
	return conn, peerInfo{conn: conn}, nil
}

// Info implements credentials.TransportCredentials.
func (p *peerCheck) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

// Clone implements credentials.TransportCredentials.
func (p *peerCheck) Clone() credentials.TransportCredentials { return p }

// OverrideServerName implements credentials.TransportCredentials.
func (p *peerCheck) OverrideServerName(string) error { return nil }

func (p *peerCheck) admit(raw net.Conn) error {
	conn, ok := raw.(syscall.Conn)
	if len(p.uids) == 0 || !ok {
		return nil
	}
	control, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("reading peer credentials: %w", err)
	}
	var ucred *unix.Ucred
	var credErr error
	err = control.Control(func(fd uintptr) {
		ucred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return fmt.Errorf("reading peer credentials: %w", err)
	}
	if !slices.Contains(p.uids, int(ucred.Uid)) {
		return fmt.Errorf("refusing a connection from uid %d", ucred.Uid)
	}
	return nil
}

// connectionLost tells whether the connection that ctx's call came on is broken.
func connectionLost(ctx context.Context) bool {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := from.AuthInfo.(peerInfo)
	return ok && info.conn.broken.Load()
}

// checkToken refuses calls without the token the host gave this process; an empty want lets all pass.
func checkToken(ctx context.Context, want string) error {
	if want == "" {
		return nil
	}
	given := metadata.ValueFromIncomingContext(ctx, TokenKey)
	if len(given) == 1 && subtle.ConstantTimeCompare([]byte(given[0]), []byte(want)) == 1 {
		return nil
	}
	return Denied("wrong-token", "the caller is not the host that started this driver", "")
}
