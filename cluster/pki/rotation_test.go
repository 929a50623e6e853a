package pki_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// server is a listener that serves until the test ends, with the configuration it began with.
type server struct {
	holder  *pki.Holder
	address string
	clients map[pki.Name]*tls.Config // for connecting from here, made once too
}

// serve starts a server of a member.
func serve(t *testing.T, identity *pki.Identity) *server {
	t.Helper()
	s := &server{holder: holder(t, identity, pki.Rules{}), clients: map[pki.Name]*tls.Config{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	config := s.holder.ServerConfig(protos)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_, _ = greet(conn, config) // the client says what failed
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return s
}

// mesh connects every member with every other and itself.
func mesh(members []*server) error {
	var failed error
	for _, from := range members {
		for _, to := range members {
			name := to.holder.Identity().Name()
			if _, err := call(to.address, from.clients[name]); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s to %s: %w", from.holder.Identity().Name(), name, err))
			}
		}
	}
	return failed
}

// TestRotation changes the authority of a cluster at work. Nobody is restarted; all connect with all before, after and
// during every change at any of them.
func TestRotation(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	var members []*server
	for _, name := range []pki.Name{node("n1"), node("n2"), host("h1")} {
		members = append(members, serve(t, member(t, old, name)))
	}
	for _, from := range members {
		for _, to := range members {
			name := to.holder.Identity().Name()
			from.clients[name] = from.holder.ClientConfig(name, protos)
		}
	}
	rounds := load(t, members)
	each := func(what string, change func(*server) error) {
		t.Helper()
		for _, m := range members {
			if err := change(m); err != nil {
				t.Fatalf("%s: %s: %v", what, m.holder.Identity().Name(), err)
			}
			if err := mesh(members); err != nil {
				t.Fatalf("%s: after %s: %v", what, m.holder.Identity().Name(), err)
			}
		}
		for range 2 { // the second began after the last change
			if err := <-rounds; err != nil {
				t.Fatalf("%s: during it: %v", what, err)
			}
		}
	}
	outsider := members[0].holder.Identity() // keeps what it has

	each("trusting the new one", func(m *server) error {
		both, err := m.holder.Identity().Trust().With(next.Certificate())
		if err != nil {
			return err
		}
		_, err = m.holder.SetTrust(both)
		return err
	})
	each("renewing", func(m *server) error {
		now := m.holder.Identity()
		return m.holder.Set(issue(t, next, now.Name(), epoch.Add(time.Minute), now.Trust()))
	})
	for _, m := range members {
		state, err := call(m.address, members[0].clients[m.holder.Identity().Name()])
		if err != nil {
			t.Fatal(err)
		}
		trusted := m.holder.Identity().Trust()
		if got := trusted.IssuerPin(state.PeerCertificates[0]); got != next.Pin() {
			t.Fatalf("the certificate of %s is of %q", m.holder.Identity().Name(), got)
		}
	}
	each("ceasing to trust the old one", func(m *server) error {
		one, err := m.holder.Identity().Trust().Without(old.Pin())
		if err != nil {
			return err
		}
		_, err = m.holder.SetTrust(one)
		return err
	})
	checkRefused(t, members, outsider, next)
}

// checkRefused checks that a member with a certificate of an authority that was given up gets nowhere, even if it
// would trust the new one.
func checkRefused(t *testing.T, members []*server, outsider *pki.Identity, next *pki.Authority) {
	t.Helper()
	outsider = must[*pki.Identity](t)(outsider.WithTrust(must[*pki.Trust](t)(outsider.Trust().With(next.Certificate()))))
	out := holder(t, outsider, pki.Rules{})
	for _, m := range members {
		got := meet(t, m.holder.ServerConfig(protos), out.ClientConfig(m.holder.Identity().Name(), protos))
		wantError(t, got.serverError, pki.ErrUntrusted, outsider.Name().String(), next.Pin())
		got = meet(t, out.ServerConfig(protos), m.holder.ClientConfig(outsider.Name(), protos))
		wantError(t, got.clientError, pki.ErrUntrusted, outsider.Name().String(), next.Pin())
	}
}

// load connects all with all, again and again until the test ends. Who receives learns what failed since the last time.
func load(t *testing.T, members []*server) <-chan error {
	t.Helper()
	rounds, stop, stopped := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		var failed error
		for {
			failed = errors.Join(failed, mesh(members))
			select {
			case rounds <- failed:
				failed = nil
			case <-stop:
				return
			default: // nobody asks now
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return rounds
}
