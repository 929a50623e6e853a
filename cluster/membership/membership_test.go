package membership_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

func TestFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if _, err := membership.Load(dir); !errors.Is(err, membership.ErrNone) {
		t.Errorf("Load() of nothing: %v", err)
	}
	m, err := membership.Found(dir, ours("n1"))
	if err != nil {
		t.Fatal(err)
	}
	loaded := mustBeMember(t, dir, "n1", pki.RoleNode)
	if !loaded.Founded || loaded != m || loaded.Advertise != ours("").Advertise || loaded.Listen != ours("").Listen {
		t.Errorf("founded %+v, loaded %+v", m, loaded)
	}
	keys, err := membership.GossipKeys(dir)
	if err != nil || len(keys) != 1 || len(keys[0]) != 32 {
		t.Errorf("keys of the gossip: %x, %v", keys, err)
	}
	before, err := os.ReadFile(filepath.Join(dir, membership.AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := membership.Found(dir, ours("n1")); !errors.Is(err, membership.ErrMember) {
		t.Errorf("Found() twice: %v", err)
	}
	h := newHouse(t)
	_, err = membership.Join(t.Context(), dir, h.address, h.token(pki.RoleNode, "t1"), ours("n1"), program())
	if !errors.Is(err, membership.ErrMember) || len(h.used) > 0 {
		t.Errorf("Join() of a member: %v; used are %d tokens", err, len(h.used))
	}
	if after, _ := os.ReadFile(filepath.Join(dir, membership.AuthorityFile)); !bytes.Equal(before, after) {
		t.Error("a refused command changed the authority")
	}
	other, err := membership.Found(filepath.Join(t.TempDir(), "c"), ours("n1"))
	if err != nil || other.ClusterID == m.ClusterID {
		t.Errorf("another cluster is %q, like %q: %v", other.ClusterID, m.ClusterID, err)
	}
	given := ours("n1")
	given.ClusterID = "zone-7"
	if given, err = membership.Found(filepath.Join(t.TempDir(), "d"), given); err != nil || given.ClusterID != "zone-7" {
		t.Errorf("a cluster with an id became %q: %v", given.ClusterID, err)
	}
}

func TestJoin(t *testing.T) {
	h := newHouse(t)
	for _, role := range []pki.Role{pki.RoleNode, pki.RoleHost} {
		dir := filepath.Join(t.TempDir(), "member")
		// What an attempt to found a cluster left, which was given up; others can read it.
		for _, name := range []string{membership.AuthorityFile, membership.GossipFile, membership.MemberFile + ".tmp"} {
			writeFile(t, filepath.Join(dir, name), "old", 0o644)
		}
		writeFile(t, filepath.Join(dir, membership.AuthorityFile+".tmp"), "half of a key", 0o644)
		m, err := membership.Join(t.Context(), dir, h.address, h.token(role, "t-"+string(role)), ours("m2"), program())
		if err != nil {
			t.Fatal(err)
		}
		loaded := mustBeMember(t, dir, "m2", role)
		if loaded != m || m.Founded || m.ClusterID != h.authority.ClusterID() {
			t.Errorf("joined %+v, loaded %+v", m, loaded)
		}
		keys, err := membership.GossipKeys(dir)
		if err != nil || len(keys) != 2 || !strings.HasPrefix(string(keys[0]), "a new key") {
			t.Errorf("keys of the gossip: %q, %v", keys, err)
		}
	}
}

func TestWhatCantBeAMember(t *testing.T) {
	h := newHouse(t)
	for what, change := range map[string]func(*membership.Membership){
		"no name":               func(m *membership.Membership) { m.Name = "" },
		"a wrong name":          func(m *membership.Membership) { m.Name = "../n1" },
		"a long name":           func(m *membership.Membership) { m.Name = strings.Repeat("n", 64) },
		"no address":            func(m *membership.Membership) { m.Advertise = "" },
		"no port":               func(m *membership.Membership) { m.Advertise = "192.0.2.1" },
		"port 0":                func(m *membership.Membership) { m.Advertise = "192.0.2.1:0" },
		"no host":               func(m *membership.Membership) { m.Advertise = ":7481" },
		"any host":              func(m *membership.Membership) { m.Advertise = "0.0.0.0:7481" },
		"any host of IPv6":      func(m *membership.Membership) { m.Advertise = "[::]:7481" },
		"nowhere to listen":     func(m *membership.Membership) { m.Listen = "" },
		"any port to listen on": func(m *membership.Membership) { m.Listen = "127.0.0.1:0" },
	} {
		t.Run(what, func(t *testing.T) {
			m, dir := ours("n1"), filepath.Join(t.TempDir(), "member")
			change(&m)
			if _, err := membership.Found(dir, m); err == nil {
				t.Error("it founded a cluster")
			}
			if _, err := membership.Join(t.Context(), dir, h.address, h.token(pki.RoleNode, "t1"), m, program()); err == nil {
				t.Error("it joined")
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a directory was made: %v", err)
			}
			if len(h.used) > 0 {
				t.Error("a token was used")
			}
		})
	}
	m := ours("n1")
	m.ClusterID = "Ours"
	if _, err := membership.Found(filepath.Join(t.TempDir(), "member"), m); err == nil {
		t.Error("a cluster was founded with a wrong id")
	}
}

// TestBadWelcomes has the answer be wrong: then there is no member, and when it is right the same command makes one.
func TestBadWelcomes(t *testing.T) {
	other, err := pki.NewAuthority("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	same, err := pki.NewAuthority("ours", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		change func(*join.Welcome)
		off    time.Duration
		name   string // in the certificate
		want   error
		says   string
	}{
		"signed an hour ahead":  {off: time.Hour, want: pki.ErrClock, says: "behind that of the cluster"},
		"signed an hour behind": {off: -time.Hour, want: pki.ErrClock, says: "ahead of that of the cluster"},
		"another cluster":       {change: func(w *join.Welcome) { w.ClusterID = "other" }, want: pki.ErrOtherName},
		"no certificate":        {change: func(w *join.Welcome) { w.Certificate = nil }, want: pki.ErrCorrupt},
		"nobody to trust":       {change: func(w *join.Welcome) { w.Trust = nil }, want: pki.ErrCorrupt},
		"no authority":          {change: func(w *join.Welcome) { w.Authority = nil }, want: pki.ErrCorrupt},
		"an authority not trusted": {
			change: func(w *join.Welcome) { w.Authority = other.MarshalPEM() }, want: pki.ErrUntrusted,
		},
		"a certificate that others refuse": {change: func(w *join.Welcome) {
			trust, _ := pki.NewTrust(same.Certificate())
			w.Trust, w.Authority = trust.MarshalPEM(), same.MarshalPEM()
		}, want: pki.ErrUntrusted},
		"the certificate of another": {change: nil, want: pki.ErrOtherName, name: "n3"},
		"another certificate": {
			change: func(w *join.Welcome) { w.Certificate = other.Certificate().Raw }, says: "the private key is not that",
		},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHouse(t)
			h.change, h.off, h.name = test.change, test.off, test.name
			dir, token := filepath.Join(t.TempDir(), "member"), h.token(pki.RoleNode, "t1")
			_, err := membership.Join(t.Context(), dir, h.address, token, ours("n2"), program())
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Join(): %v, want %v, %q", err, test.want, test.says)
			}
			if _, err := membership.Load(dir); !errors.Is(err, membership.ErrNone) {
				t.Errorf("Load() after that: %v", err)
			}
			mustHaveOnly(t, dir, map[string]bool{"": true, membership.AttemptFile: true})
			h.change, h.off, h.name = nil, 0, ""
			if _, err := membership.Join(t.Context(), dir, h.address, token, ours("n2"), program()); err != nil {
				t.Fatalf("the same again: %v", err)
			}
			mustBeMember(t, dir, "n2", pki.RoleNode)
		})
	}
}

