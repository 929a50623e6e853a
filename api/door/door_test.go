package door_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func token(z *apitest.Zone, role resources.Role, expires time.Time) string {
	s := door.NewSecret()
	return s.Bearer(z.Add(&resources.Token{
		Meta: resources.Meta{Kind: resources.KindToken, Name: "t"}, Spec: resources.TokenSpec{Role: role, ExpiresAt: expires},
		Status: resources.TokenStatus{Digest: s.Digest()},
	}))
}

func newDoor(z *apitest.Zone) *door.Door {
	return door.New(z, z, apitest.NewCluster(nil, "a"), time.Now)
}

// caller is somebody with a role, who wants to enter.
type caller struct {
	door   *door.Door
	bearer string
}

func newCaller(z *apitest.Zone, d *door.Door, role resources.Role) caller {
	return caller{d, "Bearer " + token(z, role, time.Time{})}
}

// grant enters for a permission.
func (c caller) grant(ctx context.Context, p door.Permission, id string) (door.Grant, error) {
	return c.door.Enter(ctx, door.Entry{Authorization: c.bearer, Permission: p, ID: id})
}

func TestATokenIsRecognisedOnlyWhole(t *testing.T) {
	z := apitest.New(nil)
	now := time.Now()
	d := door.New(z, z, apitest.NewCluster(nil, "a"), func() time.Time { return now })
	good := token(z, resources.RoleReader, now.Add(time.Minute))
	p, err := d.Authenticate(t.Context(), "bearer  "+good)
	if err != nil || p.Role() != resources.RoleReader || !strings.HasPrefix(p.String(), "t/tok-") {
		t.Fatalf("got %v %v", p, err)
	}
	swapped := good[:len(good)-1] + map[bool]string{true: "1", false: "0"}[strings.HasSuffix(good, "0")]
	for _, bad := range []string{
		"", "Bearer", "Bearer ", good, "Basic " + good, "Bearer " + swapped, "Bearer " + good[:len(good)-1],
		"Bearer " + good + "0", "Bearer " + strings.ToUpper(good), "Bearer bh__" + strings.Repeat("0", 64),
	} {
		p, err := d.Authenticate(t.Context(), bad)
		if resources.ClassOf(err) != resources.ClassUnauthenticated || p.ID() != "" {
			t.Errorf("%q: got %v %v", bad, p, err)
		}
	}
	now = now.Add(time.Minute)
	if _, err := d.Authenticate(t.Context(), "Bearer "+good); resources.ClassOf(err) != resources.ClassUnauthenticated {
		t.Errorf("at its expiry a token is still good: %v", err)
	}
}

// A grant that the door did not make opens nothing, and one that it made opens
// what it is for and nothing else.
func TestNothingPassesWithoutItsGrant(t *testing.T) {
	z := apitest.New(nil)
	d := newDoor(z)
	pool := z.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}})
	p := newCaller(z, d, resources.RoleAdmin)
	hosts, err := p.grant(t.Context(), door.To("get", resources.KindHost), "")
	if err != nil {
		t.Fatal(err)
	}
	target := resources.Ref{Kind: resources.KindPool, ID: pool}
	for name, g := range map[string]door.Grant{"forged": {}, "for hosts": hosts} {
		ctx := t.Context()
		_, get := d.Get(ctx, g, pool)
		_, list := d.List(ctx, g, resources.Query{Kind: resources.KindPool})
		_, submit := d.Submit(ctx, g, resources.Submission{Action: "delete", Target: target})
		_, plan := d.Plan(ctx, g, resources.Submission{Action: "create", Target: target})
		_, suspend := d.Suspend(ctx, g, pool, resources.Origin{})
		_, resolve := d.Resolve(ctx, g, "op-1", resources.ResolutionCancel, resources.Origin{})
		_, audit := d.AuditLog(ctx, g, resources.Position{}, "", 1)
		_, console := d.Console(ctx, g, "mach-1", "serial")
		_, nodes := d.Nodes(ctx, g)
		_, node := d.ChangeNode(ctx, g, "a", false, resources.Origin{})
		_, joins := d.JoinTokens(ctx, g)
		_, invite := d.CreateJoinToken(ctx, g, door.JoinNode, time.Minute, resources.Origin{})
		_, revoke := d.DeleteJoinToken(ctx, g, "x", resources.Origin{})
		events := d.Events(ctx, g, resources.Position{}, func(resources.Event) bool { return false })
		for what, err := range map[string]error{
			"list": list, "submit": submit, "plan": plan, "suspend": suspend, "resolve": resolve, "audit": audit,
			"console": console, "events": events, "nodes": nodes, "node": node, "joins": joins, "invite": invite,
			"revoke": revoke,
		} {
			if resources.ClassOf(err) != resources.ClassInternal {
				t.Errorf("%s grant: %s got %v", name, what, err)
			}
		}
		if get == nil || name == "forged" && resources.ClassOf(get) != resources.ClassInternal {
			t.Errorf("%s grant: get got %v", name, get)
		}
	}
	_, wait := d.Wait(t.Context(), door.Grant{}, "op-1")
	_, repeated := d.Repeated(t.Context(), door.Grant{}, "k", nil)
	if wait == nil || repeated == nil {
		t.Error("a forged grant reads")
	}
	if n := len(z.Submissions()); n != 0 {
		t.Errorf("%d submissions went through", n)
	}
}

