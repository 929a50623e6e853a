package gossip

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxPacketBytes is the longest packet there is.
	maxPacketBytes = 65536
	// maxStreams bounds the streams that others may have open here: each holds memory before it has shown that it knows a
	// key.
	maxStreams = 256
	// listenTries is how often a free port is looked for that both UDP and TCP can have.
	listenTries = 10
	// acceptPause is waited after a stream could not be accepted, say for want of file descriptors.
	acceptPause = 50 * time.Millisecond
)

// transport is memberlist's view of a Network. Shutdown ends all that goes on in it.
type transport struct {
	network   Network
	listener  net.Listener
	packets   net.PacketConn
	advertise netip.AddrPort
	packetCh  chan *memberlist.Packet
	streamCh  chan net.Conn

	closed  chan struct{}
	reading sync.WaitGroup

	mu      sync.Mutex
	ended   bool
	streams map[*stream]struct{}
}

// stream is closed with its transport.
type stream struct {
	net.Conn
	of *transport
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.of.mu.Lock()
	delete(s.of.streams, s)
	s.of.mu.Unlock()
	return s.Conn.Close()
}

func openTransport(ctx context.Context, network Network, listen, advertise netip.AddrPort) (*transport, error) {
	t := &transport{
		network: network, advertise: advertise,
		packetCh: make(chan *memberlist.Packet), streamCh: make(chan net.Conn),
		closed: make(chan struct{}), streams: map[*stream]struct{}{},
	}
	bound, err := t.listen(ctx, listen)
	for range listenTries {
		if listen.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		bound, err = t.listen(ctx, listen)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", listen, err)
	}
	if !advertise.IsValid() {
		t.advertise = bound
	}
	t.reading.Go(t.accept)
	t.reading.Go(t.receive)
	return t, nil
}

// listen takes the same port for streams and packets.
func (t *transport) listen(ctx context.Context, address netip.AddrPort) (bound netip.AddrPort, err error) {
	listener, err := t.network.Listen(ctx, address.String())
	if err != nil {
		return bound, err
	}
	bound, err = netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		_ = listener.Close()
		return bound, fmt.Errorf("reading the address listened on: %w", err)
	}
	packets, err := t.network.ListenPacket(ctx, netip.AddrPortFrom(address.Addr(), bound.Port()).String())
	if err != nil {
		_ = listener.Close()
		return bound, err
	}
	t.listener, t.packets = listener, packets
	return bound, nil
}

func (t *transport) accept() {
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			select {
			case <-t.closed:
				return
			case <-time.After(acceptPause):
				continue
			}
		}
		s := t.keep(conn, maxStreams)
		if s == nil {
			continue
		}
		select {
		case t.streamCh <- s:
		case <-t.closed:
			_ = s.Close()
			return
		}
	}
}

// keep notes a stream so that Shutdown finds it. If there are most already, or it is too late, it closes it and returns
// nil.
func (t *transport) keep(conn net.Conn, most int) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || len(t.streams) >= most {
		_ = conn.Close()
		return nil
	}
	s := &stream{Conn: conn, of: t}
	t.streams[s] = struct{}{}
	return s
}

func (t *transport) receive() {
	buffer := make([]byte, maxPacketBytes)
	for {
		n, from, err := t.packets.ReadFrom(buffer)
		if err != nil {
			select {
			case <-t.closed:
				return
			case <-time.After(acceptPause):
				continue
			}
		}
		if n == 0 {
			continue
		}
		packet := &memberlist.Packet{Buf: append([]byte(nil), buffer[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packetCh <- packet:
		case <-t.closed:
			return
		}
	}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().Unmap().AsSlice(), int(t.advertise.Port()), nil
}

// WriteTo implements memberlist.Transport. Errors are handed on as they are: memberlist looks at their type.
func (t *transport) WriteTo(packet []byte, address string) (time.Time, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return time.Time{}, fmt.Errorf("sending a packet: %w", err)
	}
	_, err = t.packets.WriteTo(packet, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packetCh }

// DialTimeout implements memberlist.Transport. Errors are handed on as they are: memberlist looks at their type.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-t.closed:
			cancel()
		case <-over:
		}
	}()
	conn, err := t.network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	s := t.keep(conn, math.MaxInt)
	if s == nil {
		return nil, net.ErrClosed
	}
	return s, nil
}

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streamCh }

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	t.mu.Lock()
	if t.ended {
		t.mu.Unlock()
		return nil
	}
	t.ended = true
	open := make([]*stream, 0, len(t.streams))
	for s := range t.streams {
		open = append(open, s)
	}
	t.mu.Unlock()
	close(t.closed)
	err := errors.Join(t.listener.Close(), t.packets.Close())
	for _, s := range open {
		err = errors.Join(err, s.Close())
	}
	t.reading.Wait()
	return err
}

// is reports whether address is this node's own, host:port or what it listens on.
func (t *transport) is(address netip.AddrPort) bool {
	bound, err := netip.ParseAddrPort(t.listener.Addr().String())
	return address == t.advertise || err == nil && address == bound ||
		address.Port() == t.advertise.Port() && ownAddress(address.Addr(), bound)
}

// ownAddress reports whether ip is one of this machine's, if bound is all of them.
func ownAddress(ip netip.Addr, bound netip.AddrPort) bool {
	if !bound.Addr().IsUnspecified() {
		return false
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

func addressOf(node *memberlist.Node) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(node.Addr)
	return netip.AddrPortFrom(ip.Unmap(), node.Port)
}

// resolve returns the addresses that host:port stands for.
func resolve(ctx context.Context, address string) ([]netip.AddrPort, error) {
	if direct, err := netip.ParseAddrPort(address); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(direct.Addr().Unmap(), direct.Port())}, nil
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address %q: %w", address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("reading the port of %q: %w", address, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("looking up %q: %w", host, err)
	}
	found := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		found = append(found, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return found, nil
}
