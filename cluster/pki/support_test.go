package pki_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

const clusterID = "c7h2kq5"

var (
	epoch  = time.Date(2030, time.May, 17, 12, 0, 0, 0, time.UTC)
	protos = []string{"bulkhead-test/1"}
)

// clock is a clock that stands until it is set.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.at.Store(&at) }
func (c *clock) now() time.Time   { return *c.at.Load() }

func node(name string) pki.Name {
	return pki.Name{ClusterID: clusterID, Role: pki.RoleNode, Name: name}
}

func host(name string) pki.Name {
	return pki.Name{ClusterID: clusterID, Role: pki.RoleHost, Name: name}
}

func must[T any](tb testing.TB) func(T, error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func newAuthority(tb testing.TB) *pki.Authority {
	tb.Helper()
	return must[*pki.Authority](tb)(pki.NewAuthority(clusterID, epoch))
}

func trust(tb testing.TB, authorities ...*pki.Authority) *pki.Trust {
	tb.Helper()
	t := must[*pki.Trust](tb)(pki.NewTrust(authorities[0].Certificate()))
	for _, a := range authorities[1:] {
		t = must[*pki.Trust](tb)(t.With(a.Certificate()))
	}
	return t
}

// issue makes an identity that a signs now and that trusts the authorities.
func issue(tb testing.TB, a *pki.Authority, name pki.Name, now time.Time, trusted *pki.Trust) *pki.Identity {
	tb.Helper()
	key, err := pki.NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	request := must[[]byte](tb)(pki.CreateRequest(key))
	cert := must[[]byte](tb)(a.Sign(request, name, now, 0))
	return must[*pki.Identity](tb)(pki.NewIdentity(key, cert, trusted))
}

func member(tb testing.TB, a *pki.Authority, name pki.Name) *pki.Identity {
	tb.Helper()
	return issue(tb, a, name, epoch, trust(tb, a))
}

func holder(tb testing.TB, identity *pki.Identity, rules pki.Rules) *pki.Holder {
	tb.Helper()
	if rules.Clock == nil {
		rules.Clock = newClock(epoch).now
	}
	return must[*pki.Holder](tb)(pki.NewHolder(identity, rules))
}

// meeting is what came of a connection, on both sides.
type meeting struct {
	client, server           tls.ConnectionState
	clientError, serverError error
}

// meet connects a client and a server over loopback.
func meet(tb testing.TB, server, client *tls.Config) meeting {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	var m meeting
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			m.serverError = err
			return
		}
		defer conn.Close()
		m.server, m.serverError = greet(conn, server)
	}()
	m.client, m.clientError = call(listener.Addr().String(), client)
	<-done
	return m
}

// greet is the server's side of a connection: it takes a byte and gives it back.
func greet(conn net.Conn, config *tls.Config) (tls.ConnectionState, error) {
	secured := tls.Server(conn, config)
	err := secured.Handshake()
	if err == nil {
		_, err = io.CopyN(secured, secured, 1)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, secured) // the client closes first
	}
	return secured.ConnectionState(), err
}

// call is the client's side.
func call(address string, config *tls.Config) (tls.ConnectionState, error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		return tls.ConnectionState{}, err
	}
	// The server verifies after the client has done with the handshake.
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}

func (m meeting) mustSucceed(tb testing.TB) {
	tb.Helper()
	if m.clientError != nil || m.serverError != nil {
		tb.Fatalf("client: %v, server: %v", m.clientError, m.serverError)
	}
}

// wantError checks what an error is and that it says something.
func wantError(tb testing.TB, err, want error, says ...string) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Fatalf("error is %v, not %v", err, want)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			tb.Errorf("error does not say %q: %v", text, err)
		}
	}
}
