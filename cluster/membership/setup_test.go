package membership_test

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

func ours(name string) membership.Membership {
	return membership.Membership{Name: name, Listen: "127.0.0.1:7481", Advertise: "192.0.2.1:7481"}
}

// house is a node that lets others in: each token once, but for who is recognised.
type house struct {
	t         *testing.T
	authority *pki.Authority
	address   string
	// change, if set, spoils the answer to who gets in.
	change func(*join.Welcome)
	// off is how wrong the clock is.
	off time.Duration
	// name, if set, is in the certificates instead of the one asked for.
	name string

	mu   sync.Mutex
	used map[string][]byte // request that a token was used with
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, used: map[string][]byte{}}
	var err error
	if h.authority, err = pki.NewAuthority("ours", time.Now().Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	first := ours("n1")
	first.ClusterID, first.Role = "ours", pki.RoleNode
	identity, err := membership.Renewed(h.authority, nil, first, "first")
	if err != nil {
		t.Fatal(err)
	}
	holder, err := pki.NewHolder(identity, pki.Rules{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	n, err := wire.Open(t.Context(), wire.Config{Listen: "127.0.0.1:0", Holder: holder})
	if err != nil {
		t.Fatal(err)
	}
	h.address = n.Address()
	l, err := n.Listener(wire.PurposeJoin)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- join.Serve(context.Background(), l, h, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		n.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h
}

// Admit implements join.Admitter.
func (h *house) Admit(_ context.Context, r join.Request) (join.Welcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if with, used := h.used[r.Token.ID]; used && !bytes.Equal(with, r.CertificateRequest) {
		return join.Welcome{}, &join.Refusal{Code: "join-token-used", Message: "it was used", Remedy: "make another"}
	}
	h.used[r.Token.ID] = r.CertificateRequest
	name := pki.Name{ClusterID: h.authority.ClusterID(), Role: r.Token.Role, Name: r.Name}
	if h.name != "" {
		name.Name = h.name
	}
	cert, err := h.authority.Sign(r.CertificateRequest, name, time.Now().Add(h.off), 0)
	if err != nil {
		return join.Welcome{}, err
	}
	trust, err := pki.NewTrust(h.authority.Certificate())
	if err != nil {
		return join.Welcome{}, err
	}
	w := join.Welcome{
		ClusterID: h.authority.ClusterID(), Certificate: cert, Trust: trust.MarshalPEM(),
		GossipKeys: [][]byte{[]byte("a new key of 32 bytes, as it has"), []byte("an old key of 32 bytes, as it was")[:32]},
	}
	if r.Token.Role == pki.RoleNode {
		w.Authority, w.SecretKeys = h.authority.MarshalPEM(), []byte(secretKeys)
	}
	if h.change != nil {
		h.change(&w)
	}
	return w, nil
}

// secretKeys are told to nodes.
const secretKeys = "keys of secrets"

func (h *house) token(role pki.Role, id string) pki.JoinToken {
	h.t.Helper()
	token, err := pki.NewJoinToken(id, role, h.authority.Pin())
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// mustBeMember checks that everything in a directory is that of one member, and nobody else can read it. Left is what
// there may be besides.
func mustBeMember(t *testing.T, dir, name string, role pki.Role, left ...string) membership.Membership {
	t.Helper()
	m, err := membership.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := membership.Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := pki.Name{ClusterID: m.ClusterID, Role: role, Name: name}
	if m.Name != name || m.Role != role || !identity.Name().Is(want) {
		t.Errorf("it is %+v with the certificate of %+v", m, identity.Name())
	}
	if err := identity.Check(time.Now()); err != nil {
		t.Error(err)
	}
	files := map[string]bool{
		"": true, membership.MemberFile: true, membership.GossipFile: true,
		membership.IdentityDir: true, filepath.Join(membership.IdentityDir, pki.IdentityFile): true,
	}
	for _, also := range left {
		files[also] = true
	}
	if role == pki.RoleNode {
		files[membership.AuthorityFile] = true
		if keys, err := membership.SecretKeys(dir); err != nil || string(keys) != secretKeys && !m.Founded {
			t.Errorf("the keys of secrets are %q, %v", keys, err)
		}
		files[membership.SecretsFile] = !m.Founded
		authority, err := membership.Authority(dir)
		if err != nil {
			t.Fatal(err)
		}
		if identity.Trust().IssuerPin(identity.Certificate()) != authority.Pin() {
			t.Error("it has another authority than signed its certificate")
		}
	}
	mustHaveOnly(t, dir, files)
	return m
}

// mustHaveOnly checks which files there are, and that only their owner may read them.
func mustHaveOnly(t *testing.T, dir string, files map[string]bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel == "." {
			rel = ""
		}
		if !files[rel] {
			t.Errorf("there is a file %q", rel)
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = fs.ModeDir | 0o700
		}
		if info.Mode() != want {
			t.Errorf("%q has the mode %s, not %s", rel, info.Mode(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func writeFile(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// program is what all run.
func program() membership.Program {
	return membership.Program{Version: "1.2.3", EntryFormat: 7, NewestLevel: 2}
}