// TestAnAttemptIsKept has two directories use one token: only the one that did first is let in again.
func TestAnAttemptIsKept(t *testing.T) {
	h := newHouse(t)
	h.change = func(w *join.Welcome) { w.Trust = nil }
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	token := h.token(pki.RoleNode, "t1")
	try := func(dir string) error {
		_, err := membership.Join(t.Context(), dir, h.address, token, ours("n2"), program())
		return err
	}
	if err := try(dirs[0]); !errors.Is(err, pki.ErrCorrupt) {
		t.Fatal(err)
	}
	h.change = nil
	if no, ok := errors.AsType[*join.Refusal](try(dirs[1])); !ok || no.Code != "join-token-used" {
		t.Errorf("another one with this token: %v", no)
	}
	for _, spoiled := range []string{"", "garbage", "-----BEGIN CERTIFICATE-----\n"} {
		path := filepath.Join(dirs[0], membership.AttemptFile)
		had, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, spoiled, 0o600)
		if err := try(dirs[0]); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("an attempt that can't be read: %v", err)
		}
		writeFile(t, path, string(had), 0o600)
	}
	if err := try(dirs[0]); err != nil {
		t.Errorf("the same again: %v", err)
	}
	mustBeMember(t, dirs[0], "n2", pki.RoleNode)
	if _, err := membership.Found(dirs[1], ours("n2")); err != nil { // who gave up joining
		t.Fatal(err)
	}
	mustBeMember(t, dirs[1], "n2", pki.RoleNode)
}

