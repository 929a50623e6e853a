package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// keyOf returns the key of a PEM text and its other blocks.
func keyOf(tb testing.TB, text []byte) (*ecdsa.PrivateKey, []*pem.Block) {
	tb.Helper()
	var key *ecdsa.PrivateKey
	var others []*pem.Block
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "PRIVATE KEY" {
			key, _ = must[any](tb)(x509.ParsePKCS8PrivateKey(block.Bytes)).(*ecdsa.PrivateKey)
		} else {
			others = append(others, block)
		}
	}
	return key, others
}

func TestTrust(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	one := trust(t, first)
	both := trust(t, first, second, first)
	if got, want := both.Pins(), []string{first.Pin(), second.Pin()}; !slices.Equal(got, want) {
		t.Errorf("pins are %v, not %v", got, want)
	}
	again := must[*pki.Trust](t)(pki.ParseTrust(both.MarshalPEM()))
	if !slices.Equal(again.Pins(), both.Pins()) || again.ClusterID() != clusterID {
		t.Errorf("%s became %s", both, again)
	}
	if left := must[*pki.Trust](t)(both.Without(first.Pin())); !slices.Equal(left.Pins(), []string{second.Pin()}) {
		t.Errorf("what is left is %s", left)
	}
	if len(one.Pins()) != 1 || len(both.Pins()) != 2 {
		t.Error("a Trust was changed")
	}
	if _, err := one.Without(first.Pin()); err == nil {
		t.Error("nobody is trusted")
	}
	member := member(t, second, node("n1")).Certificate()
	if got := both.IssuerPin(member); got != second.Pin() {
		t.Errorf("%s signed it", got)
	}
	if got := one.IssuerPin(member); got != "" {
		t.Errorf("%s signed it", got)
	}
	foreign := must[*pki.Authority](t)(pki.NewAuthority("other", epoch))
	_, err := one.With(foreign.Certificate())
	wantError(t, err, pki.ErrForeign, "other", clusterID)
	if _, err := one.With(member); err == nil {
		t.Error("a member is trusted as an authority")
	}
	if _, err := pki.NewTrust(); err == nil {
		t.Error("nobody is trusted")
	}
}

// An authority that is not limited to one cluster, or can make others, is none.
func TestTrustRefuses(t *testing.T) {
	a := newAuthority(t)
	for name, change := range map[string]func(*x509.Certificate){
		"none":          nil,
		"no CA":         func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false },
		"can make more": func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false },
		"no limit":      func(c *x509.Certificate) { c.PermittedURIDomains = nil },
		"two clusters":  func(c *x509.Certificate) { c.PermittedURIDomains = []string{clusterID, "other"} },
		"all clusters":  func(c *x509.Certificate) { c.PermittedURIDomains = []string{""} },
		"cannot sign":   func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
		"not critical":  func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false },
	} {
		template := *a.Certificate()
		if change != nil {
			change(&template)
		}
		key, _ := keyOf(t, a.MarshalPEM())
		der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key))
		_, err := pki.NewTrust(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
		if (err == nil) != (change == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPEMRefuses(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	i := issue(t, a, node("n1"), epoch, trust(t, a, b))
	one, two := trust(t, a).MarshalPEM(), trust(t, a, b).MarshalPEM()
	damaged := bytes.Replace(two, []byte("-----END CERTIFICATE"), []byte("-----END CERTIFICAT"), 1)
	empty := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"})
	headed := pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: a.Certificate().Raw,
	})
	for name, test := range map[string]struct {
		text  []byte
		parse func([]byte) error
	}{
		"no trust":               {nil, parseTrust},
		"trust of spaces":        {[]byte(" \n "), parseTrust},
		"words":                  {[]byte("no PEM"), parseTrust},
		"words before":           {append([]byte("first: "), one...), parseTrust},
		"words behind":           {append(bytes.Clone(one), "and so on"...), parseTrust},
		"half a trust":           {two[:len(two)/2+50], parseTrust},
		"one of two damaged":     {damaged, parseTrust},
		"empty block":            {empty, parseTrust},
		"header":                 {headed, parseTrust},
		"a member":               {i.MarshalPEM(), parseTrust},
		"an authority's key":     {a.MarshalPEM(), parseTrust},
		"no authority":           {nil, parseAuthority},
		"no key":                 {one, parseAuthority},
		"key of another":         {slices.Concat(one, onlyKey(t, b)), parseAuthority},
		"two keys":               {slices.Concat(a.MarshalPEM(), onlyKey(t, a)), parseAuthority},
		"two certificates":       {slices.Concat(a.MarshalPEM(), one), parseAuthority},
		"a member as authority":  {member(t, a, node("n1")).MarshalPEM(), parseAuthority},
		"no identity":            {nil, parseIdentity},
		"nobody trusted":         {i.MarshalPEM()[:len(i.MarshalPEM())-len(two)], parseIdentity},
		"authority as identity":  {slices.Concat(a.MarshalPEM(), one), parseIdentity},
		"key of another member":  {slices.Concat(onlyKey(t, a), i.MarshalPEM()[len(onlyKey(t, a)):]), parseIdentity},
		"identity without a key": {i.MarshalPEM()[len(onlyKey(t, a)):], parseIdentity},
	} {
		err := test.parse(test.text)
		t.Run(name, func(t *testing.T) { wantError(t, err, pki.ErrCorrupt) })
	}
}

