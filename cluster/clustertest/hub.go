package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Hub connects networks in memory.
type Hub struct {
	mu       sync.Mutex
	networks map[string]*Network
	links    map[*link]bool
	cuts     map[direction]bool
	refusals map[direction]bool
}

type direction struct{ from, to string }

// NewHub returns a hub that connects everybody.
func NewHub() *Hub {
	return &Hub{
		networks: map[string]*Network{}, links: map[*link]bool{},
		cuts: map[direction]bool{}, refusals: map[direction]bool{},
	}
}

// Network returns the network of a node, which it makes anew: the one before, if there was one, is as if its process
// had been killed.
func (h *Hub) Network(node string) *Network {
	h.mu.Lock()
	old := h.networks[node]
	n := &Network{hub: h, node: node, listeners: map[string]*listener{}}
	h.networks[node] = n
	h.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	return n
}

// Cut loses everything that one node sends to another, until Heal. Connections stay: they are only silent.
func (h *Hub) Cut(from, to string) { h.set(from, to, true) }

// Mend takes one Cut back.
func (h *Hub) Mend(from, to string) { h.set(from, to, false) }

func (h *Hub) set(from, to string, cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cuts[direction{from, to}] = cut
	for l := range h.links {
		if l.a == from && l.b == to {
			l.ab.setCut(cut)
		}
		if l.b == from && l.a == to {
			l.ba.setCut(cut)
		}
	}
}

// Refuse ends all connections between two nodes and refuses new ones, until Heal: as a firewall does that resets them.
func (h *Hub) Refuse(a, b string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refusals[direction{a, b}], h.refusals[direction{b, a}] = true, true
	for l := range h.links {
		if l.a == a && l.b == b || l.a == b && l.b == a {
			l.end()
		}
	}
}

// Isolate cuts a node off from all others, both ways.
func (h *Hub) Isolate(node string) {
	for _, other := range h.others(node) {
		h.Cut(node, other)
		h.Cut(other, node)
	}
}

// Heal takes all cuts back.
func (h *Hub) Heal() {
	h.mu.Lock()
	cuts := h.cuts
	clear(h.refusals)
	h.mu.Unlock()
	for d := range cuts {
		h.Mend(d.from, d.to)
	}
}

func (h *Hub) others(node string) (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.networks {
		if name != node {
			names = append(names, name)
		}
	}
	return names
}

// connect makes a connection. While either way is cut it does not come about.
func (h *Hub) connect(ctx context.Context, from, to, purpose string) (net.Conn, error) {
	h.mu.Lock()
	if h.cuts[direction{from, to}] || h.cuts[direction{to, from}] {
		h.mu.Unlock()
		<-ctx.Done()
		return nil, fmt.Errorf("connecting %s to %s: %w", from, to, ctx.Err())
	}
	if h.refusals[direction{from, to}] {
		h.mu.Unlock()
		return nil, fmt.Errorf("connecting %s to %s: %w", from, to, syscall.ECONNREFUSED)
	}
	target := h.networks[to]
	l := newLink(from, to)
	h.links[l] = true
	h.mu.Unlock()
	done := func() { h.closed(l) }
	near := &conn{in: l.ba, out: l.ab, local: from, far: to, closed: done}
	far := &conn{in: l.ab, out: l.ba, local: to, far: from, closed: done}
	if target == nil || !target.accept(purpose, far) {
		_ = near.Close()
		_ = far.Close()
		return nil, fmt.Errorf("connecting %s to %s: %w", from, to, syscall.ECONNREFUSED)
	}
	h.mu.Lock()
	mine := h.networks[from]
	h.mu.Unlock()
	if mine != nil {
		mine.keep(near)
	}
	return near, nil
}

func (h *Hub) closed(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.open--; l.open == 0 {
		delete(h.links, l)
	}
}

// Network is what one node reaches others by.
type Network struct {
	hub  *Hub
	node string

	mu        sync.Mutex
	listeners map[string]*listener
	conns     []net.Conn
	closed    bool
}

// Listener implements cluster.Network.
func (n *Network) Listener(purpose string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.listeners[purpose] != nil {
		return nil, errors.New("listening in memory: closed, or asked for twice")
	}
	l := &listener{node: n.node, waiting: make(chan net.Conn, 64), ended: make(chan struct{})}
	n.listeners[purpose] = l
	return l, nil
}

// Dial implements cluster.Network. The address of a node is its name.
func (n *Network) Dial(ctx context.Context, purpose, node, at string) (net.Conn, error) {
	n.mu.Lock()
	closed := n.closed
	n.mu.Unlock()
	if closed {
		return nil, net.ErrClosed
	}
	if node != "" && node != at {
		return nil, fmt.Errorf("connecting to %s: %s is there", node, at)
	}
	return n.hub.connect(ctx, n.node, at, purpose)
}

// Address implements cluster.Network.
func (n *Network) Address() string { return n.node }

// Close implements cluster.Network.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	conns := n.conns
	n.conns = nil
	n.conns = nil
	for _, l := range n.listeners {
		_ = l.Close()
	}
	n.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	return nil
}

func (n *Network) keep(c net.Conn) {
	n.mu.Lock()
	closed := n.closed
	if !closed {
		n.conns = append(n.conns, c)
	}
	n.mu.Unlock()
	if closed {
		_ = c.Close()
	}
}

func (n *Network) accept(purpose string, c net.Conn) bool {
	n.mu.Lock()
	l, closed := n.listeners[purpose], n.closed
	n.mu.Unlock()
	if l == nil || closed {
		return false
	}
	select {
	case l.waiting <- c:
		n.keep(c)
		return true
	case <-l.ended:
		return false
	}
}

type listener struct {
	node    string
	waiting chan net.Conn
	ended   chan struct{}
	once    sync.Once
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

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(l.node) }
