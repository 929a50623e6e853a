package secrets

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Errors of a Ring.
var (
	// ErrCorrupt says that something was not sealed by this package for what it is opened for, or was changed since.
	ErrCorrupt = errors.New("secrets: what is sealed does not open")
	// ErrNoKey says that the ring lacks the key that something is sealed with.
	ErrNoKey = errors.New("secrets: the key is not in the ring")
)

const (
	keyBytes = 32 // AES-256
	// maxKeys is how many keys a ring may hold.
	maxKeys = 16
	// ringHeader begins a keyring, so that no other file is taken for one.
	ringHeader = "bulkhead secret keys 1"
)

var idSyntax = regexp.MustCompile(`^[a-z0-9]{4,32}$`)

// Ring holds keys by their ids. The first seals, all of them open. It does not change; the zero value has none.
type Ring struct{ keys []key }

type key struct {
	id     string
	secret []byte
	// wraps is the cipher with it, made once: each call of a driver with secrets needs it.
	wraps cipher.AEAD
}

func newKey(id string, secret []byte) (key, error) {
	wraps, err := aead(secret)
	return key{id, secret, wraps}, err
}

// With returns the ring with a new key besides, which seals from now on.
func (r Ring) With() Ring {
	secret := make([]byte, keyBytes)
	_, _ = rand.Read(secret)                                     // never fails
	next, _ := newKey(strings.ToLower(rand.Text()[:12]), secret) // of this length there is a cipher with any
	return Ring{append([]key{next}, r.keys...)}
}

// Only returns the ring with the key that seals and no other. What others sealed opens no more.
func (r Ring) Only() Ring { return Ring{r.keys[:min(len(r.keys), 1)]} }

// And returns the ring with the keys of another besides, which seal nothing.
func (r Ring) And(other Ring) Ring {
	keys := slices.Clone(r.keys)
	for _, k := range other.keys {
		if !r.Has(k.id) {
			keys = append(keys, k)
		}
	}
	return Ring{keys}
}

// First returns the ring with the key of an id first, which seals from now on. A ring without it stays as it is.
func (r Ring) First(id string) Ring {
	at := slices.IndexFunc(r.keys, func(k key) bool { return k.id == id })
	if at <= 0 {
		return r
	}
	keys := slices.Delete(slices.Clone(r.keys), at, at+1)
	return Ring{slices.Insert(keys, 0, r.keys[at])}
}

// Has reports whether the ring has the key of an id.
func (r Ring) Has(id string) bool {
	return slices.ContainsFunc(r.keys, func(k key) bool { return k.id == id })
}

// IDs are the names of the keys, that of the one that seals first. They tell keys apart and nothing about them.
func (r Ring) IDs() []string {
	var ids []string
	for _, k := range r.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// Marshal writes the ring down, in clear: for a file that nobody else reads, or to be encrypted.
func (r Ring) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(ringHeader + "\n")
	for _, k := range r.keys {
		b.WriteString(k.id + " " + base64.StdEncoding.EncodeToString(k.secret) + "\n")
	}
	return b.Bytes()
}

// Parse is the inverse of Marshal. The error is ErrCorrupt for anything else, and says which line is wrong, not what is
// in it.
func Parse(text []byte) (Ring, error) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if lines[0] != ringHeader || len(lines) > maxKeys+1 {
		return Ring{}, fmt.Errorf("reading a keyring: %w: it is none, or has more than %d keys", ErrCorrupt, maxKeys)
	}
	var r Ring
	for i, line := range lines[1:] {
		id, encoded, ok := strings.Cut(line, " ")
		secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if !ok || err != nil || len(secret) != keyBytes || !idSyntax.MatchString(id) || slices.Contains(r.IDs(), id) {
			return Ring{}, fmt.Errorf("reading a keyring: %w: line %d", ErrCorrupt, i+2)
		}
		k, err := newKey(id, secret)
		if err != nil {
			return Ring{}, err
		}
		r.keys = append(r.keys, k)
	}
	return r, nil
}

func (r Ring) find(id string) (key, error) {
	for _, k := range r.keys {
		if k.id == id {
			return k, nil
		}
	}
	return key{}, fmt.Errorf("%w: %s; there are: %s", ErrNoKey, id, strings.Join(r.IDs(), ", "))
}

func aead(secret []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
