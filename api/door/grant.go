package door

import (
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Principal is somebody who was recognised.
type Principal struct {
	id   string
	name string
	role resources.Role
}

// ID of the token that proved who it is; "" for nobody.
func (p Principal) ID() string { return p.id }

// Role is what the principal may do.
func (p Principal) Role() resources.Role { return p.role }

// String returns "name/id", the form written into operations and the audit log:
// the name is for people, the id is never used again.
func (p Principal) String() string {
	if p.id == "" {
		return ""
	}
	return p.name + "/" + p.id
}

// Grant is proof that a principal may do one sort of thing to one kind. Only a
// Door makes one that is worth anything; the zero value is refused everywhere.
type Grant struct {
	principal  Principal
	permission Permission
}

// Principal returns who holds the grant.
func (g Grant) Principal() Principal { return g.principal }

// Permission returns what the grant is for.
func (g Grant) Permission() Permission { return g.permission }

// covers reports whether the grant is for a kind and, if any are given, for one
// of the verbs.
func (g Grant) covers(kind resources.Kind, verbs ...string) bool {
	if g.principal.id == "" || g.permission.Kind != kind {
		return false
	}
	return len(verbs) == 0 || slices.Contains(verbs, g.permission.Verb)
}
