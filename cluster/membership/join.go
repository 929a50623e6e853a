package membership

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// Program is what a member runs that joins.
type Program struct {
	Version string
	// EntryFormat is the newest format of log entries that it knows.
	EntryFormat uint32
	// OldestLevel and NewestLevel are of the zones that it can work with.
	OldestLevel, NewestLevel uint32
}

// Join makes dir that of a member that joins a cluster, with a token, by asking the node at address. When it failed, or
// was interrupted, it may be repeated with the same token, in the same directory: who was let in is recognised by its
// key, which is kept there from before it asks.
func Join(
	ctx context.Context, dir, address string, token pki.JoinToken, m Membership, program Program,
) (Membership, error) {
	m.Format, m.Role = format, token.Role
	if err := m.check(dir); err != nil {
		return m, err
	}
	a, err := prepare(dir)
	if err != nil {
		return m, err
	}
	asked := time.Now()
	w, err := join.Ask(ctx, address, join.Request{
		Token: token, Name: m.Name, Address: m.Advertise, Version: program.Version,
		EntryFormat: program.EntryFormat, OldestLevel: program.OldestLevel, NewestLevel: program.NewestLevel,
		CertificateRequest: a.request, Clock: asked,
	})
	if err != nil {
		return m, err
	}
	m.ClusterID = w.ClusterID
	s, err := m.welcomed(a.key, w)
	if err != nil {
		return m, fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	now := time.Now()
	if err := pki.CheckClock(s.identity.Certificate(), now, now.Sub(asked)); err != nil {
		return m, err
	}
	if err := s.identity.Check(now); err != nil {
		return m, err
	}
	return m, m.write(dir, s)
}

// welcomed refuses a welcome that would make no member, or another one.
func (m Membership) welcomed(key *ecdsa.PrivateKey, w join.Welcome) (secrets, error) {
	s := secrets{authority: w.Authority, gossip: w.GossipKeys, secrets: w.SecretKeys}
	trust, err := pki.ParseTrust(w.Trust)
	if err != nil {
		return s, fmt.Errorf("whom to trust: %w", err)
	}
	if s.identity, err = pki.NewIdentity(key, w.Certificate, trust); err != nil {
		return s, err
	}
	if got := s.identity.Name(); !got.Is(m.name("")) {
		return s, fmt.Errorf("%w: the certificate is that of %s of cluster %q, not of %s of cluster %q",
			pki.ErrOtherName, got, got.ClusterID, m.name(""), m.ClusterID)
	}
	if m.Role != pki.RoleNode {
		s.secrets = nil
		return s, nil
	}
	authority, err := pki.ParseAuthority(w.Authority)
	if err != nil {
		return s, err
	}
	if !slices.Contains(trust.Pins(), authority.Pin()) {
		return s, fmt.Errorf("%w: the authority to sign with is not trusted", pki.ErrUntrusted)
	}
	return s, nil
}

// attempt is what a member is recognised by that asks again.
type attempt struct {
	key     *ecdsa.PrivateKey
	request []byte // PKCS #10, DER: signed once, as another signature is another request
}

// prepare returns the attempt that was made in a directory before, or begins one.
func prepare(dir string) (attempt, error) {
	path := filepath.Join(dir, attemptFile)
	text, err := os.ReadFile(path)
	var a attempt
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a, err = begin(dir, path)
	case err == nil:
		if a, err = parseAttempt(text); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		return a, fmt.Errorf("preparing to join: %w", err)
	}
	return a, nil
}

func begin(dir, path string) (a attempt, err error) {
	if a.key, err = pki.NewKey(); err != nil {
		return a, err
	}
	if a.request, err = pki.CreateRequest(a.key); err != nil {
		return a, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return a, err
	}
	if err := makeDir(dir); err != nil {
		return a, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: a.request})...)
	return a, durable.ReplaceFile(path, text)
}

const (
	keyBlock     = "PRIVATE KEY"
	requestBlock = "CERTIFICATE REQUEST"
)

func parseAttempt(text []byte) (attempt, error) {
	first, rest := pem.Decode(text)
	second, rest := pem.Decode(rest)
	if first == nil || second == nil || first.Type != keyBlock || second.Type != requestBlock || len(rest) > 0 {
		return attempt{}, errors.New("it is not a key and the request to certify it; remove it to begin anew")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(first.Bytes)
	if err != nil {
		return attempt{}, err
	}
	request, err := x509.ParseCertificateRequest(second.Bytes)
	if err != nil {
		return attempt{}, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(request.PublicKey) {
		return attempt{}, errors.New("the request is not for the key; remove it to begin anew")
	}
	return attempt{key: key, request: second.Bytes}, nil
}
