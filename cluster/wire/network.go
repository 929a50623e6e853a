package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// Config says what a Network is.
type Config struct {
	// Listen is the address to listen on, host:port. Required.
	Listen string
	// Advertise is where others reach it, host:port; empty = where it listens.
	Advertise string
	// Holder has the identity of this member, and knows whom it trusts. Required.
	Holder *pki.Holder
	// Purposes that connections are accepted for, and the roles of members that may make them, one at least. Required.
	Purposes map[string][]pki.Role
	// Log takes what is refused; nil = nobody wants to know.
	Log *slog.Logger
}

const (
	// PurposeJoin is the one purpose of a connection whose maker needs no certificate: see Network.Joining.
	PurposeJoin = "join"
	// PurposeAgent is what nodes ask of the agent of a host.
	PurposeAgent = "agent"

	handshakeTimeout = 5 * time.Second
	// handshakes at a time: more wait to be accepted.
	handshakes = 256
	// handshakesOfOne address at a time: more are closed, so that no machine keeps others out by saying nothing.
	handshakesOfOne = 32
	// waiting connections of a purpose, until somebody accepts them.
	waiting = 64
)

// Network is how a member reaches others and is reached. It implements cluster.Network.
type Network struct {
	config    Config
	listener  net.Listener
	advertise string
	slots     *semaphore.Weighted
	ctx       context.Context //nolint:containedctx // ends when the network is closed
	end       context.CancelFunc
	work      sync.WaitGroup

	listeners map[string]*listener // of every purpose, from the beginning

	mu      sync.Mutex
	conns   map[*Conn]bool
	shaking map[netip.Addr]int // handshakes under way, by where they come from
}

// Open listens.
func Open(ctx context.Context, config Config) (*Network, error) {
	for purpose, roles := range config.Purposes {
		if len(roles) == 0 {
			return nil, fmt.Errorf("listening for other nodes: no role may make %s connections", purpose)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for other nodes on %s: %w", config.Listen, err)
	}
	return serve(l, config), nil
}

// serve begins to accept connections.
func serve(l net.Listener, config Config) *Network {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	n := &Network{
		config: config, listener: l, advertise: config.Advertise, slots: semaphore.NewWeighted(handshakes),
		listeners: map[string]*listener{}, conns: map[*Conn]bool{}, shaking: map[netip.Addr]int{},
	}
	if n.advertise == "" {
		n.advertise = l.Addr().String()
	}
	for purpose := range config.Purposes {
		n.listeners[purpose] = newListener(l.Addr())
	}
	n.listeners[PurposeJoin] = newListener(l.Addr())
	n.ctx, n.end = context.WithCancel(context.Background())
	n.work.Go(n.accept)
	return n
}

// Address implements cluster.Network.
func (n *Network) Address() string { return n.advertise }

// Listener implements cluster.Network.
func (n *Network) Listener(purpose string) (net.Listener, error) {
	l, ok := n.listeners[purpose]
	if !ok || !l.take() {
		return nil, fmt.Errorf("listening for %s connections: not a purpose of this network, or taken", purpose)
	}
	return l, nil
}

// accept takes connections until the network is closed.
func (n *Network) accept() {
	for {
		if n.slots.Acquire(n.ctx, 1) != nil {
			return
		}
		raw, err := n.listener.Accept()
		if err != nil {
			n.slots.Release(1)
			if n.ctx.Err() != nil {
				return
			}
			n.config.Log.Warn("accepting a connection failed", slog.Any("error", err))
			select { // out of file descriptors, mostly: that passes
			case <-time.After(acceptPause):
			case <-n.ctx.Done():
			}
			continue
		}
		n.work.Go(func() {
			defer n.slots.Release(1)
			n.greet(raw)
		})
	}
}

const acceptPause = 100 * time.Millisecond

// greet shakes hands and gives the connection to who accepts those of its purpose.
func (n *Network) greet(raw net.Conn) {
	conn, err := n.shakeInTurn(raw)
	if err != nil {
		n.config.Log.Info("a connection was refused", slog.String("from", raw.RemoteAddr().String()), slog.Any("error", err))
		_ = raw.Close()
		return
	}
	if err := n.listeners[conn.purpose].offer(conn); err != nil {
		n.config.Log.Warn("a connection was closed that nobody accepted", slog.String("peer", conn.name.String()),
			slog.String("purpose", conn.purpose), slog.Any("error", err))
		_ = conn.Close()
	}
}

// shakeInTurn shakes hands, unless too many from the same address are at it.
func (n *Network) shakeInTurn(raw net.Conn) (*Conn, error) {
	from, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err != nil {
		return n.shake(raw) // it comes from no network
	}
	source := from.Addr().Unmap()
	if !n.begin(source) {
		return nil, errTooManyOfOne
	}
	defer n.ended(source)
	return n.shake(raw)
}

func (n *Network) begin(source netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shaking[source] >= handshakesOfOne {
		return false
	}
	n.shaking[source]++
	return true
}

func (n *Network) ended(source netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shaking[source]--; n.shaking[source] == 0 {
		delete(n.shaking, source)
	}
}

func (n *Network) shake(raw net.Conn) (*Conn, error) {
	ctx, cancel := context.WithTimeout(n.ctx, handshakeTimeout)
	defer cancel()
	c := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: n.configFor})
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	purpose, ok := purposeOf(c.ConnectionState().NegotiatedProtocol)
	if !ok {
		return nil, errNoPurpose
	}
	if purpose == PurposeJoin {
		return n.keep(c, pki.Name{}, purpose)
	}
	name, err := pki.PeerName(c.ConnectionState())
	if err != nil {
		return nil, err
	}
	return n.keep(c, name, purpose)
}

