package membership

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
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
	gossipFile    = "gossip.keys"
	secretsFile   = "secrets.keys"
	attemptFile   = "joining.pem"
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
		m, err = parse(text)
	}
	if err != nil {
		return Membership{}, fmt.Errorf("reading the membership in %s: %w", dir, err)
	}
	return m, nil
}

func parse(text []byte) (Membership, error) {
	var written struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &written); err != nil {
		return Membership{}, err
	}
	if written.Format > format { // what else is in it may be anything
		return Membership{}, fmt.Errorf("it has format %d, this program knows %d: %w", written.Format, format, ErrVersion)
	}
	if written.Format != format {
		return Membership{}, fmt.Errorf("it has format %d, which there never was", written.Format)
	}
	var m Membership
	if err := json.Unmarshal(text, &m); err != nil {
		return Membership{}, err
	}
	return m, m.valid()
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

// SaveAuthority replaces it.
func SaveAuthority(dir string, authority *pki.Authority) error {
	return writeAuthority(filepath.Join(dir, authorityFile), authority.MarshalPEM())
}

// GossipKeys reads the keys that nodes gossip with, the one to send with first.
func GossipKeys(dir string) (keys [][]byte, err error) {
	text, err := os.ReadFile(filepath.Join(dir, gossipFile))
	if err != nil {
		return nil, fmt.Errorf("reading the keys of the gossip: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		key, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("reading the keys of the gossip in %s: %w", dir, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// SaveGossipKeys replaces them.
func SaveGossipKeys(dir string, keys [][]byte) error {
	var text []byte
	for _, key := range keys {
		text = append(hex.AppendEncode(text, key), '\n')
	}
	if err := durable.ReplaceFile(filepath.Join(dir, gossipFile), text); err != nil {
		return fmt.Errorf("writing the keys of the gossip: %w", err)
	}
	return nil
}

// SecretKeys reads the keys that the zone's secrets are sealed with, as they were saved; nil = there are none.
func SecretKeys(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, secretsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keys of secrets: %w", err)
	}
	return text, nil
}

// SaveSecretKeys replaces them. The directory need not be that of a member: a node that is alone has secrets, too.
func SaveSecretKeys(dir string, text []byte) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	if err := durable.ReplaceFile(filepath.Join(dir, secretsFile), text); err != nil {
		return fmt.Errorf("writing the keys of secrets: %w", err)
	}
	return nil
}

// Found makes dir that of the first node of a cluster: with an authority of its own. An empty ClusterID is a new one.
// When it failed, or was interrupted, it may be repeated.
func Found(dir string, m Membership) (Membership, error) {
	if m.ClusterID == "" {
		m.ClusterID = strings.ToLower(rand.Text())
	}
	m.Founded = true
	return found(dir, m, foundersAdmission)
}

// Refound makes dir that of the only node of a new cluster which goes on with the state of another: called and reached
// as it was there, and in the admission it had (empty = it began that one), with an authority and keys of its own.
func Refound(dir string, was Membership, clusterID, admission string) (Membership, error) {
	was.ClusterID = clusterID
	if admission == "" {
		admission = foundersAdmission
	}
	return found(dir, was, admission)
}

func found(dir string, m Membership, admission string) (Membership, error) {
	m.Format, m.Role = format, pki.RoleNode
	if err := m.check(dir); err != nil {
		return m, err
	}
	authority, err := pki.NewAuthority(m.ClusterID, time.Now())
	if err != nil {
		return m, err
	}
	identity, err := Renewed(authority, nil, m, admission)
	if err != nil {
		return m, err
	}
	key := make([]byte, gossipKeyBytes)
	rand.Read(key) // never fails (crypto/rand)
	return m, m.write(dir, secrets{identity: identity, authority: authority.MarshalPEM(), gossip: [][]byte{key}})
}

// gossipKeyBytes makes it AES-256.
const gossipKeyBytes = 32

// secrets are what a member keeps to itself.
type secrets struct {
	identity  *pki.Identity
	authority []byte // PEM, of a node
	gossip    [][]byte
	secrets   []byte // of a node that joins; empty = what is there stays
}

// foundersAdmission is the admission of who began a cluster: nobody let it in.
const foundersAdmission = "founder"

// Renewed returns an identity of the member that was signed just now. Trust is what it trusts; nil = the authority
// alone. Admission is the one of its name, see pki.Name.
func Renewed(authority *pki.Authority, trust *pki.Trust, m Membership, admission string) (*pki.Identity, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	request, err := pki.CreateRequest(key)
	if err != nil {
		return nil, fmt.Errorf("asking for a certificate: %w", err)
	}
	cert, err := authority.Sign(request, m.name(admission), time.Now(), pki.DefaultLifetime)
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

// check refuses what can't be a membership, and a directory that has one.
func (m Membership) check(dir string) error {
	if _, err := Load(dir); !errors.Is(err, ErrNone) {
		return errors.Join(fmt.Errorf("%s: %w", dir, ErrMember), err)
	}
	if m.ClusterID == "" { // it is told by who lets it in
		m.ClusterID = "unknown"
	}
	return m.valid()
}

// valid refuses what can't be a membership.
func (m Membership) valid() error {
	if err := m.name("").Check(); err != nil {
		return err
	}
	if err := wire.CheckAddress(m.Advertise); err != nil {
		return fmt.Errorf("the address %q where others reach it: %w", m.Advertise, err)
	}
	if err := wire.CheckListen(m.Listen); err != nil {
		return fmt.Errorf("the address %q to listen on: %w", m.Listen, err)
	}
	return nil
}

// name is what the member is called in its certificate.
func (m Membership) name(admission string) pki.Name {
	return pki.Name{ClusterID: m.ClusterID, Role: m.Role, Name: m.Name, Admission: admission}
}

// write writes all files, what makes it a membership last: a crash before that leaves none, and nothing that keeps it
// from being written again.
func (m Membership) write(dir string, s secrets) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	if err := SaveIdentity(dir, s.identity); err != nil {
		return err
	}
	if err := writeAuthority(filepath.Join(dir, authorityFile), s.authority); err != nil {
		return fmt.Errorf("writing the authority: %w", err)
	}
	if err := SaveGossipKeys(dir, s.gossip); err != nil {
		return err
	}
	if len(s.secrets) > 0 {
		if err := SaveSecretKeys(dir, s.secrets); err != nil {
			return err
		}
	}
	if err := durable.ReplaceFile(filepath.Join(dir, memberFile), append(text, '\n')); err != nil {
		return fmt.Errorf("writing the membership: %w", err)
	}
	if err := removeFile(filepath.Join(dir, attemptFile)); err != nil {
		return fmt.Errorf("removing what was for joining: %w", err)
	}
	return nil
}

// writeAuthority sees to it that nobody keeps one who is to have none: an attempt to found a cluster that was given up
// may have left one.
func writeAuthority(path string, authority []byte) error {
	if len(authority) == 0 {
		return removeFile(path)
	}
	return durable.ReplaceFile(path, authority)
}
