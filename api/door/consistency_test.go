package door_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// A grant tells the revision of what its holder is answered with: what is read to
// tell what of it may be shown is of no account, what is changed is.
func TestAGrantTellsWhatWasRead(t *testing.T) {
	z := apitest.New(nil)
	d := newDoor(z)
	pool := z.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}})
	later := func() { z.Add(&resources.Cluster{Meta: resources.Meta{Kind: resources.KindCluster}}) }
	g, err := newCaller(z, d, resources.RoleAdmin).grant(t.Context(), door.To("get", resources.KindPool), pool)
	if err != nil {
		t.Fatal(err)
	}
	entered := g.Revision()
	later()
	if _, err := d.Get(t.Context(), g, pool); err != nil || g.Revision() != entered+1 {
		t.Errorf("got revision %d (%v), want that of the read, %d", g.Revision(), err, entered+1)
	}
	later()
	also, err := d.Also(g, door.To("list", resources.KindDriver), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.List(t.Context(), also, resources.Query{Kind: resources.KindDriver}); err != nil {
		t.Fatal(err)
	}
	if g.Revision() != entered+1 || also.Revision() != entered+1 {
		t.Errorf("got revision %d and %d, want that of the first read, %d", g.Revision(), also.Revision(), entered+1)
	}
	change, err := d.Also(g, door.To("delete", resources.KindPool), pool)
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.Submit(t.Context(), change, resources.Submission{
		Action: "delete", Target: resources.Ref{Kind: resources.KindPool, ID: pool},
	})
	if err != nil || g.Revision() != o.Revision {
		t.Errorf("got revision %d (%v), want that of the change", g.Revision(), err)
	}
	if (door.Grant{}).Revision() != 0 {
		t.Error("a forged grant tells a revision")
	}
}

// undecided is a zone that answers Consistent with something else.
type undecided struct {
	*apitest.Zone
	revision uint64
	err      error
	slow     bool
}

func (u undecided) Consistent(ctx context.Context, _ door.Consistency) (uint64, error) {
	if u.slow {
		<-ctx.Done()
		return u.revision, ctx.Err()
	}
	return u.revision, u.err
}

func TestAStateThatIsNotFreshOpensNothing(t *testing.T) {
	away := &resources.Error{Class: resources.ClassUnavailable, Code: "not-ready", Message: "stopped"}
	for name, c := range map[string]struct {
		reader undecided
		least  uint64
		code   string
		after  time.Duration
	}{
		"no majority":        {undecided{slow: true}, 0, "no-majority", 5 * time.Second},
		"not that far":       {undecided{slow: true, revision: 7}, 8, "revision-not-reached", 5 * time.Second},
		"far, and no answer": {undecided{slow: true, revision: 8}, 8, "no-majority", 5 * time.Second},
		"away":               {undecided{err: away}, 0, "no-majority", 0},
		"broken":             {undecided{err: errors.New("disk")}, 9, "internal", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				c.reader.Zone = apitest.New(nil)
				d := door.New(c.reader, c.reader, apitest.NewCluster(nil, "a"), time.Now)
				g, err := d.Enter(t.Context(), door.Entry{
					Authorization: newCaller(c.reader.Zone, d, resources.RoleAdmin).bearer,
					Consistency:   door.Consistency{AtLeast: c.least}, Permission: door.To("get", resources.KindZone),
				})
				if got := resources.AsError(err); got == nil || got.Code != c.code || g.Principal().ID() != "" {
					t.Errorf("got %v, want %s and no grant", err, c.code)
				}
				if took := time.Since(began); took != c.after {
					t.Errorf("took %s, want %s", took, c.after)
				}
			})
		})
	}
}

// Somebody who was recognised stays so only while nothing changed.
func TestARecognisedCallerIsRecognisedAgain(t *testing.T) {
	z := apitest.New(nil)
	d := newDoor(z)
	e := door.Entry{
		Authorization: newCaller(z, d, resources.RoleReader).bearer, Permission: door.To("get", resources.KindZone),
	}
	var err error
	if e.Principal, err = d.Authenticate(t.Context(), e.Authorization); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Enter(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r, _, err := z.Get(t.Context(), resources.Ref{Kind: resources.KindToken, ID: e.Principal.ID()})
	if err != nil {
		t.Fatal(err)
	}
	taken := *r.(*resources.Token)
	taken.Suspended = true
	z.Add(&taken)
	if _, err := d.Enter(t.Context(), e); resources.ClassOf(err) != resources.ClassUnauthenticated {
		t.Errorf("got %v for a token that was suspended meanwhile", err)
	}
}
