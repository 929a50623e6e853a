package gossiptest

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// queuedPackets is how many packets wait for a reader; more are lost.
const queuedPackets = 1024

type received struct {
	packet []byte
	from   netip.AddrPort
}

// packetConn is a net.PacketConn without deadlines.
type packetConn struct {
	network *Network
	address netip.AddrPort
	queue   chan received
	closed  chan struct{}
	close   sync.Once
}

func newPacketConn(n *Network, address netip.AddrPort) *packetConn {
	return &packetConn{
		network: n, address: address, queue: make(chan received, queuedPackets), closed: make(chan struct{}),
	}
}

func (p *packetConn) receive(packet []byte, from netip.AddrPort) {
	select {
	case p.queue <- received{packet: packet, from: from}:
	default:
	}
}

// ReadFrom implements net.PacketConn.
func (p *packetConn) ReadFrom(buffer []byte) (int, net.Addr, error) {
	select {
	case r := <-p.queue:
		return copy(buffer, r.packet), net.UDPAddrFromAddrPort(r.from), nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn.
func (p *packetConn) WriteTo(packet []byte, to net.Addr) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
	}
	address, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: err}
	}
	p.network.send(p.address, address, append([]byte(nil), packet...))
	return len(packet), nil
}

// Close implements net.PacketConn.
func (p *packetConn) Close() error {
	p.close.Do(func() {
		close(p.closed)
		p.network.mu.Lock()
		delete(p.network.packets, p.address)
		p.network.mu.Unlock()
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.address) }

// SetDeadline implements net.PacketConn.
func (p *packetConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.PacketConn.
func (p *packetConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.PacketConn.
func (p *packetConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type listener struct {
	network  *Network
	address  netip.AddrPort
	accepted chan net.Conn
	closed   chan struct{}
	close    sync.Once
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.close.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		delete(l.network.listeners, l.address)
		l.network.mu.Unlock()
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.address) }

// streamConn is one end of a stream. What is written waits for a reader: there is no buffer.
type streamConn struct {
	net.Conn
	network  *Network
	from, to netip.AddrPort
}

func newStream(n *Network, from, to netip.AddrPort) (near, far net.Conn) {
	a, b := net.Pipe()
	nearEnd := &streamConn{Conn: a, network: n, from: from, to: to}
	farEnd := &streamConn{Conn: b, network: n, from: to, to: from}
	n.streams[nearEnd], n.streams[farEnd] = struct{}{}, struct{}{}
	return nearEnd, farEnd
}

func (s *streamConn) between(a, b netip.Addr) bool {
	return s.from.Addr() == a && s.to.Addr() == b || s.from.Addr() == b && s.to.Addr() == a
}

// Close implements net.Conn.
func (s *streamConn) Close() error {
	s.network.mu.Lock()
	delete(s.network.streams, s)
	s.network.mu.Unlock()
	return s.Conn.Close()
}

// LocalAddr implements net.Conn.
func (s *streamConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.from) }

// RemoteAddr implements net.Conn.
func (s *streamConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.to) }