func TestLoad(t *testing.T) {
	const good = `{"format":1,"clusterId":"c","name":"n1","role":"node","listen":":1","advertise":"n1:1","founded":true}`
	for text, want := range map[string]struct {
		err  error // nil: any
		good bool
	}{
		good:           {good: true},
		`{"format":2}`: {err: membership.ErrVersion},
		`{"format":2,"clusterId":["a","b"],"name":7}`: {err: membership.ErrVersion},
		``:                                       {},
		`{`:                                      {},
		`{}`:                                     {},
		`[]`:                                     {},
		`{"format":1}`:                           {},
		`{"format":-1}`:                          {},
		`{"format":"1"}`:                         {},
		strings.Replace(good, "node", "king", 1): {},
		strings.Replace(good, "n1:1", "n1", 1):   {},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, membership.MemberFile), text, 0o600)
		m, err := membership.Load(dir)
		switch {
		case want.good != (err == nil), want.err != nil && !errors.Is(err, want.err):
			t.Errorf("Load() of %s: %v", text, err)
		case errors.Is(err, membership.ErrNone), want.err == nil && errors.Is(err, membership.ErrVersion):
			t.Errorf("Load() of %s: %v", text, err)
		case err != nil && (m != membership.Membership{} || !strings.Contains(err.Error(), dir)):
			t.Errorf("Load() of %s = %+v, %v", text, m, err)
		}
		if want.good {
			continue
		}
		if _, err := membership.Found(dir, ours("n1")); !errors.Is(err, membership.ErrMember) {
			t.Errorf("Found() over %s: %v", text, err)
		}
	}
}

func TestRenewedKeepsTrust(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "member")
	m, err := membership.Found(dir, ours("n1"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := membership.Authority(dir)
	if err != nil {
		t.Fatal(err)
	}
	had, err := membership.Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	next, err := pki.NewAuthority(m.ClusterID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both, err := had.Trust().With(next.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		authority *pki.Authority
		trust     *pki.Trust
		pins      []string
	}{
		{authority, both, both.Pins()},
		{next, both, both.Pins()},
		{authority, nil, []string{authority.Pin()}},
	} {
		renewed, err := membership.Renewed(test.authority, test.trust, m, "again")
		if err != nil {
			t.Fatal(err)
		}
		if err := membership.SaveIdentity(dir, renewed); err != nil {
			t.Fatal(err)
		}
		saved, err := membership.Identity(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := saved.Trust().Pins(); !reflect.DeepEqual(got, test.pins) {
			t.Errorf("it trusts %q, not %q", got, test.pins)
		}
		if saved.Key().Equal(had.Key()) || !saved.Name().Is(had.Name()) || saved.Name().Admission != "again" ||
			saved.Check(time.Now()) != nil ||
			saved.Trust().IssuerPin(saved.Certificate()) != test.authority.Pin() {
			t.Errorf("it is %+v: %v", saved.Name(), saved.Check(time.Now()))
		}
	}
	m.ClusterID = "another"
	if _, err := membership.Renewed(authority, nil, m, ""); !errors.Is(err, pki.ErrForeign) {
		t.Errorf("a member of another cluster: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":1,"clusterId":"c","name":"n1","role":"node","listen":":1","advertise":"n1:1"}`))
	f.Add([]byte(`{"format":9}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := membership.Parse(text)
		name := pki.Name{ClusterID: m.ClusterID, Role: m.Role, Name: m.Name}
		if err == nil && (m.Format != 1 || name.Check() != nil) {
			t.Errorf("%q is a membership: %+v", text, m)
		}
	})
}

func FuzzParseAttempt(f *testing.F) {
	request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{0}})
	f.Add(append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{0}}), request...))
	f.Fuzz(func(_ *testing.T, text []byte) { _ = membership.ParseAttempt(text) })
}
