package wire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

// pipes is a listener in memory, on whose connections time is that of the test.
type pipes struct {
	calls   chan net.Conn
	ended   chan struct{}
	once    sync.Once
	broken  atomic.Bool // no file descriptors are left
	accepts atomic.Int64
}

func newPipes() *pipes { return &pipes{calls: make(chan net.Conn), ended: make(chan struct{})} }

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	p.accepts.Add(1)
	if p.broken.Load() {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.ended) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// call connects; it is accepted when the other end of the channel takes it.
func (p *pipes) call() net.Conn {
	here, there := net.Pipe()
	p.calls <- there
	return here
}

// callFrom is call from an address of a network.
func (p *pipes) callFrom(address string) net.Conn {
	here, there := net.Pipe()
	p.calls <- placed{there, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))}
	return here
}

// placed is a connection that comes from somewhere.
type placed struct {
	net.Conn
	from net.Addr
}

// RemoteAddr implements net.Conn.
func (p placed) RemoteAddr() net.Addr { return p.from }

func (z *zone) serve(l net.Listener) *member {
	m := &member{t: z.t, holder: z.holder(pki.RoleNode, "n1", nil), log: newJournal()}
	m.Network = wire.Serve(l, m.config())
	return m
}

func TestTheSilentDoNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, l := newZone(t, "ours"), newPipes()
		n1 := z.serve(l)
		defer n1.Close()
		n2, raft := z.holder(pki.RoleNode, "n2", nil), n1.listen("raft")
		config := n2.ClientConfigAny(pki.RoleNode, []string{wire.ProtocolOf("raft")})
		began := time.Now()
		getsIn := func(when time.Duration) {
			t.Helper()
			c := tls.Client(l.call(), config)
			if err := c.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustSpeak(t, c, n1.accept(raft))
			c.NetConn().Close()
			if took := time.Since(began); took != when {
				t.Errorf("it took %s, not %s", took, when)
			}
		}
		var silent []net.Conn
		for range wire.Handshakes - 1 {
			silent = append(silent, l.call())
		}
		getsIn(0)
		silent = append(silent, l.call()) // now all that are served at a time are silent
		getsIn(wire.HandshakeTimeout)
		for _, c := range silent {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a silent one is not closed: %v", err)
			}
		}
		n1.log.until(t, "a connection was refused", context.DeadlineExceeded.Error())
	})
}

// TestOneAddressDoesNotKeepOthersOut has one machine say nothing on more connections than all may have.
func TestOneAddressDoesNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, l := newZone(t, "ours"), newPipes()
		n1 := z.serve(l)
		defer n1.Close()
		n2, raft := z.holder(pki.RoleNode, "n2", nil), n1.listen("raft")
		config := n2.ClientConfigAny(pki.RoleNode, []string{wire.ProtocolOf("raft")})
		began := time.Now()
		closed := 0
		for i := range 2 * wire.Handshakes {
			silent := l.callFrom(fmt.Sprintf("192.0.2.66:%d", 1024+i))
			synctest.Wait() // it is counted
			if i < wire.HandshakesOfOne {
				continue
			}
			if _, err := silent.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				closed++
			}
		}
		if want := 2*wire.Handshakes - wire.HandshakesOfOne; closed != want {
			t.Errorf("%d connections of one address were closed, want %d", closed, want)
		}
		c := tls.Client(l.callFrom("192.0.2.7:1024"), config)
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSpeak(t, c, n1.accept(raft))
		c.NetConn().Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("another one got in after %s", took)
		}
		n1.log.until(t, "a connection was refused", "too many from its address")
		time.Sleep(wire.HandshakeTimeout)
		synctest.Wait()
		c = tls.Client(l.callFrom("192.0.2.66:1023"), config) // those of before are over
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSpeak(t, c, n1.accept(raft))
		c.NetConn().Close()
	})
}

// TestTheSlowAreNotWaitedFor has a client send a byte of its handshake every second: it gets no more time than others.
func TestTheSlowAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, l := newZone(t, "ours"), newPipes()
		n1 := z.serve(l)
		defer n1.Close()
		began, c := time.Now(), l.call()
		record := []byte{22, 3, 1, 2, 0} // the beginning of a hello of 512 bytes
		var err error
		for i := 0; err == nil; i++ {
			b := byte(0)
			if i < len(record) {
				b = record[i]
			}
			_, err = c.Write([]byte{b})
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > wire.HandshakeTimeout+2*time.Second {
			t.Errorf("it was cut off after %s", took)
		}
	})
}

func TestNoFileDescriptorsAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, l := newZone(t, "ours"), newPipes()
		l.broken.Store(true)
		n1 := z.serve(l)
		defer n1.Close()
		const lasts = 10 * time.Second
		time.Sleep(lasts)
		if got := l.accepts.Load(); got < 10 || got > 200 {
			t.Errorf("in %s it tried %d times", lasts, got)
		}
		n1.log.until(t, "accepting a connection failed", syscall.EMFILE.Error())
		l.broken.Store(false)
		c := tls.Client(l.call(), z.holder(pki.RoleNode, "n2", nil).ClientConfigAny(
			pki.RoleNode, []string{wire.ProtocolOf("raft")}))
		if err := c.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSpeak(t, c, n1.accept(n1.listen("raft")))
		c.NetConn().Close()
	})
	synctest.Test(t, func(t *testing.T) { // and it ends though it fails
		l := newPipes()
		l.broken.Store(true)
		n1 := newZone(t, "ours").serve(l)
		synctest.Wait()
		n1.Close()
	})
}

