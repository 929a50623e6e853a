package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// version of the form of what is sealed: version.key.data key.value, the last two in base64 (URL).
const version = "v1"

// maxSealed bounds what is opened, in bytes.
const maxSealed = 256 << 10

// envelope is a sealed value, taken apart.
type envelope struct {
	key            string
	wrapped, value []byte
}

func (e envelope) String() string {
	encode := base64.RawURLEncoding.EncodeToString
	return strings.Join([]string{version, e.key, encode(e.wrapped), encode(e.value)}, ".")
}

func parse(sealed string) (e envelope, err error) {
	parts := strings.Split(sealed, ".")
	if len(sealed) > maxSealed || len(parts) != 4 || parts[0] != version || !idSyntax.MatchString(parts[1]) {
		return e, fmt.Errorf("%w: it has not the form", ErrCorrupt)
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	wrapped, wrong := decode(parts[2])
	value, err := decode(parts[3])
	if err := errors.Join(wrong, err); err != nil {
		return e, fmt.Errorf("%w: it has not the form", ErrCorrupt)
	}
	return envelope{key: parts[1], wrapped: wrapped, value: value}, nil
}

// KeyOf is the id of the key that something is sealed with. The error is ErrCorrupt if it is not sealed at all.
func KeyOf(sealed string) (string, error) {
	e, err := parse(sealed)
	return e.key, err
}

// Seal seals values of a resource by field, with one data key. Beside is something of the same resource that is sealed
// already, whose data key is used then; "" = there is nothing, and it gets one. The error is ErrNoKey if the ring is
// empty, or lacks the key of beside.
func (r Ring) Seal(owner resources.Ref, values map[string]string, beside string) (map[string]string, error) {
	secret, made, err := r.dataKey(owner, beside)
	if err != nil {
		return nil, fmt.Errorf("sealing secrets of %s: %w", owner, err)
	}
	data, err := aead(secret)
	if err != nil {
		return nil, err
	}
	sealed := make(map[string]string, len(values))
	for field, value := range values {
		made.value = data.Seal(nil, nil, []byte(value), valueContext(owner, field))
		sealed[field] = made.String()
	}
	return sealed, nil
}

// dataKey returns the data key of a resource, with the envelope it goes into.
func (r Ring) dataKey(owner resources.Ref, beside string) ([]byte, envelope, error) {
	if beside != "" {
		e, err := parse(beside)
		if err != nil {
			return nil, envelope{}, err
		}
		secret, err := r.unwrap(owner, e)
		if err != nil {
			return nil, envelope{}, err
		}
		wrapped, err := r.wrap(owner, secret) // by the key that seals now
		return secret, wrapped, err
	}
	secret := make([]byte, keyBytes)
	_, _ = rand.Read(secret) // never fails
	e, err := r.wrap(owner, secret)
	return secret, e, err
}

// Open returns what was sealed for a field of a resource. The error is ErrNoKey, or ErrCorrupt for what was sealed for
// something else, or was changed.
func (r Ring) Open(owner resources.Ref, field, sealed string) (string, error) {
	e, err := parse(sealed)
	if err != nil {
		return "", fmt.Errorf("opening %s of %s: %w", field, owner, err)
	}
	secret, err := r.unwrap(owner, e)
	if err != nil {
		return "", fmt.Errorf("opening %s of %s: %w", field, owner, err)
	}
	data, err := aead(secret)
	if err != nil {
		return "", err
	}
	value, err := data.Open(nil, nil, e.value, valueContext(owner, field))
	if err != nil {
		return "", fmt.Errorf("opening %s of %s: %w", field, owner, ErrCorrupt)
	}
	return string(value), nil
}

// Rewrap seals the data key of something sealed with the key that seals now; the value itself stays as it is, and is
// not opened. What is sealed with that key already is returned as it is.
func (r Ring) Rewrap(owner resources.Ref, sealed string) (string, error) {
	e, err := parse(sealed)
	if err != nil {
		return "", fmt.Errorf("wrapping a secret of %s anew: %w", owner, err)
	}
	if len(r.keys) > 0 && e.key == r.keys[0].id {
		return sealed, nil
	}
	secret, err := r.unwrap(owner, e)
	if err != nil {
		return "", fmt.Errorf("wrapping a secret of %s anew: %w", owner, err)
	}
	next, err := r.wrap(owner, secret)
	next.value = e.value
	return next.String(), err
}

func (r Ring) wrap(owner resources.Ref, secret []byte) (envelope, error) {
	if len(r.keys) == 0 {
		return envelope{}, fmt.Errorf("%w: there is none", ErrNoKey)
	}
	k := r.keys[0]
	return envelope{key: k.id, wrapped: k.wraps.Seal(nil, nil, secret, keyContext(owner, k.id))}, nil
}

func (r Ring) unwrap(owner resources.Ref, e envelope) ([]byte, error) {
	k, err := r.find(e.key)
	if err != nil {
		return nil, err
	}
	secret, err := k.wraps.Open(nil, nil, e.wrapped, keyContext(owner, k.id))
	if err != nil || len(secret) != keyBytes {
		return nil, ErrCorrupt
	}
	return secret, nil
}

// The contexts say what something is sealed for. No two of them are one text: no part holds a zero byte.
func keyContext(owner resources.Ref, id string) []byte {
	return []byte(strings.Join([]string{"bulkhead data key", version, string(owner.Kind), owner.ID, id}, "\x00"))
}

func valueContext(owner resources.Ref, field string) []byte {
	return []byte(strings.Join([]string{"bulkhead secret", version, string(owner.Kind), owner.ID, field}, "\x00"))
}
