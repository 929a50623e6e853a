package pki_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

func TestMeeting(t *testing.T) {
	a := newAuthority(t)
	nameOnly := pki.Name{Role: pki.RoleNode, Name: "n1"}
	n1, n2, h1 := holder(t, member(t, a, node("n1")), pki.Rules{}), holder(t, member(t, a, node("n2")), pki.Rules{}),
		holder(t, member(t, a, host("h1")), pki.Rules{})
	for name, test := range map[string]struct {
		server, client *tls.Config
		client1        pki.Name
	}{
		"two nodes":    {n1.ServerConfig(protos), n2.ClientConfig(node("n1"), protos), node("n2")},
		"a host":       {n1.ServerConfig(protos), h1.ClientConfig(node("n1"), protos), host("h1")},
		"only hosts":   {n1.ServerConfig(protos, pki.RoleHost), h1.ClientConfig(node("n1"), protos), host("h1")},
		"no cluster":   {n1.ServerConfig(protos), h1.ClientConfig(nameOnly, protos), host("h1")},
		"any node":     {n1.ServerConfig(protos), h1.ClientConfigAny(pki.RoleNode, protos), host("h1")},
		"with oneself": {n1.ServerConfig(protos), n1.ClientConfig(node("n1"), protos), node("n1")},
	} {
		t.Run(name, func(t *testing.T) {
			m := meet(t, test.server, test.client)
			m.mustSucceed(t)
			if got := must[pki.Name](t)(pki.PeerName(m.client)); got != node("n1") {
				t.Errorf("the client met %+v", got)
			}
			if got := must[pki.Name](t)(pki.PeerName(m.server)); got != test.client1 {
				t.Errorf("the server met %+v", got)
			}
			if m.client.Version != tls.VersionTLS13 || m.client.NegotiatedProtocol != protos[0] {
				t.Errorf("version %x, protocol %q", m.client.Version, m.client.NegotiatedProtocol)
			}
		})
	}
	_, err := pki.PeerName(tls.ConnectionState{})
	wantError(t, err, pki.ErrForeign)
}

// withKey makes an identity of a certificate that Sign would not issue.
func withKey(tb testing.TB, a *pki.Authority, template *x509.Certificate) *pki.Identity {
	tb.Helper()
	key, _ := keyOf(tb, a.MarshalPEM())
	return must[*pki.Identity](tb)(pki.NewIdentity(key, forge(tb, a, template).Raw, trust(tb, a)))
}

