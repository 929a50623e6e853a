package persistence_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func token(id string, role resources.Role, expires time.Time) *resources.Token {
	return &resources.Token{
		Meta: resources.Meta{Kind: resources.KindToken, ID: id, Name: id},
		Spec: resources.TokenSpec{Role: role, ExpiresAt: expires}, Status: resources.TokenStatus{Digest: []byte("x")},
	}
}

// withTokens makes a zone with tokens.
func withTokens(t *testing.T, tokens ...*resources.Token) *zone {
	z := newZone(t)
	for _, one := range tokens {
		z.must(z.create(one, true))
	}
	return z
}

func (z *zone) drop(id string) *persistence.Submit {
	s := z.submit("delete", resources.Ref{Kind: resources.KindToken, ID: id}, nil)
	s.Instant = true
	return s
}

func (z *zone) known(ref resources.Ref) bool {
	known := false
	z.view(func(v *persistence.View) error {
		_, err := v.Get(ref)
		known = err == nil
		return nil
	})
	return known
}

// wantLast fails unless err refuses to lock everybody out and says what to do.
func wantLast(t *testing.T, err error) {
	t.Helper()
	e := resources.AsError(err)
	if err == nil || e.Class != resources.ClassConflict || e.Code != "last-admin-token" ||
		!strings.Contains(e.Remedy, "create another") {
		t.Errorf("got %+v, want it refused as the last token of an administrator", e)
	}
}

func TestTheLastAdminTokenStays(t *testing.T) {
	long, never := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}
	over := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	for name, c := range map[string]struct {
		others  []*resources.Token
		refused bool
	}{
		"alone":                {nil, true},
		"with an operator":     {[]*resources.Token{token("b", resources.RoleOperator, never)}, true},
		"with an expired one":  {[]*resources.Token{token("b", resources.RoleAdmin, over)}, true},
		"with one that lasts":  {[]*resources.Token{token("b", resources.RoleAdmin, long)}, false},
		"with one like itself": {[]*resources.Token{token("b", resources.RoleAdmin, never)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			z := withTokens(t, append(c.others, token("a", resources.RoleAdmin, never))...)
			err := z.apply(z.drop("a"))[0].Err
			if c.refused {
				wantLast(t, err)
			}
			if gone := !z.known(resources.Ref{Kind: resources.KindToken, ID: "a"}); gone == c.refused || gone != (err == nil) {
				t.Errorf("gone: %t (%v)", gone, err)
			}
		})
	}
}

func TestOthersAndExpiredTokensCanGo(t *testing.T) {
	over := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	z := withTokens(t, token("a", resources.RoleAdmin, time.Time{}), token("old", resources.RoleAdmin, over),
		token("r", resources.RoleReader, time.Time{}))
	z.must(z.drop("old"))
	z.must(z.drop("r"))
}

// Two that delete each other's token: in one entry of the log, and in two.
func TestTwoDeletesCantTakeBothAdminTokens(t *testing.T) {
	for name, apply := range map[string]func(z *zone) [2]error{
		"in one entry": func(z *zone) [2]error {
			r := z.apply(z.drop("a"), z.drop("b"))
			return [2]error{r[0].Err, r[1].Err}
		},
		"in two entries": func(z *zone) [2]error {
			return [2]error{z.apply(z.drop("a"))[0].Err, z.apply(z.drop("b"))[0].Err}
		},
	} {
		t.Run(name, func(t *testing.T) {
			z := withTokens(t, token("a", resources.RoleAdmin, time.Time{}), token("b", resources.RoleAdmin, time.Time{}))
			errs := apply(z)
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
			wantLast(t, errs[1])
		})
	}
}

func TestTheLastAdminTokenIsNotChangedAway(t *testing.T) {
	never := time.Time{}
	for name, next := range map[string]*resources.Token{
		"demoted": token("a", resources.RoleReader, never),
		"expired": token("a", resources.RoleAdmin, time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)),
	} {
		t.Run(name, func(t *testing.T) {
			z := withTokens(t, token("a", resources.RoleAdmin, never))
			change := z.submit("update", next.Ref(), next)
			change.Instant = true
			wantLast(t, z.apply(change)[0].Err)
		})
	}
	t.Run("suspended", func(t *testing.T) {
		z := withTokens(t, token("a", resources.RoleAdmin, never))
		ref := resources.Ref{Kind: resources.KindToken, ID: "a"}
		wantLast(t, z.apply(&persistence.Suspend{Ref: ref, Suspended: true})[0].Err)
	})
	t.Run("renamed", func(t *testing.T) {
		z := withTokens(t, token("a", resources.RoleAdmin, never))
		next := token("a", resources.RoleAdmin, never)
		next.Name = "boss"
		change := z.submit("update", next.Ref(), next)
		change.Instant = true
		z.must(change)
	})
}
