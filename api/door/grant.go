package door

import (
	"slices"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Principal is somebody who was recognised.
type Principal struct {
	id   string
	name string
	role resources.Role
	at   uint64 // revision of the state that recognised it
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
	seen       *seen
}

// Principal returns who holds the grant.
func (g Grant) Principal() Principal { return g.principal }

// Permission returns what the grant is for.
func (g Grant) Permission() Permission { return g.permission }

// Revision returns that of the state which the holder was answered from: of the
// first thing that was read or, if something was changed or waited for since, of
// that. Before anything was read, it is the revision at the entry.
func (g Grant) Revision() uint64 {
	if g.seen == nil {
		return 0
	}
	return g.seen.revision.Load()
}

// seen is what all grants of one entry share.
type seen struct {
	revision atomic.Uint64
	read     atomic.Bool
}

func newSeen(revision uint64) *seen {
	s := &seen{}
	s.revision.Store(revision)
	return s
}

// first notes the revision of the first thing that is read; 0 = could not be read.
// What is read later, to tell what of it may be shown, does not count.
func (g Grant) first(revision uint64) {
	if g.seen != nil && revision > 0 && g.seen.read.CompareAndSwap(false, true) {
		g.seen.revision.Store(revision)
	}
}

// later notes the revision of something that was changed or waited for.
func (g Grant) later(r resources.Resource, err error) {
	if err != nil || g.seen == nil {
		return
	}
	g.seen.read.Store(true)
	if at := r.Metadata().Revision; at > g.seen.revision.Load() {
		g.seen.revision.Store(at)
	}
}

// covers reports whether the grant is for a kind and, if any are given, for one
// of the verbs.
func (g Grant) covers(kind resources.Kind, verbs ...string) bool {
	if g.principal.id == "" || g.permission.Kind != kind {
		return false
	}
	return len(verbs) == 0 || slices.Contains(verbs, g.permission.Verb)
}