// Each pair is tried both ways round, so that servers and clients verify the same.
func TestMeetingRefused(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	other := pki.Name{ClusterID: "other", Role: pki.RoleNode, Name: "n1"}
	foreign := must[*pki.Authority](t)(pki.NewAuthority("other", epoch))
	later := epoch.Add(pki.DefaultLifetime + time.Hour)
	clientOnly := &x509.Certificate{
		URIs: []*url.URL{node("n1").URI()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	for name, test := range map[string]struct {
		identity *pki.Identity
		now      time.Time
		own      time.Time // when the one who verifies got its certificate, if not at the epoch
		want     error
		says     []string
	}{
		"another cluster": {
			identity: issue(t, foreign, other, epoch, trust(t, foreign)), now: epoch, want: pki.ErrForeign,
			says: []string{"node n1", `"other"`, clusterID},
		},
		"another authority of that name": {
			identity: member(t, b, node("n1")), now: epoch, want: pki.ErrUntrusted, says: []string{"node n1", a.Pin()},
		},
		"for something else": {
			identity: withKey(t, a, clientOnly), now: epoch, want: pki.ErrUntrusted, says: []string{"node n1"},
		},
		"clock an hour behind": {
			identity: issue(t, a, node("n1"), later, trust(t, a)), now: later.Add(-time.Hour), own: later.Add(-25 * time.Hour),
			want: pki.ErrClock, says: []string{"node n1", "55m0s earlier", "the clock here seems to be behind"},
		},
		"clock an hour behind that of oneself": {
			identity: member(t, a, node("n1")), now: epoch.Add(-time.Hour), want: pki.ErrClock,
			says: []string{"node n1", "the certificate of this machine itself is not valid yet"},
		},
		"not renewed": {
			identity: member(t, a, node("n1")), now: later, own: later.Add(-time.Hour), want: pki.ErrClock,
			says: []string{"node n1", "1h0m0s later", "it was not renewed in time, or the clock here is ahead"},
		},
		"clock ahead": {
			identity: member(t, a, node("n1")), now: later, want: pki.ErrClock,
			says: []string{"node n1", "the certificate of this machine itself has expired"},
		},
		"old authority": {
			identity: withKey(t, a, &x509.Certificate{
				URIs: []*url.URL{node("n1").URI()}, NotBefore: epoch, NotAfter: epoch.Add(2 * pki.AuthorityLifetime),
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			}),
			now: epoch.Add(pki.AuthorityLifetime + time.Hour), own: later,
			want: pki.ErrClock, says: []string{"the authority of node n1", "1h0m0s later"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var refused []error
			// The other takes whom it gets, so that it is this one that refuses.
			careless := carelessly(test.identity)
			h := holder(t, issue(t, a, node("n2"), orElse(test.own, epoch), trust(t, a)), pki.Rules{
				Clock: newClock(test.now).now, Refused: func(err error) { refused = append(refused, err) },
			})
			m := meet(t, careless, h.ClientConfig(node("n1"), protos))
			wantError(t, m.clientError, test.want, append(test.says, "connecting to node n1")...)
			m = meet(t, h.ServerConfig(protos), careless)
			wantError(t, m.serverError, test.want, append(test.says, "accepting a connection")...)
			if m.clientError == nil {
				t.Error("who was refused does not know")
			}
			if len(refused) != 2 || !errors.Is(refused[0], test.want) || refused[1].Error() != m.serverError.Error() {
				t.Errorf("reported was %v", refused)
			}
		})
	}
}

// carelessly returns a configuration of a client or server that verifies nothing.
func carelessly(identity *pki.Identity) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert, NextProtos: protos,
		Certificates: []tls.Certificate{{
			Certificate: [][]byte{identity.Certificate().Raw}, PrivateKey: identity.Key(),
		}},
	}
}

func TestMeetingWithoutName(t *testing.T) {
	a := newAuthority(t)
	h := holder(t, member(t, a, node("n1")), pki.Rules{})
	key, _ := keyOf(t, a.MarshalPEM())
	for name, config := range map[string]*tls.Config{
		"no certificate": {},
		"one without a name": {Certificates: []tls.Certificate{{
			Certificate: [][]byte{forge(t, a, &x509.Certificate{DNSNames: []string{"n1"}}).Raw}, PrivateKey: key,
		}}},
		"the authority itself": {Certificates: []tls.Certificate{{
			Certificate: [][]byte{a.Certificate().Raw}, PrivateKey: key,
		}}},
		"an older TLS": {MaxVersion: tls.VersionTLS12, Certificates: carelessly(h.Identity()).Certificates},
	} {
		t.Run(name, func(t *testing.T) {
			config.NextProtos, config.InsecureSkipVerify = protos, true
			if m := meet(t, h.ServerConfig(protos), config); m.serverError == nil || m.clientError == nil {
				t.Errorf("server: %v, client: %v", m.serverError, m.clientError)
			}
			if m := meet(t, config, h.ClientConfigAny(pki.RoleNode, protos)); m.clientError == nil {
				t.Error("the client took it for a node")
			}
		})
	}
	m := meet(t, h.ServerConfig(protos), h.ClientConfig(node("n1"), []string{"another"}))
	if m.serverError == nil || m.clientError == nil {
		t.Errorf("no protocol in common: server: %v, client: %v", m.serverError, m.clientError)
	}
}

