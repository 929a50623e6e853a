package pki_test

import (
	"bytes"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

func TestSeal(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	secret := []byte("a new key")
	sealed := must[[]byte](t)(a.Seal("gossip", secret))
	again := must[[]byte](t)(a.Seal("gossip", secret))
	if bytes.Contains(sealed, secret) || bytes.Equal(sealed, again) {
		t.Errorf("it is sealed as %q and %q", sealed, again)
	}
	same := must[*pki.Authority](t)(pki.ParseAuthority(a.MarshalPEM()))
	if got := must[[]byte](t)(same.Open("gossip", sealed)); !bytes.Equal(got, secret) {
		t.Errorf("opened it is %q", got)
	}
	_, err := b.Open("gossip", sealed)
	wantError(t, err, pki.ErrCorrupt, b.Pin())
	_, err = a.Open("authority", sealed)
	wantError(t, err, pki.ErrCorrupt)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := a.Open("gossip", changed); err == nil {
			t.Errorf("it is opened with byte %d changed", i)
		}
	}
	_, err = a.Open("gossip", nil)
	wantError(t, err, pki.ErrCorrupt)
}