func onlyKey(tb testing.TB, a *pki.Authority) []byte {
	tb.Helper()
	text := a.MarshalPEM()
	return text[bytes.Index(text, []byte("-----BEGIN PRIVATE KEY")):]
}

func parseTrust(text []byte) error {
	_, err := pki.ParseTrust(text)
	return err
}

func parseAuthority(text []byte) error {
	_, err := pki.ParseAuthority(text)
	return err
}

func parseIdentity(text []byte) error {
	_, err := pki.ParseIdentity(text)
	return err
}

// What is cut off is not parsed, and no byte of a bundle can be another.
func TestPEMMutated(t *testing.T) {
	text := trust(t, newAuthority(t), newAuthority(t)).MarshalPEM()
	single := bytes.Index(text[1:], []byte("-----BEGIN")) + 1 // the first is whole here
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(text)-2).Draw(t, "at")
		mutated := bytes.Clone(text)
		mutated[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if err := parseTrust(mutated); err == nil && text[at] != '\n' {
			t.Errorf("byte %d was changed: %q", at, mutated)
		}
		if err := parseTrust(text[:at]); err == nil && at != single && at != single-1 {
			t.Errorf("cut off at %d it was parsed", at)
		}
	})
}

func FuzzParsePEM(f *testing.F) {
	a := newAuthority(f)
	i := issue(f, a, node("n1"), epoch, trust(f, a, newAuthority(f)))
	for _, text := range [][]byte{i.MarshalPEM(), i.Trust().MarshalPEM(), a.MarshalPEM(), onlyKey(f, a), nil} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if trust, err := pki.ParseTrust(text); err == nil {
			if again, err := pki.ParseTrust(trust.MarshalPEM()); err != nil || !slices.Equal(again.Pins(), trust.Pins()) {
				t.Errorf("%q became %s and then %s: %v", text, trust, again, err)
			}
		}
		if a, err := pki.ParseAuthority(text); err == nil {
			if again, err := pki.ParseAuthority(a.MarshalPEM()); err != nil || again.Pin() != a.Pin() {
				t.Errorf("%q became %s and then another: %v", text, a.Pin(), err)
			}
		}
		if i, err := pki.ParseIdentity(text); err == nil {
			again, err := pki.ParseIdentity(i.MarshalPEM())
			if err != nil || again.Name() != i.Name() || !again.Key().Equal(i.Key()) {
				t.Errorf("%q became %v and then another: %v", text, i.Name(), err)
			}
		}
	})
}
