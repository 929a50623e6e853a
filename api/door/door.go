package door

import (
	"context"
	"crypto/subtle"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Door lets callers in. It is safe for concurrent use.
type Door struct {
	reader  Reader
	engine  Engine
	cluster Cluster
	rights  map[resources.Kind]needed
	now     func() time.Time
	book    atomic.Pointer[book]
}

// New makes a door to a zone. Now is the clock that expiry is judged by.
func New(reader Reader, engine Engine, cluster Cluster, now func() time.Time) *Door {
	return &Door{reader: reader, engine: engine, cluster: cluster, rights: rights(), now: now}
}

// Entry is what a caller comes with.
type Entry struct {
	// Authorization is the value of the header that says who the caller is.
	Authorization string
	// Principal is the caller as Authenticate recognised it a moment ago, which need
	// not be done again if nothing changed since; the zero value if it did not.
	Principal Principal
	// Consistency is how fresh the state must be.
	Consistency Consistency
	// Permission is what the caller wants to do.
	Permission Permission
	// ID of the resource it is asked for, "" for a collection: where a principal may
	// not even read the kind, a resource is answered as if it was not there.
	ID string
}

// Enter lets a caller in: it waits until the state of this node is as fresh as asked
// for, recognises the caller by that state, and makes a grant. Since nothing can be
// read without a grant, nothing is read from a state that is older. Beside the
// failures of Authenticate and class denied, it fails with class unavailable if the
// state is not that fresh in time.
func (d *Door) Enter(ctx context.Context, e Entry) (Grant, error) {
	if _, _, ok := credentials(e.Authorization); !ok {
		return Grant{}, unauthenticated() // no state would recognise it
	}
	revision, err := d.consistent(ctx, e)
	if err != nil {
		return Grant{}, err
	}
	p := e.Principal
	if p.id == "" || p.at != revision {
		if p, err = d.Authenticate(ctx, e.Authorization); err != nil {
			return Grant{}, err
		}
	}
	g, err := d.grant(p, e.Permission, e.ID)
	if err != nil {
		return Grant{}, err
	}
	g.seen = newSeen(revision)
	return g, nil
}

// credentials takes the value of an Authorization header apart.
func credentials(authorization string) (id string, s Secret, ok bool) {
	scheme, bearer, _ := strings.Cut(authorization, " ")
	id, s, ok = ParseBearer(strings.TrimSpace(bearer))
	return id, s, ok && strings.EqualFold(scheme, "bearer")
}

// Authenticate recognises the caller by the value of an Authorization header, by the
// state as this node has it. Absent, malformed, unknown, wrong, suspended, deleted
// and expired tokens are answered identically, with class unauthenticated.
func (d *Door) Authenticate(ctx context.Context, authorization string) (Principal, error) {
	id, secret, ok := credentials(authorization)
	if !ok {
		return Principal{}, unauthenticated()
	}
	token, revision, err := d.token(ctx, id)
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
	return Principal{id: token.ID, name: token.Name, role: token.Spec.Role, at: revision}, nil
}

// Renew reports whether what a grant rests on still holds: long streams ask now
// and then. It fails as Authenticate and Enter do.
func (d *Door) Renew(ctx context.Context, g Grant) error {
	token, _, err := d.token(ctx, g.principal.id)
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

// token loads a token, nil if there is none, with the revision of the state.
func (d *Door) token(ctx context.Context, id string) (*resources.Token, uint64, error) {
	r, revision, err := d.reader.Get(ctx, resources.Ref{Kind: resources.KindToken, ID: id})
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil, revision, nil
	}
	if err != nil {
		return nil, 0, err
	}
	token, _ := r.(*resources.Token)
	return token, revision, nil
}

func (d *Door) valid(t *resources.Token) bool {
	if t.Phase != resources.PhaseReady || t.Suspended {
		return false
	}
	return t.Spec.ExpiresAt.IsZero() || d.now().Before(t.Spec.ExpiresAt)
}

// grant allows a principal one sort of thing: see Entry.
func (d *Door) grant(p Principal, permission Permission, id string) (Grant, error) {
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

// Also allows the holder of a grant a further thing, by the same rights and from the
// same state.
func (d *Door) Also(g Grant, permission Permission, id string) (Grant, error) {
	more, err := d.grant(g.principal, permission, id)
	more.seen = g.seen
	return more, err
}

func unauthenticated() error {
	return &resources.Error{
		Class: resources.ClassUnauthenticated, Code: "unauthenticated",
		Message: "the request carries no valid token",
		Remedy:  "send 'Authorization: Bearer <token>' with a token that is known and has not expired",
	}
}

func denied(p Permission) *resources.Error {
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