func TestAGrantIsForOneAction(t *testing.T) {
	z := apitest.New(nil)
	d := newDoor(z)
	pool := z.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}})
	p := newCaller(z, d, resources.RoleOperator)
	g, err := p.grant(t.Context(), door.To("update", resources.KindPool), pool)
	if err != nil {
		t.Fatal(err)
	}
	s := resources.Submission{Action: "delete", Target: resources.Ref{Kind: resources.KindPool, ID: pool}}
	if _, err := d.Submit(t.Context(), g, s); resources.ClassOf(err) != resources.ClassInternal {
		t.Errorf("a grant to update deletes: %v", err)
	}
	more, err := d.Also(g, door.To("delete", resources.KindPool), pool)
	if err != nil {
		t.Fatal(err)
	}
	s.Origin.Principal = "somebody else"
	if _, err := d.Submit(t.Context(), more, s); err != nil {
		t.Fatal(err)
	}
	if got := z.Submissions()[0].Origin.Principal; got != g.Principal().String() {
		t.Errorf("written down is %q, want the holder of the grant", got)
	}
	if _, err := d.Also(g, door.To("create", resources.KindToken), ""); resources.ClassOf(err) != resources.ClassDenied {
		t.Errorf("an operator gets a grant for tokens: %v", err)
	}
}

func TestThePolicy(t *testing.T) {
	z := apitest.New(nil)
	d := newDoor(z)
	who := map[resources.Role]caller{}
	for _, r := range []resources.Role{resources.RoleReader, resources.RoleOperator, resources.RoleAdmin, "made-up", ""} {
		who[r] = newCaller(z, d, r)
	}
	for _, c := range []struct {
		permission door.Permission
		id         string
		role       resources.Role
		want       resources.Class
	}{
		{door.To("get", "machine"), "x", resources.RoleReader, ""},
		{door.To("start", "machine"), "x", resources.RoleReader, resources.ClassDenied},
		{door.To("start", "machine"), "x", resources.RoleOperator, ""},
		{door.To("console", "machine"), "x", resources.RoleReader, resources.ClassDenied},
		{door.To("delete", "volume"), "x", resources.RoleOperator, ""},
		{door.To("get", "driver"), "x", resources.RoleReader, ""},
		{door.To("log", "driver"), "x", resources.RoleReader, resources.ClassDenied},
		{door.To("log", "driver"), "x", resources.RoleOperator, ""},
		{door.To("forget", "volume"), "x", resources.RoleOperator, resources.ClassDenied},
		{door.To("forget", "volume"), "x", resources.RoleAdmin, ""},
		{door.To("get", "token"), "x", resources.RoleOperator, resources.ClassNotFound},
		{door.To("list", "token"), "", resources.RoleOperator, resources.ClassDenied},
		{door.To("delete", "token"), "x", resources.RoleReader, resources.ClassNotFound},
		{door.To("delete", "token"), "x", resources.RoleAdmin, ""},
		{door.To("update", "zone"), "x", resources.RoleOperator, resources.ClassDenied},
		{door.To("list", "audit"), "", resources.RoleOperator, resources.ClassDenied},
		{door.To("get", "metrics"), "", resources.RoleReader, ""},
		{door.To("get", "unheard-of"), "", resources.RoleAdmin, resources.ClassDenied},
		{door.To("list", door.KindNode), "", resources.RoleReader, ""},
		{door.To("drain", door.KindNode), "", resources.RoleReader, resources.ClassDenied},
		{door.To("drain", door.KindNode), "", resources.RoleOperator, ""},
		{door.To("remove", door.KindNode), "", resources.RoleOperator, resources.ClassDenied},
		{door.To("remove", door.KindNode), "", resources.RoleAdmin, ""},
		{door.To("create", door.KindJoinToken), "", resources.RoleOperator, resources.ClassDenied},
		{door.To("list", door.KindJoinToken), "", resources.RoleAdmin, ""},
		{door.To("get", "machine"), "x", "made-up", resources.ClassNotFound},
		{door.To("get", "machine"), "x", "", resources.ClassNotFound},
	} {
		_, err := who[c.role].grant(t.Context(), c.permission, c.id)
		if got := resources.ClassOf(err); got != c.want {
			t.Errorf("%s as %q: got %q, want %q", c.permission, c.role, got, c.want)
		}
	}
	nobody := caller{door: d}
	_, err := nobody.grant(t.Context(), door.To("get", resources.KindMachine), "")
	if resources.ClassOf(err) != resources.ClassUnauthenticated {
		t.Errorf("nobody gets a grant: %v", err)
	}
}