func TestClientInsistsOnName(t *testing.T) {
	a := newAuthority(t)
	n1, h1 := holder(t, member(t, a, node("n1")), pki.Rules{}), holder(t, member(t, a, host("n1")), pki.Rules{})
	other := pki.Name{ClusterID: "other", Role: pki.RoleNode, Name: "n1"}
	for name, test := range map[string]struct {
		server, client *tls.Config
		says           string
	}{
		"another node":       {n1.ServerConfig(protos), n1.ClientConfig(node("n2"), protos), "node n2 was called and"},
		"another role":       {h1.ServerConfig(protos), n1.ClientConfig(node("n1"), protos), "and host n1 answered"},
		"another cluster":    {n1.ServerConfig(protos), n1.ClientConfig(other, protos), "node n1"},
		"nobody":             {n1.ServerConfig(protos), n1.ClientConfig(pki.Name{}, protos), "answered"},
		"any of another":     {h1.ServerConfig(protos), n1.ClientConfigAny(pki.RoleNode, protos), "any node was called"},
		"any of the unknown": {h1.ServerConfig(protos), n1.ClientConfigAny("", protos), "answered"},
	} {
		m := meet(t, test.server, test.client)
		t.Run(name, func(t *testing.T) { wantError(t, m.clientError, pki.ErrOtherName, test.says) })
	}
}

func TestNotAllowed(t *testing.T) {
	a := newAuthority(t)
	var lock sync.Mutex
	var expelled []pki.Name
	reason := errors.New("removed by an operator")
	n1 := holder(t, member(t, a, node("n1")), pki.Rules{Allow: func(name pki.Name, _ time.Time) error {
		lock.Lock()
		defer lock.Unlock()
		if slices.Contains(expelled, name) {
			return reason
		}
		return nil
	}})
	n2 := holder(t, member(t, a, node("n2")), pki.Rules{})
	before := meet(t, n1.ServerConfig(protos), n2.ClientConfig(node("n1"), protos))
	before.mustSucceed(t)
	if err := n1.Recheck(before.server); err != nil {
		t.Error(err)
	}
	lock.Lock()
	expelled = append(expelled, node("n2"))
	lock.Unlock()
	m := meet(t, n1.ServerConfig(protos), n2.ClientConfig(node("n1"), protos))
	wantError(t, m.serverError, pki.ErrNotAllowed, "node n2")
	wantError(t, m.serverError, reason)
	m = meet(t, n2.ServerConfig(protos), n1.ClientConfig(node("n2"), protos))
	wantError(t, m.clientError, pki.ErrNotAllowed, "node n2")
	wantError(t, n1.Recheck(before.server), pki.ErrNotAllowed, "node n2")

	m = meet(t, n1.ServerConfig(protos, pki.RoleHost), n1.ClientConfig(node("n1"), protos))
	wantError(t, m.serverError, pki.ErrNotAllowed, "node n1 may not connect here", "host")
}

// Nothing is resumed, also where the client would. And if somebody let it, who is expelled is refused all the same.
func TestNoResumption(t *testing.T) {
	a, at := newAuthority(t), newClock(epoch)
	var out error
	allow := func(pki.Name, time.Time) error { return out }
	n1 := holder(t, member(t, a, node("n1")), pki.Rules{Clock: at.now, Allow: allow})
	n2 := holder(t, member(t, a, node("n2")), pki.Rules{})
	client := n2.ClientConfig(node("n1"), protos)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client.ServerName = "n1" // the key of a session
	client.SessionTicketsDisabled = false
	server := n1.ServerConfig(protos)
	for range 3 {
		m := meet(t, server, client)
		m.mustSucceed(t)
		if m.client.DidResume || m.server.DidResume {
			t.Fatal("a session was resumed")
		}
	}
	resuming := n1.ServerConfig(protos)
	resuming.SessionTicketsDisabled = false
	for n := range 2 {
		m := meet(t, resuming, client)
		m.mustSucceed(t)
		if m.server.DidResume != (n > 0) {
			t.Fatalf("connection %d: resumed %v", n, m.server.DidResume)
		}
	}
	out = errors.New("expelled")
	m := meet(t, resuming, client)
	wantError(t, m.serverError, pki.ErrNotAllowed, "node n2")
	out = nil
	at.set(epoch.Add(pki.DefaultLifetime + time.Hour))
	m = meet(t, resuming, client)
	if m.serverError == nil {
		t.Error("a certificate that has expired was good enough for a session")
	}
}