var (
	errNoPurpose     = errors.New("the connection has no purpose that is known here")
	errNobodyAccepts = errors.New("connections of its purpose are not accepted any more")
	errTooMany       = errors.New("too many of its purpose wait to be accepted")
	errTooManyOfOne  = errors.New("too many from its address have not said yet who they are")
)

// configFor chooses what is asked of a caller by what it wants.
func (n *Network) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	for _, protocol := range hello.SupportedProtos {
		purpose, ok := purposeOf(protocol)
		switch {
		case !ok:
			continue
		case purpose == PurposeJoin:
			return n.config.Holder.JoinConfig([]string{protocol}), nil
		case n.config.Purposes[purpose] != nil:
			return n.config.Holder.ServerConfig([]string{protocol}, n.config.Purposes[purpose]...), nil
		}
	}
	return nil, errNoPurpose
}

// Dial implements cluster.Network: it connects to a management node.
func (n *Network) Dial(ctx context.Context, purpose, node, address string) (net.Conn, error) {
	return n.DialTo(ctx, purpose, pki.RoleNode, node, address)
}

// DialTo connects to a member in a role. An empty name is any of them.
func (n *Network) DialTo(ctx context.Context, purpose string, role pki.Role, name, address string) (net.Conn, error) {
	config := n.config.Holder.ClientConfigAny(role, []string{ProtocolOf(purpose)})
	if name != "" {
		config = n.config.Holder.ClientConfig(n.name(role, name), []string{ProtocolOf(purpose)})
	}
	conn, err := n.dial(ctx, config, purpose, address)
	if n.ctx.Err() != nil && err != nil {
		err = net.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to %s %s at %s: %w", role, name, address, err)
	}
	return conn, nil
}

func (n *Network) name(role pki.Role, name string) pki.Name {
	own := n.config.Holder.Identity().Name()
	return pki.Name{ClusterID: own.ClusterID, Role: role, Name: name}
}

func (n *Network) dial(ctx context.Context, config *tls.Config, purpose, address string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn, err := n.call(ctx, raw, config, purpose)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// call shakes hands with who was connected to.
func (n *Network) call(ctx context.Context, raw net.Conn, config *tls.Config, purpose string) (*Conn, error) {
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	name, err := pki.PeerName(c.ConnectionState())
	if err != nil {
		return nil, err
	}
	return n.keep(c, name, purpose)
}

// keep notes a connection, so that it can be closed with the network.
func (n *Network) keep(c *tls.Conn, name pki.Name, purpose string) (*Conn, error) {
	conn := &Conn{Conn: c, name: name, purpose: purpose, network: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	n.conns[conn] = true
	return conn, nil
}

// Recheck closes the connections whose other end is not to be trusted any more, by what the Holder knows by now.
func (n *Network) Recheck() {
	for _, c := range n.all() {
		if c.purpose == PurposeJoin {
			continue
		}
		if err := n.config.Holder.Recheck(c.ConnectionState()); err != nil {
			n.config.Log.Info("a connection is closed", slog.String("peer", c.name.String()), slog.Any("error", err))
			_ = c.Close()
		}
	}
}

func (n *Network) all() []*Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*Conn, 0, len(n.conns))
	for c := range n.conns {
		list = append(list, c)
	}
	return list
}

// Close implements cluster.Network.
func (n *Network) Close() error {
	n.end()
	err := n.listener.Close()
	for _, l := range n.listeners {
		_ = l.Close()
	}
	for _, c := range n.all() {
		_ = c.Close()
	}
	n.work.Wait()
	if errors.Is(err, net.ErrClosed) { // closed before
		return nil
	}
	return err
}
