package gossiptest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Network connects hosts. What is random in it follows from its seed; the order in which goroutines run does not.
type Network struct {
	mu        sync.Mutex
	random    *rand.Rand
	loss      float64
	latency   time.Duration
	cut       map[[2]netip.Addr]bool // from, to
	stalled   map[netip.Addr][]func()
	packets   map[netip.AddrPort]*packetConn
	listeners map[netip.AddrPort]*listener
	streams   map[*streamConn]struct{}
	nextPort  uint16
	changed   chan struct{} // closed and replaced when streams may pass that could not
}

// firstFreePort is the first one that is given to those who ask for port 0.
const firstFreePort = 40000

// New returns a network without loss on which a packet takes up to a millisecond.
func New(seed uint64) *Network {
	return &Network{
		random: rand.New(rand.NewPCG(seed, seed)), latency: time.Millisecond,
		cut: map[[2]netip.Addr]bool{}, stalled: map[netip.Addr][]func(){},
		packets: map[netip.AddrPort]*packetConn{}, listeners: map[netip.AddrPort]*listener{},
		streams: map[*streamConn]struct{}{}, nextPort: firstFreePort, changed: make(chan struct{}),
	}
}

// SetLoss makes a share of all packets be lost, 0 to 1.
func (n *Network) SetLoss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// SetLatency makes a packet take up to most.
func (n *Network) SetLatency(most time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latency = most
}

// Cut lets nothing pass between two hosts: packets are lost, streams break, and dialing lasts until its context ends.
func (n *Network) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay loses packets from one host to another. Streams between them need both ways.
func (n *Network) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	n.cut[[2]netip.Addr{a, b}] = true
	for s := range n.streams {
		if s.between(a, b) {
			_ = s.Conn.Close()
		}
	}
}

// Isolate cuts a host off from others.
func (n *Network) Isolate(host string, others ...string) {
	for _, other := range others {
		if other != host {
			n.Cut(host, other)
		}
	}
}

// Heal undoes all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.wake()
}

// wake lets those who wait for a stream look again.
func (n *Network) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// Stall holds all packets that a host sends and receives, and all new streams, until Resume, as if it got no CPU. Its
// timers go on.
func (n *Network) Stall(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ip := netip.MustParseAddr(host); n.stalled[ip] == nil {
		n.stalled[ip] = []func(){}
	}
}

// Resume delivers what was held for a host.
func (n *Network) Resume(host string) {
	ip := netip.MustParseAddr(host)
	n.mu.Lock()
	held := n.stalled[ip]
	delete(n.stalled, ip)
	n.wake()
	n.mu.Unlock()
	for _, deliver := range held {
		deliver()
	}
}

// Host returns a host of the network, by its IP address.
func (n *Network) Host(ip string) *Host { return &Host{network: n, ip: netip.MustParseAddr(ip)} }

// severed reports whether no stream can pass between a and b now.
func (n *Network) severed(a, b netip.Addr) bool {
	return n.cut[[2]netip.Addr{a, b}] || n.cut[[2]netip.Addr{b, a}] || n.stalled[a] != nil || n.stalled[b] != nil
}

// send carries a packet, or loses it.
func (n *Network) send(from, to netip.AddrPort, packet []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[[2]netip.Addr{from.Addr(), to.Addr()}] || n.random.Float64() < n.loss {
		return
	}
	deliver := func() { n.deliver(from, to, packet) }
	if held, ok := n.stalled[from.Addr()]; ok {
		n.stalled[from.Addr()] = append(held, deliver)
		return
	}
	time.AfterFunc(time.Duration(n.random.Int64N(int64(n.latency)+1)), deliver)
}

func (n *Network) deliver(from, to netip.AddrPort, packet []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if held, ok := n.stalled[to.Addr()]; ok {
		n.stalled[to.Addr()] = append(held, func() { n.deliver(from, to, packet) })
		return
	}
	if p := n.packets[to]; p != nil {
		p.receive(packet, from)
	}
}

// Host is one side of a network. Its methods are those of a gossip.Network.
type Host struct {
	network *Network
	ip      netip.Addr
}

// bind returns the address to listen on.
func (h *Host) bind(address string) (netip.AddrPort, error) {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return parsed, fmt.Errorf("reading %q: %w", address, err)
	}
	if parsed.Addr() != h.ip {
		return parsed, fmt.Errorf("listening on %s at %s: %w", address, h.ip, syscall.EADDRNOTAVAIL)
	}
	if parsed.Port() == 0 {
		parsed = netip.AddrPortFrom(h.ip, h.network.nextPort)
		h.network.nextPort++
	}
	return parsed, nil
}

// ListenPacket receives the packets for address.
func (h *Host) ListenPacket(_ context.Context, address string) (net.PacketConn, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	bound, err := h.bind(address)
	if err != nil {
		return nil, err
	}
	if n.packets[bound] != nil {
		return nil, fmt.Errorf("listening on %s: %w", bound, syscall.EADDRINUSE)
	}
	p := newPacketConn(n, bound)
	n.packets[bound] = p
	return p, nil
}

// Listen accepts the streams for address.
func (h *Host) Listen(_ context.Context, address string) (net.Listener, error) {
	n := h.network
	n.mu.Lock()
	defer n.mu.Unlock()
	bound, err := h.bind(address)
	if err != nil {
		return nil, err
	}
	if n.listeners[bound] != nil {
		return nil, fmt.Errorf("listening on %s: %w", bound, syscall.EADDRINUSE)
	}
	l := &listener{network: n, address: bound, accepted: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[bound] = l
	return l, nil
}

// Dial opens a stream to address. While there is a cut in between it waits for the end of ctx.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", address, err)
	}
	l, near, far, err := h.connect(ctx, to)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	select {
	case l.accepted <- far:
		return near, nil
	case <-l.closed:
		err = syscall.ECONNREFUSED
	case <-ctx.Done():
		err = os.ErrDeadlineExceeded
	}
	_ = near.Close()
	_ = far.Close()
	return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// connect returns the two ends of a stream, and who is to accept the far one.
func (h *Host) connect(ctx context.Context, to netip.AddrPort) (l *listener, near, far net.Conn, err error) {
	n := h.network
	for {
		n.mu.Lock()
		if !n.severed(h.ip, to.Addr()) {
			break
		}
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, nil, os.ErrDeadlineExceeded
		}
	}
	defer n.mu.Unlock()
	l = n.listeners[to]
	if l == nil {
		return nil, nil, nil, syscall.ECONNREFUSED
	}
	from := netip.AddrPortFrom(h.ip, n.nextPort)
	n.nextPort = max(n.nextPort+1, firstFreePort)
	near, far = newStream(n, from, to)
	return l, near, far, nil
}
