package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Trust is the authorities that are believed, one or more, all of one cluster. It is a value: what would change it
// returns another.
type Trust struct {
	authorities []*x509.Certificate
	pool        *x509.CertPool
	clusterID   string
}

// NewTrust makes a Trust of the certificates of authorities. One that comes twice counts once.
func NewTrust(authorities ...*x509.Certificate) (*Trust, error) {
	t := &Trust{pool: x509.NewCertPool()}
	for _, cert := range authorities {
		clusterID, err := checkAuthority(cert)
		if err != nil {
			return nil, fmt.Errorf("trusting: %w", err)
		}
		if t.clusterID != "" && clusterID != t.clusterID {
			return nil, fmt.Errorf("trusting: %w: authorities of both %q and %q", ErrForeign, t.clusterID, clusterID)
		}
		if slices.ContainsFunc(t.authorities, cert.Equal) {
			continue
		}
		t.clusterID = clusterID
		t.authorities = append(t.authorities, cert)
		t.pool.AddCert(cert)
	}
	if len(t.authorities) == 0 {
		return nil, errors.New("trusting: no authority")
	}
	return t, nil
}

// ParseTrust is the inverse of Trust.MarshalPEM. An error is ErrCorrupt.
func ParseTrust(text []byte) (*Trust, error) {
	c, err := parsePEM(text)
	if err != nil {
		return nil, fmt.Errorf("parsing authorities: %w", err)
	}
	if len(c.keys) > 0 {
		return nil, fmt.Errorf("parsing authorities: %w: there is a private key in it", ErrCorrupt)
	}
	t, err := NewTrust(c.certs...)
	if err != nil {
		return nil, fmt.Errorf("parsing authorities: %w: %w", ErrCorrupt, err)
	}
	return t, nil
}

// MarshalPEM returns the certificates of the authorities, in the order in which they came to be trusted.
func (t *Trust) MarshalPEM() []byte {
	var text []byte
	for _, cert := range t.authorities {
		text = appendCert(text, cert)
	}
	return text
}

// ClusterID returns the cluster that the authorities are of.
func (t *Trust) ClusterID() string { return t.clusterID }

// Pins returns Pin of each authority, in the order of MarshalPEM.
func (t *Trust) Pins() []string {
	pins := make([]string, 0, len(t.authorities))
	for _, cert := range t.authorities {
		pins = append(pins, Pin(cert))
	}
	return pins
}

// With returns t and another authority, or what equals t if it is in there.
func (t *Trust) With(authority *x509.Certificate) (*Trust, error) {
	return NewTrust(append(slices.Clone(t.authorities), authority)...)
}

// Without returns t without the authority of that pin, or what equals t if there is none. The last cannot go.
func (t *Trust) Without(pin string) (*Trust, error) {
	return NewTrust(slices.DeleteFunc(slices.Clone(t.authorities), func(cert *x509.Certificate) bool {
		return Pin(cert) == pin
	})...)
}

// IssuerPin returns the pin of the authority that signed a certificate, or "" if it is none of these.
func (t *Trust) IssuerPin(cert *x509.Certificate) string {
	if issuer := t.issuer(cert); issuer != nil {
		return Pin(issuer)
	}
	return ""
}

func (t *Trust) issuer(cert *x509.Certificate) *x509.Certificate {
	for _, authority := range t.authorities {
		if cert.CheckSignatureFrom(authority) == nil {
			return authority
		}
	}
	return nil
}

// String returns the cluster and the pins.
func (t *Trust) String() string {
	return fmt.Sprintf("authorities of cluster %s: %s", t.clusterID, strings.Join(t.Pins(), ", "))
}
