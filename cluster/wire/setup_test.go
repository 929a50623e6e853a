package wire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// purposes are those of the networks of these tests: hosts make no raft connections.
func purposes() map[string][]pki.Role {
	return map[string][]pki.Role{"raft": {pki.RoleNode}, "peer": {pki.RoleNode, pki.RoleHost}}
}

// zone is a cluster as its authority sees it.
type zone struct {
	t         *testing.T
	id        string
	authority *pki.Authority
}

func newZone(t *testing.T, id string) *zone {
	t.Helper()
	authority, err := pki.NewAuthority(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &zone{t: t, id: id, authority: authority}
}

func (z *zone) trust(others ...*pki.Authority) *pki.Trust {
	z.t.Helper()
	trust, err := pki.NewTrust(z.authority.Certificate())
	for _, a := range others {
		if err == nil {
			trust, err = trust.With(a.Certificate())
		}
	}
	if err != nil {
		z.t.Fatal(err)
	}
	return trust
}

// issue makes an identity that the authority signs.
func (z *zone) issue(role pki.Role, name string, trust *pki.Trust) *pki.Identity {
	z.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		z.t.Fatal(err)
	}
	csr, err := pki.CreateRequest(key)
	if err != nil {
		z.t.Fatal(err)
	}
	cert, err := z.authority.Sign(csr, pki.Name{ClusterID: z.id, Role: role, Name: name}, time.Now(), 0)
	if err != nil {
		z.t.Fatal(err)
	}
	identity, err := pki.NewIdentity(key, cert, trust)
	if err != nil {
		z.t.Fatal(err)
	}
	return identity
}

func (z *zone) holder(role pki.Role, name string, allow func(pki.Name, time.Time) error) *pki.Holder {
	z.t.Helper()
	h, err := pki.NewHolder(z.issue(role, name, z.trust()), pki.Rules{Clock: time.Now, Allow: allow})
	if err != nil {
		z.t.Fatal(err)
	}
	return h
}

// member is one with a network.
type member struct {
	*wire.Network
	t      *testing.T
	holder *pki.Holder
	log    *journal
}

func (z *zone) open(role pki.Role, name string, allow func(pki.Name, time.Time) error) *member {
	z.t.Helper()
	m := &member{t: z.t, holder: z.holder(role, name, allow), log: newJournal()}
	var err error
	m.Network, err = wire.Open(z.t.Context(), m.config())
	if err != nil {
		z.t.Fatal(err)
	}
	z.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			z.t.Errorf("closing: %v", err)
		}
	})
	return m
}

func (m *member) config() wire.Config {
	return wire.Config{
		Listen: "127.0.0.1:0", Holder: m.holder, Purposes: purposes(), Log: slog.New(slog.NewTextHandler(m.log, nil)),
	}
}

func (m *member) listen(purpose string) net.Listener {
	m.t.Helper()
	l, err := m.Listener(purpose)
	if err != nil {
		m.t.Fatal(err)
	}
	return l
}

// accept waits for a connection.
func (m *member) accept(l net.Listener) *wire.Conn {
	m.t.Helper()
	c, err := l.Accept()
	if err != nil {
		m.t.Fatal(err)
	}
	return c.(*wire.Conn)
}

// dial connects to another member, which must let it, and to which it must be what it is.
func (m *member) dial(purpose, name string, to *member) net.Conn {
	m.t.Helper()
	c, err := m.Dial(m.t.Context(), purpose, name, to.Address())
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// mustSpeak sends some words over a connection, both ways.
func mustSpeak(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		const said = "hello"
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(ends[0], said)
			sent <- err
		}()
		heard := make([]byte, len(said))
		if _, err := io.ReadFull(ends[1], heard); err != nil || string(heard) != said {
			t.Fatalf("heard %q, %v", heard, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
}

// mustEnd waits until the other end has closed a connection.
func mustEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return // closed on this side
	}
	n, err := c.Read(make([]byte, 1))
	timeout, ok := errors.AsType[net.Error](err)
	if err == nil || ok && timeout.Timeout() {
		t.Fatalf("the connection is open: read %d bytes, %v", n, err)
	}
}

// plain connects without a network, with any configuration of TLS, and says hello. The error is what the other end
// has against it.
func plain(ctx context.Context, address string, config *tls.Config) error {
	d := tls.Dialer{Config: config}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1)) // a server verifies after the client is done
	return err
}

// journal is what was logged.
type journal struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed when there is another line
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

// Write implements io.Writer.
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(line))
	close(j.more)
	j.more = make(chan struct{})
	return len(line), nil
}

func (j *journal) take() ([]string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines, j.more
}

// giveBack has lines be looked at again.
func (j *journal) giveBack(lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(lines, j.lines...)
}

// until waits for a line that says all of that, and forgets it and what was logged before.
func (j *journal) until(t *testing.T, says ...string) {
	t.Helper()
	var seen []string
	late := time.After(patience)
	for {
		lines, more := j.take()
		for i, line := range lines {
			said := 0
			for _, text := range says {
				if strings.Contains(line, text) {
					said++
				}
			}
			if said == len(says) {
				j.giveBack(lines[i+1:])
				return
			}
		}
		seen = append(seen, lines...)
		select {
		case <-more:
		case <-late:
			t.Fatalf("not logged: %q; but:\n%s", says, strings.Join(seen, ""))
		}
	}
}
