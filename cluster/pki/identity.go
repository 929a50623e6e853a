package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// IdentityFile is where an identity is in its directory: the key, its certificate, and the authorities that are
// trusted, as PEM.
const IdentityFile = "identity.pem"

// Identity is what makes a member: a key, its certificate, and whom it trusts. It is a value and does not change.
type Identity struct {
	name  Name
	key   *ecdsa.PrivateKey
	pkcs8 []byte
	cert  *x509.Certificate
	trust *Trust
}

// NewIdentity makes an identity of what a member has (the key) and got (a certificate for it, and whom to trust). That
// they belong together is checked here; whether others accept the certificate, Identity.Check says.
func NewIdentity(key *ecdsa.PrivateKey, certDER []byte, trust *Trust) (*Identity, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("making an identity: %w: parsing the certificate: %w", ErrCorrupt, err)
	}
	i, err := newIdentity(key, cert, trust)
	if err != nil {
		return nil, fmt.Errorf("making an identity: %w", err)
	}
	return i, nil
}

func newIdentity(key *ecdsa.PrivateKey, cert *x509.Certificate, trust *Trust) (*Identity, error) {
	if err := checkPair(key, cert); err != nil {
		return nil, err
	}
	name, err := NameOf(cert)
	if err != nil {
		return nil, err
	}
	if name.ClusterID != trust.ClusterID() {
		return nil, fmt.Errorf("%w: the certificate is that of %s of cluster %q, trusted are the %s",
			ErrForeign, name, name.ClusterID, trust)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return &Identity{name: name, key: key, pkcs8: pkcs8, cert: cert, trust: trust}, nil
}

// ParseIdentity is the inverse of Identity.MarshalPEM. An error is ErrCorrupt.
func ParseIdentity(text []byte) (*Identity, error) {
	c, err := parsePEM(text)
	if err != nil {
		return nil, fmt.Errorf("parsing an identity: %w", err)
	}
	key, cert, authorities, err := c.pair()
	if err != nil {
		return nil, fmt.Errorf("parsing an identity: %w", err)
	}
	trust, err := NewTrust(authorities...)
	if err != nil {
		return nil, fmt.Errorf("parsing an identity: %w: %w", ErrCorrupt, err)
	}
	i, err := newIdentity(key, cert, trust)
	if err != nil {
		return nil, fmt.Errorf("parsing an identity: %w: %w", ErrCorrupt, err)
	}
	return i, nil
}

// LoadIdentity reads the identity of a directory. The error is ErrNoIdentity when it has none.
func LoadIdentity(dir string) (*Identity, error) {
	text, err := os.ReadFile(filepath.Join(dir, IdentityFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("loading the identity in %s: %w", dir, ErrNoIdentity)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the identity in %s: %w", dir, err)
	}
	i, err := ParseIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("loading the identity in %s: %w", dir, err)
	}
	return i, nil
}

// Save writes the identity into a directory in place of the one that is there. The directory is made if it is not
// there; the one above must be. Whenever Save is interrupted, by a loss of power too, the old or the new identity is
// there, whole; when it has returned nil, the new one. It may be repeated. Callers that save into one directory take
// turns.
func (i *Identity) Save(dir string) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("saving an identity in %s: %w", dir, err)
	}
	if err := durable.ReplaceFile(filepath.Join(dir, IdentityFile), i.MarshalPEM()); err != nil {
		return fmt.Errorf("saving an identity in %s: %w", dir, err)
	}
	return nil
}

// MarshalPEM returns the key, its certificate and the authorities: who has them is the member.
func (i *Identity) MarshalPEM() []byte {
	return append(appendCert(appendKey(nil, i.pkcs8), i.cert), i.trust.MarshalPEM()...)
}

// Name returns who the member is.
func (i *Identity) Name() Name { return i.name }

// Key returns the private key.
func (i *Identity) Key() *ecdsa.PrivateKey { return i.key }

// Certificate returns the certificate of the key.
func (i *Identity) Certificate() *x509.Certificate { return i.cert }

// Trust returns whom the member trusts.
func (i *Identity) Trust() *Trust { return i.trust }

// WithTrust returns the identity with other authorities. An error is ErrForeign.
func (i *Identity) WithTrust(trust *Trust) (*Identity, error) {
	return newIdentity(i.key, i.cert, trust)
}

// RenewAt returns when it is time for another certificate: two thirds of the way from the beginning to the end of this
// one. It is time at once when Trust.IssuerPin of the certificate is not that of the authority that signs now.
func (i *Identity) RenewAt() time.Time {
	return i.cert.NotBefore.Add(i.cert.NotAfter.Sub(i.cert.NotBefore) / 3 * 2)
}

// Check reports why others that trust the same authorities, with the same clock, would refuse this member: ErrClock or
// ErrUntrusted.
func (i *Identity) Check(now time.Time) error {
	if _, err := i.trust.verify(i.cert, now, nil, anyUse()...); err != nil {
		return fmt.Errorf("checking the own certificate: %w", err)
	}
	return nil
}

// tlsCertificate returns what is sent to the other side. The authority is sent along for those that know no more of it
// than its pin.
func (i *Identity) tlsCertificate() *tls.Certificate {
	c := &tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key, Leaf: i.cert}
	if issuer := i.trust.issuer(i.cert); issuer != nil {
		c.Certificate = append(c.Certificate, issuer.Raw)
	}
	return c
}
