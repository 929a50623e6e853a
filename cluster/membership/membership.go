package membership

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

// Membership is what a directory says of the member it is of.
type Membership struct {
	Format    int      `json:"format"`
	ClusterID string   `json:"clusterId"`
	Name      string   `json:"name"`
	Role      pki.Role `json:"role"`
	// Listen is the address to listen on for other members, Advertise where they reach it, host:port.
	Listen    string `json:"listen"`
	Advertise string `json:"advertise"`
	// Founded says that it began the cluster; the others joined.
	Founded bool `json:"founded"`
}

// Errors of this package, matched with errors.Is.
var (
	// ErrNone says that a directory is not that of a member.
	ErrNone = errors.New("not a member of a cluster")
	// ErrMember says that a directory is that of a member already.
	ErrMember = errors.New("a member of a cluster already")
	// ErrVersion says that a newer program wrote it.
	ErrVersion = errors.New("written by a newer program")
)

const (
	format        = 1
	memberFile    = "member.json"
	authorityFile = "authority.pem"
	identityDir   = "identity"
)

// Load reads the membership that a directory is of. The error is ErrNone if it is of none.
func Load(dir string) (Membership, error) {
	text, err := os.ReadFile(filepath.Join(dir, memberFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Membership{}, ErrNone
	}
	var m Membership
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, fmt.Errorf("reading the membership in %s: %w", dir, err)
	}
	if m.Format != format {
		return m, fmt.Errorf("the membership in %s has format %d, this program knows %d: %w",
			dir, m.Format, format, ErrVersion)
	}
	return m, nil
}

// Identity reads the identity of the member.
func Identity(dir string) (*pki.Identity, error) {
	return pki.LoadIdentity(filepath.Join(dir, identityDir))
}

// SaveIdentity replaces it.
func SaveIdentity(dir string, identity *pki.Identity) error {
	return identity.Save(filepath.Join(dir, identityDir))
}

// Authority reads the authority that a node signs with.
func Authority(dir string) (*pki.Authority, error) {
	text, err := os.ReadFile(filepath.Join(dir, authorityFile))
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	return pki.ParseAuthority(text)
}

// Found makes dir that of the first node of a cluster: with an authority of its own. An empty ClusterID is a new one.
func Found(dir string, m Membership) (Membership, error) {
	if m.ClusterID == "" {
		m.ClusterID = strings.ToLower(rand.Text())
	}
	m.Role, m.Founded = pki.RoleNode, true
	if err := m.check(dir); err != nil {
		return m, err
	}
	authority, err := pki.NewAuthority(m.ClusterID, time.Now())
	if err != nil {
		return m, err
	}
	identity, err := Renewed(authority, nil, m)
	if err != nil {
		return m, err
	}
	return m, m.write(dir, identity, authority.MarshalPEM())
}

// Renewed returns an identity of the member that was signed just now. Trust is what it trusts; nil = the authority
// alone.
func Renewed(authority *pki.Authority, trust *pki.Trust, m Membership) (*pki.Identity, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	request, err := pki.CreateRequest(key)
	if err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	name := pki.Name{ClusterID: m.ClusterID, Role: m.Role, Name: m.Name}
	cert, err := authority.Sign(request, name, time.Now(), pki.DefaultLifetime)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	if trust == nil {
		if trust, err = pki.NewTrust(authority.Certificate()); err != nil {
			return nil, err
		}
	}
	return pki.NewIdentity(key, cert, trust)
}

// Join makes dir that of a member that joins a cluster, with a token, by asking the node at address.
func Join(
	ctx context.Context, dir, address string, token pki.JoinToken, m Membership, version string, entryFormat uint32,
) (Membership, error) {
	m.Role = token.Role
	if err := m.check(dir); err != nil {
		return m, err
	}
	key, err := pki.NewKey()
	if err != nil {
		return m, fmt.Errorf("making a key: %w", err)
	}
	request, err := pki.CreateRequest(key)
	if err != nil {
		return m, fmt.Errorf("asking for a certificate: %w", err)
	}
	asked := time.Now()
	w, err := join.Ask(ctx, address, join.Request{
		Token: token, Name: m.Name, Address: m.Advertise, Version: version, EntryFormat: entryFormat,
		CertificateRequest: request, Clock: time.Now(),
	})
	if err != nil {
		return m, err
	}
	m.ClusterID = w.ClusterID
	trust, err := pki.ParseTrust(w.Trust)
	if err != nil {
		return m, fmt.Errorf("reading whom to trust: %w", err)
	}
	identity, err := pki.NewIdentity(key, w.Certificate, trust)
	if err != nil {
		return m, fmt.Errorf("reading the certificate: %w", err)
	}
	if err := pki.CheckClock(identity.Certificate(), time.Now(), time.Since(asked)); err != nil {
		return m, err
	}
	return m, m.write(dir, identity, w.Authority)
}

// check refuses what can't be a membership, and a directory that has one.
func (m Membership) check(dir string) error {
	if _, err := Load(dir); !errors.Is(err, ErrNone) {
		return errors.Join(fmt.Errorf("%s: %w", dir, ErrMember), err)
	}
	name := pki.Name{ClusterID: m.ClusterID, Role: m.Role, Name: m.Name}
	if name.ClusterID == "" { // it is told by who lets it in
		name.ClusterID = "x"
	}
	if err := name.Check(); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(m.Advertise)
	if err != nil {
		return fmt.Errorf("the address %q where others reach it: %w", m.Advertise, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("the address %q where others reach it names no host", m.Advertise)
	}
	return nil
}

// write writes all files, what makes it a membership last: a crash before that leaves none.
func (m Membership) write(dir string, identity *pki.Identity, authority []byte) error {
	m.Format = format
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	if err := SaveIdentity(dir, identity); err != nil {
		return err
	}
	if len(authority) > 0 {
		if err := renameio.WriteFile(filepath.Join(dir, authorityFile), authority, 0o600); err != nil {
			return fmt.Errorf("writing the authority: %w", err)
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, memberFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the membership: %w", err)
	}
	return nil
}
