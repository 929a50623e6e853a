package wire

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// Conn is a connection whose other end is known. It implements cluster.Conn.
type Conn struct {
	*tls.Conn
	name    pki.Name
	purpose string
	network *Network
	once    sync.Once
}

// Name says who is at the other end; the zero Name if it is somebody who wants to join.
func (c *Conn) Name() pki.Name { return c.name }

// Peer implements cluster.Conn: a host agent is no node.
func (c *Conn) Peer() string {
	if c.name.Role == pki.RoleNode {
		return c.name.Name
	}
	return c.name.String()
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.network.mu.Lock()
		delete(c.network.conns, c)
		c.network.mu.Unlock()
	})
	return c.NetConn().Close() // at once: a TLS alert to who does not read would wait
}

// Protocols have a version: what one means may change.
const (
	protocolPrefix = "bulkhead-"
	protocolSuffix = "/1"
)

// ProtocolOf is the ALPN protocol of connections for a purpose.
func ProtocolOf(purpose string) string { return protocolPrefix + purpose + protocolSuffix }

func purposeOf(protocol string) (string, bool) {
	rest, ok := strings.CutPrefix(protocol, protocolPrefix)
	purpose, known := strings.CutSuffix(rest, protocolSuffix)
	return purpose, ok && known
}

// listener gives out the connections of one purpose.
type listener struct {
	address net.Addr
	waiting chan *Conn
	ended   chan struct{}

	mu     sync.Mutex
	taken  bool
	closed bool
}

func newListener(address net.Addr) *listener {
	return &listener{address: address, waiting: make(chan *Conn, waiting), ended: make(chan struct{})}
}

// take reports whether the caller is the first to ask for the listener.
func (l *listener) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.taken
	l.taken = true
	return first
}

// offer has a connection wait to be accepted.
func (l *listener) offer(c *Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errNobodyAccepts
	}
	select {
	case l.waiting <- c:
		return nil
	default: // whoever accepts them is too slow; those of another purpose are not to wait for it
		return errTooMany
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. What waits is closed: its other end would take silence for an answer to come.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.ended)
	for {
		select {
		case c := <-l.waiting:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.address }
