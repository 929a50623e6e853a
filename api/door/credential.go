package door

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// credentialPrefix lets people and secret scanners tell what a token is of.
const credentialPrefix = "bh_"

// secretBytes is the entropy of a secret: with 256 bits, one fast digest is
// enough to keep it.
const secretBytes = 32

// Secret is the part of a token that only its bearer knows.
type Secret struct{ text string }

// NewSecret draws a secret.
func NewSecret() Secret {
	var raw [secretBytes]byte
	// crypto/rand.Read never fails: it ends the program rather than answer
	// without entropy.
	_, _ = rand.Read(raw[:])
	return Secret{hex.EncodeToString(raw[:])}
}

// Digest is what the zone keeps of the secret.
func (s Secret) Digest() []byte {
	sum := sha256.Sum256([]byte(s.text))
	return sum[:]
}

// Bearer returns the whole token, bh_<id>_<secret>, for the resource with the
// given id. It is shown once.
func (s Secret) Bearer(id string) string { return credentialPrefix + id + "_" + s.text }

// ParseBearer takes a token apart; false if it has not the form of one.
func ParseBearer(token string) (id string, s Secret, ok bool) {
	rest, ok := strings.CutPrefix(token, credentialPrefix)
	if !ok {
		return "", Secret{}, false
	}
	id, text, ok := strings.Cut(rest, "_")
	if !ok || id == "" || len(text) != 2*secretBytes || strings.Trim(text, "0123456789abcdef") != "" {
		return "", Secret{}, false
	}
	return id, Secret{text}, true
}