func TestHolderSet(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	h := holder(t, member(t, a, node("n1")), pki.Rules{})
	peer := holder(t, member(t, a, node("n2")), pki.Rules{})
	server, client := h.ServerConfig(protos), h.ClientConfig(node("n2"), protos)
	renewed := issue(t, a, node("n1"), epoch.Add(time.Minute), trust(t, a))
	if err := h.Set(renewed); err != nil {
		t.Fatal(err)
	}
	asServer := meet(t, server, peer.ClientConfig(node("n1"), protos))
	asClient := meet(t, peer.ServerConfig(protos), client)
	asServer.mustSucceed(t)
	asClient.mustSucceed(t)
	for _, sent := range []*x509.Certificate{asServer.client.PeerCertificates[0], asClient.server.PeerCertificates[0]} {
		if !sent.Equal(renewed.Certificate()) {
			t.Error("the certificate from before was sent")
		}
	}
	wantError(t, h.Set(member(t, a, node("n2"))), pki.ErrForeign, "node n1", "node n2")
	wantError(t, h.Set(member(t, a, host("n1"))), pki.ErrForeign)
	foreign := must[*pki.Authority](t)(pki.NewAuthority("other", epoch))
	_, err := h.SetTrust(trust(t, foreign))
	wantError(t, err, pki.ErrForeign, "other")
	if h.Identity() != renewed {
		t.Error("what was refused was taken")
	}
	i := must[*pki.Identity](t)(h.SetTrust(trust(t, b)))
	if i != h.Identity() || i.Trust().IssuerPin(i.Certificate()) != "" || !i.Key().Equal(renewed.Key()) {
		t.Error("another trust made another identity")
	}
	wantError(t, h.Recheck(asServer.server), pki.ErrUntrusted, "node n2")
	if _, err := pki.NewHolder(renewed, pki.Rules{}); err == nil {
		t.Error("there is a holder without a clock")
	}
}

