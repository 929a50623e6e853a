package pki_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
)

func TestName(t *testing.T) {
	for _, name := range []pki.Name{
		node("n1"), host("hv-17.example.com"), {ClusterID: "1", Role: pki.RoleHost, Name: strings.Repeat("x", 63)},
	} {
		if err := name.Check(); err != nil {
			t.Error(err)
		}
		u := must[*url.URL](t)(url.Parse(name.URI().String()))
		if got := must[pki.Name](t)(pki.ParseName(u)); got != name {
			t.Errorf("%v became %v", name, got)
		}
	}
	if got, want := node("n1").URI().String(), "bulkhead://c7h2kq5/node/n1"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func TestParseNameRefuses(t *testing.T) {
	for _, text := range []string{
		"", "bulkhead:", "bulkhead://", "bulkhead://c/node", "bulkhead://c/node/", "bulkhead:///node/n1",
		"spiffe://c/node/n1", "bulkhead://c/node/n1/", "bulkhead://c/node/n1/x", "bulkhead://c//node/n1",
		"bulkhead://c/admin/n1", "bulkhead://c/Node/n1", "bulkhead://C/node/n1", "bulkhead://c/node/N1",
		"bulkhead://c:1/node/n1", "bulkhead://u@c/node/n1", "bulkhead://c/node/n1?", "bulkhead://c/node/n1?a",
		"bulkhead://c/node/n1#a", "bulkhead://c/node/n%31", "bulkhead:c/node/n1", "bulkhead://c.d/node/n1",
		"bulkhead://c/node/-n", "bulkhead://c/node/n.", "bulkhead://c/node/..", "bulkhead://-c/node/n1",
		"bulkhead://c/node/" + strings.Repeat("x", 64), "bulkhead://" + strings.Repeat("c", 64) + "/node/n1",
		"bulkhead://c/node/n 1", "bulkhead://c/node/n1%0a",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if name, err := pki.ParseName(u); err == nil {
			t.Errorf("%q became %+v", text, name)
		}
	}
}

// TestAdmission tells two holders of one name apart.
func TestAdmission(t *testing.T) {
	a := newAuthority(t)
	first, second := node("n2"), node("n2")
	first.Admission, second.Admission = "k3v8x5", "m9q2r7"
	if first == second || !first.Is(second) || first.Is(node("n1")) || !node("n2").Is(first) {
		t.Error("names are compared by something else than what they are")
	}
	var asked []pki.Name
	var signed []time.Time
	n1 := holder(t, member(t, a, node("n1")), pki.Rules{Allow: func(name pki.Name, at time.Time) error {
		asked, signed = append(asked, name), append(signed, at)
		if name.Admission == first.Admission {
			return errors.New("another was let in")
		}
		return nil
	}})
	for _, name := range []pki.Name{first, second, node("n2")} {
		n2 := holder(t, member(t, a, name), pki.Rules{})
		m := meet(t, n1.ServerConfig(protos), n2.ClientConfig(node("n1"), protos))
		if name == first {
			wantError(t, m.serverError, pki.ErrNotAllowed, "node n2", "another was let in")
		} else {
			m.mustSucceed(t)
		}
	}
	if len(asked) != 3 || asked[0] != first || asked[1] != second || asked[2] != node("n2") || !signed[0].Equal(epoch) {
		t.Errorf("asked for %+v, signed at %v", asked, signed)
	}
	bad := first
	bad.Admission = "no such/thing"
	key := must[*ecdsa.PrivateKey](t)(pki.NewKey())
	if _, err := a.Sign(must[[]byte](t)(pki.CreateRequest(key)), bad, epoch, 0); err == nil {
		t.Error("a certificate was signed with an admission that can't be read")
	}
	if err := holder(t, member(t, a, first), pki.Rules{}).Set(member(t, a, second)); err != nil {
		t.Errorf("a member that was let in again: %v", err)
	}
}

func TestNameOf(t *testing.T) {
	identity := member(t, newAuthority(t), node("n1"))
	if got := must[pki.Name](t)(pki.NameOf(identity.Certificate())); got != node("n1") {
		t.Errorf("the certificate is that of %+v", got)
	}
	web := &url.URL{Scheme: "https", Host: "example.com"}
	for name, uris := range map[string][]*url.URL{
		"none": nil, "two": {node("n1").URI(), node("n2").URI()}, "another and ours": {web, node("n1").URI()},
		"a web page": {web},
	} {
		if got, err := pki.NameOf(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%s: it is that of %+v", name, got)
		} else {
			wantError(t, err, pki.ErrForeign)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("bulkhead://c7h2kq5/node/n1")
	f.Add("bulkhead://c/host/a.b?x#y")
	f.Add("bulkhead://u:p@c:80/host//")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		name, err := pki.ParseName(u)
		if err != nil {
			return
		}
		if err := name.Check(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if again, err := pki.ParseName(name.URI()); err != nil || again != name {
			t.Errorf("%q became %+v and then %+v: %v", text, name, again, err)
		}
	})
}
