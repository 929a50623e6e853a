package gossip

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/memberlist"
)

// KeyBytes is how long a key is: AES-256.
const KeyBytes = 32

// NewKey returns a random key.
func NewKey() []byte {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key) // never fails, says its documentation
	return key
}

// Fingerprint returns a name for a key that tells nothing about it, 16 hexadecimal digits.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(append([]byte("bulkhead gossip key\x00"), key...))
	return hex.EncodeToString(sum[:8])
}

// keys are a keyring that may be changed while it is used.
type keys struct {
	mu   sync.Mutex // one change at a time
	ring *memberlist.Keyring
}

func newKeys(all [][]byte) (*keys, error) {
	for _, key := range all {
		if len(key) != KeyBytes {
			return nil, fmt.Errorf("%w: has %d bytes, not %d", ErrKey, len(key), KeyBytes)
		}
	}
	copied := make([][]byte, len(all))
	for i, key := range all {
		copied[i] = bytes.Clone(key)
	}
	ring, err := memberlist.NewKeyring(copied, copied[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return &keys{ring: ring}, nil
}

func (k *keys) index(key []byte) int {
	return slices.IndexFunc(k.ring.GetKeys(), func(have []byte) bool { return bytes.Equal(have, key) })
}

func (k *keys) add(key []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(key) != KeyBytes {
		return fmt.Errorf("%w: has %d bytes, not %d", ErrKey, len(key), KeyBytes)
	}
	if err := k.ring.AddKey(bytes.Clone(key)); err != nil {
		return fmt.Errorf("%w: adding %s: %w", ErrKey, Fingerprint(key), err)
	}
	return nil
}

func (k *keys) use(key []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.index(key) < 0 {
		return fmt.Errorf("%w: %s is not there; add it first", ErrKey, Fingerprint(key))
	}
	if err := k.ring.UseKey(key); err != nil {
		return fmt.Errorf("%w: using %s: %w", ErrKey, Fingerprint(key), err)
	}
	return nil
}

// remove takes keys from the end only: memberlist moves the keys behind a removed one in the very memory that its
// readers look at. Those are put back; what arrives under them in between is lost like any packet.
func (k *keys) remove(key []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.index(key)
	if at < 0 {
		return nil
	}
	if at == 0 {
		return fmt.Errorf("%w: %s is in use; use another one first", ErrKey, Fingerprint(key))
	}
	tail := slices.Clone(k.ring.GetKeys()[at:])
	for _, last := range slices.Backward(tail) {
		if err := k.ring.RemoveKey(last); err != nil {
			return fmt.Errorf("%w: removing %s: %w", ErrKey, Fingerprint(last), err)
		}
	}
	for _, kept := range tail[1:] {
		if err := k.ring.AddKey(kept); err != nil {
			return fmt.Errorf("%w: keeping %s: %w", ErrKey, Fingerprint(kept), err)
		}
	}
	return nil
}

func (k *keys) fingerprints() []string {
	var all []string
	for _, key := range k.ring.GetKeys() {
		all = append(all, Fingerprint(key))
	}
	return all
}

// AddKey makes what is encrypted with key readable. It may be repeated.
func (g *Gossip) AddKey(key []byte) error { return g.keys.add(key) }

// UseKey encrypts with key from now on. All members must have it by then, or they do not hear this one. It may be
// repeated.
func (g *Gossip) UseKey(key []byte) error { return g.keys.use(key) }

// RemoveKey makes what is encrypted with key unreadable. A key in use cannot be removed; one that is not there is
// gone already.
func (g *Gossip) RemoveKey(key []byte) error { return g.keys.remove(key) }

// Keys returns the fingerprints of all keys, that of the one in use first.
func (g *Gossip) Keys() []string { return g.keys.fingerprints() }