func TestAFullListenerDoesNotStarveOthers(t *testing.T) {
	z := newZone(t, "ours")
	n1, n2 := z.open(pki.RoleNode, "n1", nil), z.open(pki.RoleNode, "n2", nil)
	full, open := n1.listen("raft"), n1.listen("peer")
	conns := make([]net.Conn, 0, wire.Waiting+2)
	for range wire.Waiting + 2 {
		conns = append(conns, n2.dial("raft", "n1", n1))
	}
	for range 2 {
		n1.log.until(t, "a connection was closed", "node n2", "purpose=raft", "too many")
	}
	good := n2.dial("peer", "n1", n1)
	mustSpeak(t, good, n1.accept(open))

	ended := make(chan net.Conn)
	for _, c := range conns {
		go func() {
			_, _ = c.Read(make([]byte, 1))
			ended <- c
		}()
	}
	for range 2 { // those that were too many know it; the others wait
		<-ended
	}
	first := n1.accept(full)
	// Nobody accepts any more: what waits is closed, and what comes.
	full.Close()
	for range wire.Waiting - 1 {
		<-ended
	}
	first.Close()
	<-ended
	late := n2.dial("raft", "n1", n1)
	mustEnd(t, late)
	n1.log.until(t, "a connection was closed", "not accepted any more")
	if _, err := full.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept() of a closed listener: %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	z := newZone(t, "ours")
	n1, n2 := z.open(pki.RoleNode, "n1", nil), z.open(pki.RoleNode, "n2", nil)
	raft, peer := n1.listen("raft"), n1.listen("peer")
	accepted := n2.dial("raft", "n1", n1)
	here := n1.accept(raft)
	waiting := n2.dial("peer", "n1", n1)
	own := n1.dial("raft", "n2", n2)
	silent, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n1.Address())
	if err != nil {
		t.Fatal(err)
	}
	// Somebody who accepts connections and shakes no hands.
	deaf, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	dialed := make(chan error, 1)
	go func() {
		_, err := n1.Dial(t.Context(), "raft", "n2", deaf.Addr().String())
		dialed <- err
	}()
	called, err := deaf.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer called.Close()
	began := time.Now()
	if err := n1.Close(); err != nil {
		t.Error(err)
	}
	if err := <-dialed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a call that was under way: %v", err)
	}
	for _, c := range []net.Conn{accepted, here, waiting, own, silent} {
		mustEnd(t, c)
	}
	if took := time.Since(began); took > wire.HandshakeTimeout/2 {
		t.Errorf("closing took %s", took)
	}
	for _, l := range []net.Listener{raft, peer} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept() after Close(): %v", err)
		}
	}
	if _, err := n1.Dial(t.Context(), "raft", "n2", n2.Address()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial() after Close(): %v", err)
	}
	if _, err := n2.Dial(t.Context(), "raft", "n1", n1.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("somebody listens after Close(): %v", err)
	}
}

// echo gives back what comes, on all connections.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// TestRotation renews certificates and replaces the authority while connections are made and used.
func TestRotation(t *testing.T) {
	z := newZone(t, "ours")
	n1, n2 := z.open(pki.RoleNode, "n1", nil), z.open(pki.RoleNode, "n2", nil)
	members := []*member{n1, n2}
	go echo(n1.listen("peer"))
	lasting := n2.dial("peer", "n1", n1)
	ask := func(c net.Conn) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	var made atomic.Int64
	another := make(chan struct{}, 1)
	for range 4 {
		traffic.Go(func() {
			for ctx.Err() == nil {
				c, err := n2.Dial(t.Context(), "peer", "n1", n1.Address())
				if err == nil {
					err = ask(c)
					c.Close()
				}
				if err != nil {
					t.Errorf("a connection failed: %v", err)
					return
				}
				made.Add(1)
				select {
				case another <- struct{}{}:
				default:
				}
			}
		})
	}
	goOn := func() { // some that began after this call are done
		for until := made.Load() + 12; made.Load() < until && !t.Failed(); {
			<-another
		}
		if err := ask(lasting); err != nil {
			t.Errorf("an old connection: %v", err)
		}
		for _, m := range members {
			m.Recheck()
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	goOn()
	old := z.authority
	for _, m := range members { // renewal
		must(m.holder.Set(z.issue(pki.RoleNode, m.holder.Identity().Name().Name, z.trust())))
		goOn()
	}
	next := newZone(t, "ours").authority
	for _, m := range members {
		_, err := m.holder.SetTrust(z.trust(next))
		must(err)
		goOn()
	}
	z.authority = next
	for _, m := range members {
		must(m.holder.Set(z.issue(pki.RoleNode, m.holder.Identity().Name().Name, z.trust(old))))
		goOn()
	}
	lasting.Close() // of the old authority: the next one is of the new
	lasting = n2.dial("peer", "n1", n1)
	defer lasting.Close()
	for _, m := range members {
		_, err := m.holder.SetTrust(z.trust())
		must(err)
		goOn()
	}
	cancel()
	traffic.Wait()
	stale, _ := pki.NewHolder(func() *pki.Identity {
		z.authority = old
		return z.issue(pki.RoleNode, "n3", z.trust(next))
	}(), pki.Rules{Clock: time.Now})
	if err := plain(t.Context(), n1.Address(), stale.ClientConfigAny(
		pki.RoleNode, []string{wire.ProtocolOf("peer")})); err == nil {
		t.Error("who was signed by the authority that was replaced got in")
	}
	n1.log.until(t, "a connection was refused", pki.ErrUntrusted.Error())
}
