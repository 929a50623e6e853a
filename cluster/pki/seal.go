package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// Seal encrypts a secret for those alone who have the authority with its key. Purpose says what it is: it is opened for
// no other one. A repeated call makes another text.
func (a *Authority) Seal(purpose string, secret []byte) ([]byte, error) {
	aead, err := a.aead(purpose)
	if err != nil {
		return nil, fmt.Errorf("sealing for %s: %w", purpose, err)
	}
	return aead.Seal(nil, nil, secret, nil), nil
}

// Open is the inverse of Seal. The error is ErrCorrupt for what was sealed with another authority, for another purpose,
// or was changed.
func (a *Authority) Open(purpose string, sealed []byte) ([]byte, error) {
	aead, err := a.aead(purpose)
	if err != nil {
		return nil, fmt.Errorf("opening what was sealed for %s: %w", purpose, err)
	}
	secret, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("opening what was sealed for %s: %w: it was not with the authority %s",
			purpose, ErrCorrupt, a.Pin())
	}
	return secret, nil
}

func (a *Authority) aead(purpose string) (cipher.AEAD, error) {
	const aes256 = 32
	key, err := hkdf.Key(sha256.New, a.pkcs8, nil, "bulkhead sealed "+a.clusterID+" "+purpose, aes256)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
