package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const (
	tokenPrefix  = "bulkhead-join-"
	tokenVersion = "v1"
	tokenParts   = 6  // version, role, id, secret, pin, sum
	tokenSum     = 9  // bytes; no mistake comes through 72 bits
	tokenSumText = 12 // characters
)

// JoinToken is what somebody needs to become a member once: proof towards the cluster (the secret), and how to know
// the cluster (the pin). Whether it was used and when it ends is not in it: the cluster knows.
type JoinToken struct {
	// ID names the token; it is no secret. At most 63 of a-z, 0-9 and -, neither end a -.
	ID string
	// Role that it admits to.
	Role Role
	// Secret that the cluster knows the digest of.
	Secret Secret
	// Pin of the authority that signed the certificates of the servers: see Pin.
	Pin string
}

// NewJoinToken makes a token with a new secret.
func NewJoinToken(id string, role Role, pin string) (JoinToken, error) {
	t := JoinToken{ID: id, Role: role, Pin: pin}
	if _, err := rand.Read(t.Secret[:]); err != nil {
		return JoinToken{}, fmt.Errorf("making a join token: %w", err)
	}
	if err := t.check(); err != nil {
		return JoinToken{}, fmt.Errorf("making a join token: %w", err)
	}
	return t, nil
}

var pinPattern = regexp.MustCompile(`^` + pinPrefix + `[0-9a-f]{64}$`)

func (t JoinToken) check() error {
	if !labelPattern.MatchString(t.ID) {
		return fmt.Errorf("id is %q, not at most 63 of a-z, 0-9 and - with neither end a -", t.ID)
	}
	if err := t.Role.check(); err != nil {
		return err
	}
	if !pinPattern.MatchString(t.Pin) {
		return fmt.Errorf("pin is %q, not %q and 64 hexadecimal digits", t.Pin, pinPrefix)
	}
	return nil
}

// Text returns the token to be handed to who joins: bulkhead-join-v1.<role>.<id>.<secret>.<pin>.<checksum>. Who has it
// can join.
func (t JoinToken) Text() string {
	text := strings.Join([]string{
		tokenPrefix + tokenVersion, string(t.Role), t.ID, encode(t.Secret[:]), strings.TrimPrefix(t.Pin, pinPrefix),
	}, ".")
	return text + "." + sumOf(text)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encode(sum[:tokenSum])
}

// ParseJoinToken is the inverse of JoinToken.Text. White space in the text, as a mail program or a terminal puts it
// there, is taken out. The error is ErrTokenCutOff, ErrTokenMistyped or ErrTokenVersion, and does not tell the secret.
func ParseJoinToken(text string) (JoinToken, error) {
	text = strings.Join(strings.Fields(text), "")
	if strings.HasPrefix(tokenPrefix+tokenVersion+".", text) {
		return JoinToken{}, fmt.Errorf("%w: only its beginning is there", ErrTokenCutOff)
	}
	if !strings.HasPrefix(text, tokenPrefix) {
		return JoinToken{}, fmt.Errorf("%w: it does not begin with %q", ErrTokenMistyped, tokenPrefix)
	}
	parts := strings.Split(text, ".")
	if version := strings.TrimPrefix(parts[0], tokenPrefix); version != tokenVersion {
		return JoinToken{}, fmt.Errorf("%w: it is %.8q and this program knows %q", ErrTokenVersion, version, tokenVersion)
	}
	last := parts[len(parts)-1]
	if len(parts) < tokenParts || len(parts) == tokenParts && len(last) < tokenSumText {
		return JoinToken{}, fmt.Errorf("%w: copy all of it, to the last character", ErrTokenCutOff)
	}
	signed := strings.TrimSuffix(text, "."+last)
	if len(parts) > tokenParts || last != sumOf(signed) {
		return JoinToken{}, fmt.Errorf("%w: its checksum is wrong, copy it again", ErrTokenMistyped)
	}
	t, err := parseParts(parts)
	if err != nil {
		return JoinToken{}, fmt.Errorf("%w: %w", ErrTokenMistyped, err)
	}
	return t, nil
}

func parseParts(parts []string) (JoinToken, error) {
	t := JoinToken{Role: Role(parts[1]), ID: parts[2], Pin: pinPrefix + parts[4]}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil {
		return t, errors.New("its secret is not base64")
	}
	if t.Secret, err = ParseSecret(secret); err != nil {
		return t, err
	}
	return t, t.check()
}

// String returns what may be shown of the token: not the secret.
func (t JoinToken) String() string { return fmt.Sprintf("join token %s for a %s", t.ID, t.Role) }

// Secret is 256 random bits. It does not print.
type Secret [32]byte

// ParseSecret makes a Secret of its bytes.
func ParseSecret(b []byte) (Secret, error) {
	if len(b) != len(Secret{}) {
		return Secret{}, fmt.Errorf("a secret of %d bytes, not %d", len(b), len(Secret{}))
	}
	return Secret(b), nil
}

// Digest returns what the cluster keeps of the secret: 64 hexadecimal digits that do not tell it.
func (s Secret) Digest() string {
	sum := sha256.Sum256(s[:])
	return hex.EncodeToString(sum[:])
}

// Matches reports whether digest is that of s, in a time that does not depend on where they differ.
func (s Secret) Matches(digest string) bool {
	return subtle.ConstantTimeCompare([]byte(s.Digest()), []byte(digest)) == 1
}

// Format implements fmt.Formatter, for every verb: whoever prints a token does not print its secret.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(secret)") }

// MarshalText refuses: a secret does not get into a log or a document in passing.
func (Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("the secret of a join token is not written but with its Text")
}
