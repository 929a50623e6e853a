package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
)

// contents is what a PEM text holds.
type contents struct {
	keys  []*ecdsa.PrivateKey
	certs []*x509.Certificate
}

// parsePEM takes apart a text of keys and certificates as it was written here. What pem.Decode would pass over, as
// damage to one of several certificates, is an error: half a text must not pass for a whole one.
func parsePEM(text []byte) (contents, error) {
	var c contents
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil {
			return c, fmt.Errorf("%w: text that is not PEM, or not all of it", ErrCorrupt)
		}
		read := bytes.TrimSpace(rest[:len(rest)-len(after)])
		written := bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
		if !bytes.Equal(read, written) {
			return c, fmt.Errorf("%w: something else than PEM before or in a block of type %q", ErrCorrupt, block.Type)
		}
		if err := c.add(block); err != nil {
			return c, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		rest = bytes.TrimSpace(after)
	}
	return c, nil
}

func (c *contents) add(block *pem.Block) error {
	switch block.Type {
	case certBlock:
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("parsing a certificate: %w", err)
		}
		c.certs = append(c.certs, cert)
	case keyBlock:
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("parsing a private key: %w", err)
		}
		key, ok := parsed.(*ecdsa.PrivateKey)
		if !ok {
			return fmt.Errorf("a private key is a %T", parsed)
		}
		c.keys = append(c.keys, key)
	default:
		return fmt.Errorf("a block of type %q", block.Type)
	}
	return nil
}

// pair returns the key, of which there must be one, the certificate that must be its, and the others.
func (c contents) pair() (*ecdsa.PrivateKey, *x509.Certificate, []*x509.Certificate, error) {
	if len(c.keys) != 1 || len(c.certs) == 0 {
		return nil, nil, nil, fmt.Errorf("%w: %d keys and %d certificates, not a key and its certificate",
			ErrCorrupt, len(c.keys), len(c.certs))
	}
	if err := checkPair(c.keys[0], c.certs[0]); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return c.keys[0], c.certs[0], c.certs[1:], nil
}

func checkPair(key *ecdsa.PrivateKey, cert *x509.Certificate) error {
	if err := checkKey(cert.PublicKey); err != nil {
		return fmt.Errorf("certificate of %q: %w", cert.Subject, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("the private key is not that of the certificate of %q", cert.Subject)
	}
	return nil
}

// checkKey refuses the public keys that are not of the one kind we use: weak ones are among the others.
func checkKey(key any) error {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("the public key is a %T, not ECDSA P-256", key)
	}
	if public.Curve != elliptic.P256() {
		return errors.New("the public key is of another curve than P-256")
	}
	return nil
}

func appendCert(text []byte, cert *x509.Certificate) []byte {
	return append(text, pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: cert.Raw})...)
}

func appendKey(text, pkcs8 []byte) []byte {
	return append(text, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: pkcs8})...)
}