// Each role has all rights of the next: what the lower may, the higher may.
func TestRolesAreOrdered(t *testing.T) {
	z := apitest.New(nil)
	d := newDoor(z)
	roles := []resources.Role{resources.RoleReader, resources.RoleOperator, resources.RoleAdmin}
	for _, def := range resources.Definitions() {
		for _, verb := range []string{"get", "list", "create", "update", "delete", "suspend-work"} {
			before := false
			for _, r := range roles {
				_, err := newCaller(z, d, r).grant(t.Context(), door.To(verb, def.Kind), "")
				if before && err != nil {
					t.Errorf("%s may not %s a %s, but the role below may", r, verb, def.Kind)
				}
				before = err == nil
			}
			if !before {
				t.Errorf("not even an admin may %s a %s", verb, def.Kind)
			}
		}
	}
}

func TestRenewing(t *testing.T) {
	z := apitest.New(nil)
	now := time.Now()
	d := door.New(z, z, apitest.NewCluster(nil, "a"), func() time.Time { return now })
	p := caller{d, "Bearer " + token(z, resources.RoleOperator, now.Add(time.Hour))}
	g, err := p.grant(t.Context(), door.To("console", resources.KindMachine), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Renew(t.Context(), g); err != nil {
		t.Errorf("while it holds: %v", err)
	}
	r, _, err := z.Get(t.Context(), resources.Ref{Kind: resources.KindToken, ID: g.Principal().ID()})
	if err != nil {
		t.Fatal(err)
	}
	lower := *r.(*resources.Token)
	lower.Spec.Role = resources.RoleReader
	z.Add(&lower)
	if err := d.Renew(t.Context(), g); resources.ClassOf(err) != resources.ClassDenied {
		t.Errorf("with a lower role: %v", err)
	}
	now = now.Add(2 * time.Hour)
	if err := d.Renew(t.Context(), g); resources.ClassOf(err) != resources.ClassUnauthenticated {
		t.Errorf("expired: %v", err)
	}
}

// away is a zone that can't be read now.
type away struct{ *apitest.Zone }

func (away) Get(context.Context, resources.Ref) (resources.Resource, uint64, error) {
	return nil, 0, &resources.Error{Class: resources.ClassUnavailable, Code: "no-leader", Message: "no leader"}
}

func TestAZoneThatIsAwayIsNotAWrongToken(t *testing.T) {
	z := apitest.New(nil)
	d := door.New(away{z}, z, apitest.NewCluster(nil, "a"), time.Now)
	_, err := d.Authenticate(t.Context(), "Bearer "+token(z, resources.RoleReader, time.Time{}))
	if resources.ClassOf(err) != resources.ClassUnavailable {
		t.Errorf("got %v, want that the zone can't tell now", err)
	}
}

func TestSecretsDiffer(t *testing.T) {
	a, b := door.NewSecret(), door.NewSecret()
	if a.Bearer("tok-1") == b.Bearer("tok-1") || string(a.Digest()) == string(b.Digest()) {
		t.Error("two secrets are the same")
	}
	id, s, ok := door.ParseBearer(a.Bearer("tok-1"))
	if !ok || id != "tok-1" || string(s.Digest()) != string(a.Digest()) {
		t.Errorf("taken apart: %q %v", id, ok)
	}
}

func FuzzParseBearer(f *testing.F) {
	f.Add(door.NewSecret().Bearer("tok-1"))
	f.Add("bh__")
	f.Add("bh_a_b_c")
	f.Fuzz(func(t *testing.T, text string) {
		id, s, ok := door.ParseBearer(text)
		if ok && s.Bearer(id) != text {
			t.Errorf("%q is read as the token %q", text, s.Bearer(id))
		}
	})
}
