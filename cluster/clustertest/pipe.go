package clustertest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBytes is how much is under way in one direction until who writes has to wait.
const pipeBytes = 1 << 20

// link is a connection, as a pair of pipes.
type link struct {
	a, b   string
	ab, ba *pipe
	open   int // ends that are not closed; guarded by the hub

	mu      sync.Mutex
	changed sync.Cond
	reset   bool // the end that is left knows that the other one is gone: nothing comes or goes any more
}

func newLink(a, b string) *link {
	l := &link{a: a, b: b, open: 2}
	l.changed.L = &l.mu
	l.ab, l.ba = &pipe{link: l}, &pipe{link: l}
	return l
}

// end resets the connection.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reset = true
	l.changed.Broadcast()
}

// pipe is one direction of a connection. What is written while it is cut arrives when it is healed.
type pipe struct {
	*link
	data    []byte
	cut     bool
	noWrite bool // the writer closed it
	noRead  bool // the reader did
	reading deadline
	writing deadline
}

// deadline ends waiting.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (p *pipe) set(d *deadline, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = at, nil
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), p.changed.Broadcast)
	}
	p.changed.Broadcast()
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (p *pipe) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.changed.Broadcast()
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.noRead:
			return 0, net.ErrClosed
		case p.reset:
			return 0, syscall.ECONNRESET
		case p.reading.over():
			return 0, os.ErrDeadlineExceeded
		case len(p.data) > 0 && !p.cut:
			n := copy(b, p.data)
			p.data = p.data[n:]
			p.changed.Broadcast()
			return n, nil
		case p.noWrite && !p.cut:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		room := min(pipeBytes-len(p.data), len(b))
		switch {
		case p.noWrite:
			return n, net.ErrClosed
		case p.reset:
			return n, syscall.ECONNRESET
		case p.noRead && !p.ab.cut && !p.ba.cut: // that the reader is gone is said on the way back
			p.reset = true
			p.changed.Broadcast()
			return n, syscall.ECONNRESET
		case p.writing.over():
			return n, os.ErrDeadlineExceeded
		case room == 0:
			p.changed.Wait()
		default:
			p.data = append(p.data, b[:room]...)
			n, b = n+room, b[room:]
			p.changed.Broadcast()
		}
	}
	return n, nil
}

func (p *pipe) closeWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noWrite = true
	p.changed.Broadcast()
}

func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noRead = true
	p.changed.Broadcast()
}

// conn is one end of a connection.
type conn struct {
	in, out    *pipe
	local, far string
	closed     func()
	once       sync.Once
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		_ = c.SetDeadline(time.Time{})
		c.in.closeRead()
		c.out.closeWrite()
		c.closed()
	})
	return nil
}

// Peer implements cluster.Conn.
func (c *conn) Peer() string { return c.far }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return address(c.local) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return address(c.far) }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.in.set(&c.in.reading, t)
	c.out.set(&c.out.writing, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.reading, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.writing, t)
	return nil
}

type address string

// Network implements net.Addr.
func (address) Network() string { return "memory" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
