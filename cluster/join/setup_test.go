package join_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

const clusterID = "ours"

func newAuthority(t *testing.T, id string) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority(id, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newHolder(t *testing.T, a *pki.Authority, role pki.Role, name string) *pki.Holder {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.CreateRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Sign(csr, pki.Name{ClusterID: a.ClusterID(), Role: role, Name: name}, time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pki.NewTrust(a.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	identity, err := pki.NewIdentity(key, cert, trust)
	if err != nil {
		t.Fatal(err)
	}
	h, err := pki.NewHolder(identity, pki.Rules{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// door is an Admitter, and what was asked.
type door struct {
	admit func(context.Context, join.Request) (join.Welcome, error)

	mu    sync.Mutex
	asked []join.Request
}

// Admit implements join.Admitter.
func (d *door) Admit(ctx context.Context, r join.Request) (join.Welcome, error) {
	d.mu.Lock()
	d.asked = append(d.asked, r)
	d.mu.Unlock()
	return d.admit(ctx, r)
}

func (d *door) requests() []join.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// logged is a text that a log goes to.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// house is a node that lets others in.
type house struct {
	t         *testing.T
	authority *pki.Authority
	address   string
	listener  net.Listener
	door      *door
	log       logged
	served    chan error // what came of Serve
	end       context.CancelFunc
}

// newHouse serves until the test ends or end is called.
func newHouse(t *testing.T, admit func(context.Context, join.Request) (join.Welcome, error)) *house {
	t.Helper()
	h := &house{t: t, authority: newAuthority(t, clusterID), door: &door{admit: admit}, served: make(chan error, 1)}
	n, err := wire.Open(t.Context(), wire.Config{
		Listen: "127.0.0.1:0", Holder: newHolder(t, h.authority, pki.RoleNode, "n1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.address = n.Address()
	if h.listener, err = n.Listener(wire.PurposeJoin); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	h.end = end
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.served <- join.Serve(ctx, h.listener, h.door, slog.New(slog.NewTextHandler(&h.log, nil)))
	}()
	t.Cleanup(func() {
		end()
		<-done
		if err := n.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return h
}

// token is one for this house.
func (h *house) token() pki.JoinToken {
	h.t.Helper()
	token, err := pki.NewJoinToken("t1", pki.RoleNode, h.authority.Pin())
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// request is a good question.
func (h *house) request() join.Request {
	return join.Request{
		Token: h.token(), Name: "n2", Address: "192.0.2.2:7481", Version: "1.2.3", EntryFormat: 7,
		OldestLevel: 1, NewestLevel: 2, CertificateRequest: []byte("csr"), Clock: time.Now(),
	}
}

// connect makes a connection on which anything may be asked.
func (h *house) connect() *tls.Conn {
	h.t.Helper()
	d := tls.Dialer{Config: pki.PinnedClientConfig(h.authority.Pin(), time.Now,
		[]string{wire.ProtocolOf(wire.PurposeJoin)})}
	c, err := d.DialContext(h.t.Context(), "tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c.(*tls.Conn)
}
