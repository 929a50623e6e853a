package apitest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Follower reads a zone as a node that is behind: it has what there was when it was
// made or caught up last, and catches up only when it must. It implements
// door.Reader. It is safe for concurrent use.
type Follower struct {
	of *Zone

	mu     sync.Mutex
	has    *Zone
	cutOff bool
	asked  []door.Consistency
}

// Follow makes a node that has what there is now.
func (z *Zone) Follow() *Follower {
	return &Follower{of: z, has: z.copy()}
}

// copy is the zone as it is now, for ever.
func (z *Zone) copy() *Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	return &Zone{
		now: z.now, vocabulary: z.vocabulary, changed: make(chan struct{}), state: maps.Clone(z.state),
		log: slices.Clone(z.log), compacted: z.compacted, revision: z.revision, audit: slices.Clone(z.audit),
		keys: maps.Clone(z.keys),
	}
}

// CutOff says whether no other node answers.
func (f *Follower) CutOff(cutOff bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutOff = cutOff
}

// Asked returns what was asked of Consistent, and forgets it.
func (f *Follower) Asked() []door.Consistency {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// Consistent implements door.Reader.
func (f *Follower) Consistent(ctx context.Context, c door.Consistency) (uint64, error) {
	f.mu.Lock()
	f.asked = append(f.asked, c)
	has, cutOff := f.has, f.cutOff
	f.mu.Unlock()
	switch {
	case c.Stale && c.AtLeast <= has.revision:
		return has.revision, nil
	case cutOff:
		<-ctx.Done()
		return has.revision, ctx.Err()
	}
	if revision, err := f.of.Consistent(ctx, c); err != nil {
		return revision, err
	}
	has = f.of.copy()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has = has
	return has.revision, nil
}

func (f *Follower) now() *Zone {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.has
}

// Get implements door.Reader.
func (f *Follower) Get(ctx context.Context, ref resources.Ref) (resources.Resource, uint64, error) {
	return f.now().Get(ctx, ref)
}

// Changes implements door.Reader.
func (f *Follower) Changes(kind resources.Kind) uint64 { return f.now().Changes(kind) }

// List implements door.Reader.
func (f *Follower) List(ctx context.Context, q resources.Query) (resources.Page, error) {
	return f.now().List(ctx, q)
}

// Events implements door.Reader: it ends with what there is.
func (f *Follower) Events(ctx context.Context, from resources.Position, yield func(resources.Event) bool) error {
	return f.now().Events(ctx, from, yield)
}

// AuditLog implements door.Reader.
func (f *Follower) AuditLog(
	ctx context.Context, after resources.Position, order resources.Order, limit int,
) ([]resources.Audit, uint64, error) {
	return f.now().AuditLog(ctx, after, order, limit)
}

// Repeated implements door.Reader.
func (f *Follower) Repeated(
	ctx context.Context, principal, key string, fingerprint []byte,
) (*resources.Operation, error) {
	return f.now().Repeated(ctx, principal, key, fingerprint)
}
