package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

func TestAuthority(t *testing.T) {
	a := newAuthority(t)
	cert := a.Certificate()
	if !cert.IsCA || !cert.MaxPathLenZero || !cert.NotAfter.Equal(epoch.Add(pki.AuthorityLifetime)) {
		t.Errorf("CA %v, no path %v, until %s", cert.IsCA, cert.MaxPathLenZero, cert.NotAfter)
	}
	if !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(a.Pin()) || a.Pin() != pki.Pin(cert) {
		t.Errorf("pin is %q", a.Pin())
	}
	again := must[*pki.Authority](t)(pki.ParseAuthority(a.MarshalPEM()))
	if again.Pin() != a.Pin() || again.ClusterID() != clusterID || !bytes.Equal(again.MarshalPEM(), a.MarshalPEM()) {
		t.Error("it is another after it was written")
	}
	if other := newAuthority(t); other.Pin() == a.Pin() || bytes.Equal(other.Certificate().RawSubject, cert.RawSubject) {
		t.Error("two authorities of a cluster are not told apart")
	}
	for _, id := range []string{"", "C", "a.b", "a b", "-", "*"} {
		if _, err := pki.NewAuthority(id, epoch); err == nil {
			t.Errorf("there is an authority of cluster %q", id)
		}
	}
}

func TestSign(t *testing.T) {
	a := newAuthority(t)
	key := must[*ecdsa.PrivateKey](t)(pki.NewKey())
	// What a request says of itself is not believed.
	request := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "n2"}, URIs: []*url.URL{node("n2").URI()},
		DNSNames: []string{"example.com"}, EmailAddresses: []string{"root@example.com"},
	}, key))
	der := must[[]byte](t)(a.Sign(request, host("h1"), epoch, time.Hour))
	cert := must[*x509.Certificate](t)(x509.ParseCertificate(der))
	if name := must[pki.Name](t)(pki.NameOf(cert)); name != host("h1") || cert.Subject.CommonName != "h1" {
		t.Errorf("it is that of %v, %q", name, cert.Subject)
	}
	if len(cert.DNSNames)+len(cert.EmailAddresses)+len(cert.IPAddresses) > 0 || cert.IsCA {
		t.Errorf("it says %v, %v, %v, CA %v", cert.DNSNames, cert.EmailAddresses, cert.IPAddresses, cert.IsCA)
	}
	if !cert.NotBefore.Equal(epoch.Add(-pki.Backdate)) || !cert.NotAfter.Equal(epoch.Add(time.Hour)) {
		t.Errorf("it is valid from %s to %s", cert.NotBefore, cert.NotAfter)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		t.Error("it is of another key")
	}
	again := must[*x509.Certificate](t)(x509.ParseCertificate(must[[]byte](t)(a.Sign(request, host("h1"), epoch, 0))))
	if !again.NotAfter.Equal(epoch.Add(pki.DefaultLifetime)) || again.SerialNumber.Cmp(cert.SerialNumber) == 0 {
		t.Errorf("the next is valid until %s and has the number %s", again.NotAfter, again.SerialNumber)
	}
	// Nothing outlives who answers for it.
	late := epoch.Add(pki.AuthorityLifetime - time.Hour)
	last := must[*x509.Certificate](t)(x509.ParseCertificate(must[[]byte](t)(a.Sign(request, host("h1"), late, 0))))
	if !last.NotAfter.Equal(a.Certificate().NotAfter) {
		t.Errorf("it is valid until %s, the authority until %s", last.NotAfter, a.Certificate().NotAfter)
	}
}

func TestSignRefuses(t *testing.T) {
	a := newAuthority(t)
	csr := func(key crypto.Signer) []byte {
		t.Helper()
		return must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))
	}
	p256, p384 := must[*ecdsa.PrivateKey](t)(pki.NewKey()),
		must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := csr(p256)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	foreign := node("n1")
	foreign.ClusterID = "other"
	for name, test := range map[string]struct {
		csr      []byte
		name     pki.Name
		now      time.Time
		lifetime time.Duration
		is       error
	}{
		"forged request":  {csr: forged, name: node("n1"), now: epoch},
		"no request":      {csr: nil, name: node("n1"), now: epoch},
		"more behind it":  {csr: append(bytes.Clone(good), 0), name: node("n1"), now: epoch},
		"another curve":   {csr: csr(p384), name: node("n1"), now: epoch},
		"another kind":    {csr: csr(edwards), name: node("n1"), now: epoch},
		"no role":         {csr: good, name: pki.Name{ClusterID: clusterID, Name: "n1"}, now: epoch},
		"no name":         {csr: good, name: node(""), now: epoch},
		"a path":          {csr: good, name: node("n1/../n2"), now: epoch},
		"ended before":    {csr: good, name: node("n1"), now: epoch, lifetime: -1},
		"another cluster": {csr: good, name: foreign, now: epoch, is: pki.ErrForeign},
		"too early":       {csr: good, name: node("n1"), now: epoch.Add(-time.Hour), is: pki.ErrClock},
		"too late":        {csr: good, name: node("n1"), now: epoch.Add(pki.AuthorityLifetime), is: pki.ErrClock},
	} {
		if der, err := a.Sign(test.csr, test.name, test.now, test.lifetime); err == nil {
			t.Errorf("%s: signed % x", name, der)
		} else if test.is != nil {
			wantError(t, err, test.is, "signing a certificate for node n1")
		}
	}
}

// Who has the key of an authority can sign what it likes, but not for another cluster.
func TestAuthorityIsConstrained(t *testing.T) {
	a := newAuthority(t)
	for id, good := range map[string]bool{clusterID: true, "other": false, clusterID + "x": false} {
		foreign := pki.Name{ClusterID: id, Role: pki.RoleNode, Name: "n1"}
		cert := forge(t, a, &x509.Certificate{URIs: []*url.URL{foreign.URI()}})
		pool := x509.NewCertPool()
		pool.AddCert(a.Certificate())
		_, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: epoch})
		if (err == nil) != good {
			t.Errorf("cluster %s: %v", id, err)
		}
	}
}

// forge signs what Sign would not, with the key of an authority.
func forge(tb testing.TB, a *pki.Authority, template *x509.Certificate) *x509.Certificate {
	tb.Helper()
	key, _ := keyOf(tb, a.MarshalPEM())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = epoch, epoch.Add(time.Hour)
	}
	der := must[[]byte](tb)(x509.CreateCertificate(rand.Reader, template, a.Certificate(), &key.PublicKey, key))
	return must[*x509.Certificate](tb)(x509.ParseCertificate(der))
}
