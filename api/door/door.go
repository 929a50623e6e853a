package door

import (
	"context"
	"crypto/subtle"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Door lets callers in. It is safe for concurrent use.
type Door struct {
	reader Reader
	engine Engine
	policy map[resources.Kind]needed
	now    func() time.Time
}

// New makes a door to a zone. Now is the clock that expiry is judged by.
func New(reader Reader, engine Engine, now func() time.Time) *Door {
	return &Door{reader: reader, engine: engine, policy: policy(), now: now}
}

// Authenticate recognises the caller by the value of an Authorization header.
// Absent, malformed, unknown, wrong, suspended, deleted and expired tokens are
// answered identically, with class unauthenticated.
func (d *Door) Authenticate(ctx context.Context, authorization string) (Principal, error) {
	scheme, bearer, _ := strings.Cut(authorization, " ")
	id, secret, ok := ParseBearer(strings.TrimSpace(bearer))
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return Principal{}, unauthenticated()
	}
	token, err := d.token(ctx, id)
	if err != nil {
		return Principal{}, err
	}
	// Compare also when there is no such token, so that both take as long.
	var kept []byte
	if token != nil {
		kept = token.Status.Digest
	}
	if len(kept) == 0 {
		kept = make([]byte, len(secret.Digest()))
	}
	same := subtle.ConstantTimeCompare(kept, secret.Digest()) == 1
	if !same || token == nil || !d.valid(token) {
		return Principal{}, unauthenticated()
	}
	return Principal{id: token.ID, name: token.Name, role: token.Spec.Role}, nil
}

// Renew reports whether what a grant rests on still holds: long streams ask now
// and then. It fails as Authenticate and Grant do.
func (d *Door) Renew(ctx context.Context, g Grant) error {
	token, err := d.token(ctx, g.principal.id)
	if err != nil {
		return err
	}
	if token == nil || !d.valid(token) {
		return unauthenticated()
	}
	if !d.allows(token.Spec.Role, g.permission) {
		return denied(g.permission)
	}
	return nil
}

// token loads a token; nil if there is none.
func (d *Door) token(ctx context.Context, id string) (*resources.Token, error) {
	r, err := d.reader.Get(ctx, resources.Ref{Kind: resources.KindToken, ID: id})
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	token, _ := r.(*resources.Token)
	return token, nil
}

func (d *Door) valid(t *resources.Token) bool {
	if t.Phase != resources.PhaseReady || t.Suspended {
		return false
	}
	return t.Spec.ExpiresAt.IsZero() || d.now().Before(t.Spec.ExpiresAt)
}

// Grant allows a principal one sort of thing. The id is that of the resource it
// is asked for, "" for a collection: where a principal may not even read the
// kind, a resource is answered as if it was not there.
func (d *Door) Grant(p Principal, permission Permission, id string) (Grant, error) {
	if p.id == "" {
		return Grant{}, unauthenticated()
	}
	if d.allows(p.role, permission) {
		return Grant{principal: p, permission: permission}, nil
	}
	if id != "" && !d.allows(p.role, To(VerbGet, permission.Kind)) {
		return Grant{}, resources.NotFound(resources.Ref{Kind: permission.Kind, ID: id})
	}
	return Grant{}, denied(permission)
}

// Also allows the holder of a grant a further thing, by the same policy.
func (d *Door) Also(g Grant, permission Permission, id string) (Grant, error) {
	return d.Grant(g.principal, permission, id)
}

func unauthenticated() error {
	return &resources.Error{
		Class: resources.ClassUnauthenticated, Code: "unauthenticated",
		Message: "the request carries no valid token",
		Remedy:  "send 'Authorization: Bearer <token>' with a token that is known and has not expired",
	}
}

func denied(p Permission) error {
	return &resources.Error{
		Class: resources.ClassDenied, Code: "denied",
		Message: "your role does not allow " + p.String(),
		Remedy:  "ask an admin for a token with a higher role",
	}
}

// ungranted is a mistake in the API, not of its caller.
func ungranted(g Grant) error {
	return &resources.Error{
		Class: resources.ClassInternal, Code: "internal",
		Message: "no grant for this: have " + g.permission.String(),
	}
}
