package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"
)

const (
	// AuthorityLifetime is how long an authority lives.
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	// DefaultLifetime is how long a certificate lives when nothing else is asked for.
	DefaultLifetime = 90 * 24 * time.Hour
	// Backdate is how long before it was made a certificate begins to be valid, and so how far behind a clock may be.
	Backdate = 5 * time.Minute

	pinPrefix = "sha256:"
)

// Authority is an authority of a cluster with its key. Its methods may be called concurrently.
type Authority struct {
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	pkcs8     []byte
	clusterID string
}

// NewAuthority makes another authority of a cluster.
func NewAuthority(clusterID string, now time.Time) (*Authority, error) {
	if err := checkClusterID(clusterID); err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	template := &x509.Certificate{
		// Each has a subject of its own, so that one that replaces another is told from it.
		Subject:   pkix.Name{CommonName: "Bulkhead " + clusterID, SerialNumber: pinOf(public)[len(pinPrefix):][:16]},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(AuthorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true, // The constraints, of whatever: those of URIs here.
		PermittedURIDomains:         []string{clusterID},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	return newAuthority(key, cert)
}

func newAuthority(key *ecdsa.PrivateKey, cert *x509.Certificate) (*Authority, error) {
	clusterID, err := checkAuthority(cert)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of an authority: %w", err)
	}
	return &Authority{cert: cert, key: key, pkcs8: pkcs8, clusterID: clusterID}, nil
}

// checkAuthority returns the cluster of an authority.
func checkAuthority(cert *x509.Certificate) (clusterID string, err error) {
	if !cert.BasicConstraintsValid || !cert.IsCA || !cert.MaxPathLenZero || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return "", fmt.Errorf("the certificate of %q is not that of an authority", cert.Subject)
	}
	if len(cert.PermittedURIDomains) != 1 || !cert.PermittedDNSDomainsCritical {
		return "", fmt.Errorf("the authority %q is not limited to one cluster", cert.Subject)
	}
	if err := checkClusterID(cert.PermittedURIDomains[0]); err != nil {
		return "", fmt.Errorf("authority %q: %w", cert.Subject, err)
	}
	if err := checkKey(cert.PublicKey); err != nil {
		return "", fmt.Errorf("authority %q: %w", cert.Subject, err)
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return "", fmt.Errorf("authority %q: %w", cert.Subject, err)
	}
	return cert.PermittedURIDomains[0], nil
}

// ParseAuthority is the inverse of Authority.MarshalPEM. An error is ErrCorrupt.
func ParseAuthority(text []byte) (*Authority, error) {
	c, err := parsePEM(text)
	if err != nil {
		return nil, fmt.Errorf("parsing an authority: %w", err)
	}
	key, cert, rest, err := c.pair()
	if err != nil {
		return nil, fmt.Errorf("parsing an authority: %w", err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("parsing an authority: %w: %d certificates too many", ErrCorrupt, len(rest))
	}
	a, err := newAuthority(key, cert)
	if err != nil {
		return nil, fmt.Errorf("parsing an authority: %w: %w", ErrCorrupt, err)
	}
	return a, nil
}

// MarshalPEM returns certificate and key: who has them can make members of the cluster.
func (a *Authority) MarshalPEM() []byte { return appendKey(appendCert(nil, a.cert), a.pkcs8) }

// Certificate returns the certificate, which is no secret.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// ClusterID returns the cluster that it is of.
func (a *Authority) ClusterID() string { return a.clusterID }

// Pin returns Pin of the authority's certificate.
func (a *Authority) Pin() string { return Pin(a.cert) }

// Pin returns the digest of the public key of a certificate: "sha256:" and 64 hexadecimal digits.
func Pin(cert *x509.Certificate) string { return pinOf(cert.RawSubjectPublicKeyInfo) }

func pinOf(publicKey []byte) string {
	sum := sha256.Sum256(publicKey)
	return pinPrefix + hex.EncodeToString(sum[:])
}

// Sign issues a certificate for the key of a request. It is for the name it is told, whatever the request says, valid
// from Backdate before now and for lifetime (0 = DefaultLifetime) from now, but not longer than the authority itself.
// The error is ErrForeign for a name of another cluster and ErrClock when the authority is not valid now. A repeated
// call issues another certificate.
func (a *Authority) Sign(csrDER []byte, name Name, now time.Time, lifetime time.Duration) (certDER []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("signing a certificate for %s: %w", name, err)
		}
	}()
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	if lifetime < 0 {
		return nil, fmt.Errorf("lifetime is %s", lifetime)
	}
	if err := name.Check(); err != nil {
		return nil, err
	}
	if name.ClusterID != a.clusterID {
		return nil, fmt.Errorf("%w: name of cluster %q, authority of cluster %q", ErrForeign, name.ClusterID, a.clusterID)
	}
	if now.Before(a.cert.NotBefore) || !now.Before(a.cert.NotAfter) {
		return nil, clockError("the authority "+a.Pin(), a.cert, now, nil)
	}
	request, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if err := errors.Join(request.CheckSignature(), checkKey(request.PublicKey)); err != nil {
		return nil, fmt.Errorf("checking the request: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{
			CommonName: name.Name, OrganizationalUnit: []string{string(name.Role)}, SerialNumber: name.Admission,
		},
		URIs:        []*url.URL{name.URI()},
		NotBefore:   now.Add(-Backdate),
		NotAfter:    earliest(now.Add(lifetime), a.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: anyUse(),

		BasicConstraintsValid: true,
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, request.PublicKey, a.key)
}

// NewKey makes a private key.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// CreateRequest returns a request to certify a key, which proves that its sender has the key and says nothing else.
func CreateRequest(key *ecdsa.PrivateKey) (csrDER []byte, err error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}