func TestPinned(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	now := newClock(epoch)
	n1 := holder(t, member(t, a, node("n1")), pki.Rules{})
	changed := holder(t, issue(t, b, node("n1"), epoch, trust(t, a, b)), pki.Rules{})
	h1 := holder(t, member(t, a, host("h1")), pki.Rules{})
	alone := carelessly(n1.Identity()) // sends no authority
	// One in between has certificates that are public, but not the keys.
	between := holder(t, member(t, b, node("n1")), pki.Rules{}).JoinConfig(protos)
	inserted := carelessly(member(t, b, node("n1")))
	inserted.Certificates[0].Certificate = append(inserted.Certificates[0].Certificate, a.Certificate().Raw)
	own := must[*ecdsa.PrivateKey](t)(pki.NewKey())
	stolen := &tls.Config{NextProtos: protos, Certificates: []tls.Certificate{{
		Certificate: [][]byte{selfSigned(t, own), a.Certificate().Raw}, PrivateKey: own,
	}}}
	for name, test := range map[string]struct {
		server *tls.Config
		pin    string
		now    time.Time
		want   error
		says   string
	}{
		"the cluster":          {server: n1.JoinConfig(protos), pin: a.Pin()},
		"authority changed":    {server: changed.JoinConfig(protos), pin: b.Pin()},
		"token from before":    {changed.JoinConfig(protos), a.Pin(), epoch, pki.ErrPin, "changed since"},
		"somebody in between":  {between, a.Pin(), epoch, pki.ErrPin, a.Pin()},
		"with our certificate": {inserted, a.Pin(), epoch, pki.ErrUntrusted, "node n1"},
		"self-signed":          {stolen, a.Pin(), epoch, pki.ErrUntrusted, "node n1"},
		"no authority sent":    {alone, a.Pin(), epoch, pki.ErrPin, a.Pin()},
		"no pin":               {n1.JoinConfig(protos), "", epoch, pki.ErrPin, "certificates"},
		"pin of the server":    {n1.JoinConfig(protos), pki.Pin(n1.Identity().Certificate()), epoch, pki.ErrPin, ""},
		"a host":               {h1.JoinConfig(protos), a.Pin(), epoch, pki.ErrNotAllowed, "host h1"},
		"clock behind":         {n1.JoinConfig(protos), a.Pin(), epoch.Add(-time.Hour), pki.ErrClock, "node n1"},
		"clock far ahead":      {n1.JoinConfig(protos), a.Pin(), epoch.AddDate(1, 0, 0), pki.ErrClock, "node n1"},
		"members only":         {n1.ServerConfig(protos), a.Pin(), epoch, errRemote, ""},
	} {
		t.Run(name, func(t *testing.T) {
			now.set(orElse(test.now, epoch))
			m := meet(t, test.server, pki.PinnedClientConfig(test.pin, now.now, protos))
			switch {
			case test.want == nil:
				m.mustSucceed(t)
			case errors.Is(test.want, errRemote):
				if m.serverError == nil || m.clientError == nil {
					t.Errorf("server: %v, client: %v", m.serverError, m.clientError)
				}
			default:
				wantError(t, m.clientError, test.want, test.says, "join token")
			}
		})
	}
}

// errRemote stands for that the other side refuses.
var errRemote = errors.New("refused by the other side")

// orElse returns at, or the other if there is none.
func orElse(at, other time.Time) time.Time {
	if at.IsZero() {
		return other
	}
	return at
}

// selfSigned returns a certificate of a node by an authority of nobody.
func selfSigned(tb testing.TB, key *ecdsa.PrivateKey) []byte {
	tb.Helper()
	template := &x509.Certificate{
		URIs: []*url.URL{node("n1").URI()}, NotBefore: epoch, NotAfter: epoch.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return must[[]byte](tb)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
}

// A host may have been away for longer than its certificate lasts; a node may not, and nobody from elsewhere.
func TestMayLapse(t *testing.T) {
	a, at := newAuthority(t), newClock(epoch)
	var removed error
	n1 := holder(t, member(t, a, node("n1")), pki.Rules{
		Clock: at.now, Allow: func(pki.Name, time.Time) error { return removed },
		MayLapse: func(n pki.Name) bool { return n.Role == pki.RoleHost },
	})
	then := func() time.Time { return epoch } // the others' clocks are not what this is about
	away := func(a *pki.Authority, name pki.Name) *pki.Holder {
		return holder(t, member(t, a, name), pki.Rules{Clock: then})
	}
	h1, n2, other := away(a, host("h1")), away(a, node("n2")), away(newAuthority(t), host("h1"))
	at.set(epoch.Add(2 * pki.DefaultLifetime))
	before := meet(t, h1.ServerConfig(protos), n1.ClientConfig(host("h1"), protos))
	before.mustSucceed(t)
	if err := n1.Recheck(before.client); err != nil {
		t.Error(err)
	}
	m := meet(t, n2.ServerConfig(protos), n1.ClientConfig(node("n2"), protos))
	wantError(t, m.clientError, pki.ErrClock)
	m = meet(t, other.ServerConfig(protos), n1.ClientConfig(host("h1"), protos))
	wantError(t, m.clientError, pki.ErrUntrusted)
	removed = errors.New("removed")
	m = meet(t, h1.ServerConfig(protos), n1.ClientConfig(host("h1"), protos))
	wantError(t, m.clientError, pki.ErrNotAllowed)
	wantError(t, n1.Recheck(before.client), pki.ErrNotAllowed)
}
