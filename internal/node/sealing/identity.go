package sealing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
)

// Identities are secret keys that open what was sealed to their public ones.
type Identities struct{ keys []age.Identity }

// And returns the identities of both.
func (i Identities) And(others Identities) Identities {
	return Identities{append(append([]age.Identity(nil), i.keys...), others.keys...)}
}

// Errors of ParseIdentities.
var (
	// ErrPassphrase says that a file of identities is not opened by the passphrase given.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrNoIdentities says that a file holds no secret keys that can be used.
	ErrNoIdentities = errors.New("no identities")
)

// ParseIdentities reads a file of secret keys: age's own, one on each line; the same encrypted with a passphrase, which
// is asked for then; or an SSH key that has none. No error repeats anything of the file.
func ParseIdentities(r io.Reader, passphrase func() (string, error)) (Identities, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err != nil {
		return Identities{}, fmt.Errorf("reading identities: %w", err)
	}
	if len(content) > maxKeyFile {
		return Identities{}, fmt.Errorf("%w: more than %d bytes", ErrNoIdentities, maxKeyFile)
	}
	return parseIdentities(content, passphrase)
}

func parseIdentities(content []byte, passphrase func() (string, error)) (Identities, error) {
	text := string(bytes.TrimSpace(content))
	switch {
	case strings.HasPrefix(text, armor.Header):
		return unlock(armor.NewReader(strings.NewReader(text)), passphrase)
	case bytes.HasPrefix(content, []byte(header)):
		return unlock(bytes.NewReader(content), passphrase)
	case strings.HasPrefix(text, "-----BEGIN"):
		key, err := agessh.ParseIdentity([]byte(text + "\n"))
		if err != nil {
			return Identities{}, fmt.Errorf("%w: %w", ErrNoIdentities, err)
		}
		return Identities{[]age.Identity{key}}, nil
	}
	keys, err := age.ParseIdentities(bytes.NewReader(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))))
	if err != nil {
		return Identities{}, fmt.Errorf("%w: %w", ErrNoIdentities, err)
	}
	return Identities{keys}, nil
}

// unlock reads identities that are themselves encrypted with a passphrase.
func unlock(r io.Reader, passphrase func() (string, error)) (Identities, error) {
	words, err := passphrase()
	if err != nil {
		return Identities{}, err
	}
	key, err := age.NewScryptIdentity(words)
	if err != nil {
		return Identities{}, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	content, err := age.Decrypt(bufio.NewReader(r), key)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return Identities{}, fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	if err != nil {
		return Identities{}, fmt.Errorf("%w: %w", ErrNoIdentities, err)
	}
	return ParseIdentities(content, func() (string, error) {
		return "", fmt.Errorf("%w: encrypted twice", ErrNoIdentities)
	})
}
