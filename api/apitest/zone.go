package apitest

import (
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Zone is the state of a zone. It is safe for concurrent use.
type Zone struct {
	// Hold, if set before the zone is used, keeps operations queued until Finish
	// or Fail.
	Hold bool
	// ReadyError is what Ready answers.
	ReadyError error
	// InTheWay, if set before the zone is used, is what is in the way of all that is asked of versions of drivers.
	InTheWay resources.DriverFacts
	// SwapPlan, if set before the zone is used, is what each swap comes to.
	SwapPlan resources.SwapPlan

	now        func() time.Time
	vocabulary resources.Vocabulary

	mu          sync.Mutex
	changed     chan struct{} // closed and replaced with each change
	state       map[resources.Ref]resources.Resource
	log         []resources.Event
	compacted   resources.Position
	revision    uint64
	made        uint64
	audit       []resources.Audit
	keys        map[string]remembered
	submissions []resources.Submission
	spooled     map[string][]byte
	uploads     int
	consoles    int
}

type remembered struct {
	fingerprint string
	operation   string
}

// New makes a zone that knows the time from a clock; nil = time.Now. It holds a
// zone resource and nothing else.
func New(now func() time.Time) *Zone {
	if now == nil {
		now = time.Now
	}
	z := &Zone{
		now: now, vocabulary: resources.NewVocabulary(), changed: make(chan struct{}),
		state: map[resources.Ref]resources.Resource{}, keys: map[string]remembered{}, spooled: map[string][]byte{},
	}
	z.Add(&resources.Zone{
		Meta: resources.Meta{
			Kind: resources.KindZone,
			Name: "test",
		},
		Status: resources.ZoneStatus{ClusterID: "test", Shards: 1},
	})
	return z
}

// Add puts a resource into the state as it is, with an id if it has none and the
// phase ready if it has none, and returns its id.
func (z *Zone) Add(r resources.Resource) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := r.Metadata()
	if m.ID == "" {
		m.ID = z.newID(m.Kind)
	}
	if m.Phase == "" {
		m.Phase = resources.PhaseReady
	}
	z.revision++
	m.CreatedAt = z.now()
	z.put(r, "", resources.EventCreated)
	return m.ID
}

// Submissions returns what was submitted, in order.
func (z *Zone) Submissions() []resources.Submission {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.submissions)
}

// Compact forgets the events up to now.
func (z *Zone) Compact() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.compacted = resources.Position{Revision: z.revision, Index: ^uint32(0)}
	z.log = nil
}

// Ready implements api.Health.
func (z *Zone) Ready(context.Context) error { return z.ReadyError }

// newID makes ids that are the same in every run with the same clock.
func (z *Zone) newID(kind resources.Kind) string {
	z.made++
	var entropy [10]byte
	binary.BigEndian.PutUint64(entropy[2:], z.made)
	return z.vocabulary.NewID(kind, z.now(), entropy)
}

// put stores a copy and tells everybody. The caller holds the lock and has
// chosen the revision.
func (z *Zone) put(r resources.Resource, operation string, what resources.EventType) {
	stored := clone(r)
	m := stored.Metadata()
	m.Revision, m.UpdatedAt = z.revision, z.now()
	r.Metadata().Revision, r.Metadata().UpdatedAt = m.Revision, m.UpdatedAt
	ref := resources.Ref{Kind: m.Kind, ID: m.ID}
	z.state[ref] = stored
	if what == resources.EventDeleted {
		delete(z.state, ref)
	}
	index := uint32(0)
	if n := len(z.log); n > 0 && z.log[n-1].Position.Revision == z.revision {
		index = z.log[n-1].Position.Index + 1
	}
	z.log = append(z.log, resources.Event{
		Position: resources.Position{Revision: z.revision, Index: index}, Type: what, At: z.now(), Ref: ref, Name: m.Name,
		Phase: m.Phase, OperationID: resources.OperationID(operation), Resource: stored,
	})
	close(z.changed)
	z.changed = make(chan struct{})
}

// clone copies the top of a resource; what is below is never changed in place.
func clone(r resources.Resource) resources.Resource {
	v := reflect.New(reflect.TypeOf(r).Elem())
	v.Elem().Set(reflect.ValueOf(r).Elem())
	return v.Interface().(resources.Resource)
}

// inOrder is what there is, always in the same order. The caller holds the lock.
func (z *Zone) inOrder() []resources.Ref {
	return slices.SortedFunc(
		maps.Keys(z.state),
		func(a, b resources.Ref) int { return cmp.Compare(a.String(), b.String()) },
	)
}

// Consistent implements door.Reader: this node has all there is.
func (z *Zone) Consistent(ctx context.Context, c door.Consistency) (uint64, error) {
	for {
		z.mu.Lock()
		revision, changed := z.revision, z.changed
		z.mu.Unlock()
		if revision >= c.AtLeast {
			return revision, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return revision, ctx.Err()
		}
	}
}

// Get implements door.Reader.
func (z *Zone) Get(_ context.Context, ref resources.Ref) (resources.Resource, uint64, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if r, ok := z.state[ref]; ok {
		return r, z.revision, nil
	}
	return nil, z.revision, resources.NotFound(ref)
}

// List implements door.Reader.
func (z *Zone) List(_ context.Context, q resources.Query) (resources.Page, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var all []resources.Resource
	for ref, r := range z.state {
		if ref.Kind == q.Kind && (q.After == "" || inOrder(q.Order, q.After, ref.ID) < 0) && selects(q, r) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b resources.Resource) int {
		return inOrder(q.Order, a.Metadata().ID, b.Metadata().ID)
	})
	page := resources.Page{Items: all, Revision: z.revision}
	limit := cmp.Or(q.Limit, 100)
	if len(all) > limit {
		page.Items = all[:limit]
		page.Next = all[limit-1].Metadata().ID
	}
	return page, nil
}

// inOrder compares two ids as they stand in a list of an order.
func inOrder(o resources.Order, a, b string) int {
	if o == resources.OrderNewest {
		return cmp.Compare(b, a)
	}
	return cmp.Compare(a, b)
}

func selects(q resources.Query, r resources.Resource) bool {
	m := r.Metadata()
	if q.Name != "" && m.Name != q.Name {
		return false
	}
	if len(q.Phases) > 0 && !slices.Contains(q.Phases, m.Phase) {
		return false
	}
	return contains(r.Facets(), q.Facets) && contains(m.Labels, q.Labels)
}

func contains(have, want map[string]string) bool {
	for _, k := range slices.Collect(maps.Keys(want)) {
		if have[k] != want[k] {
			return false
		}
	}
	return true
}

// AuditLog implements door.Reader.
func (z *Zone) AuditLog(
	_ context.Context, after resources.Position, order resources.Order, limit int,
) ([]resources.Audit, uint64, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	all, first := slices.Clone(z.audit), after == resources.Position{}
	if order == resources.OrderNewest {
		slices.Reverse(all)
	}
	var lines []resources.Audit
	for _, l := range all {
		comes := l.Position.After(after)
		if order == resources.OrderNewest {
			comes = after.After(l.Position)
		}
		if (first || comes) && len(lines) < limit {
			lines = append(lines, l)
		}
	}
	return lines, z.revision, nil
}

// Events implements door.Reader.
func (z *Zone) Events(ctx context.Context, from resources.Position, yield func(resources.Event) bool) error {
	for {
		batch, more, err := z.after(from)
		if err != nil {
			return err
		}
		for _, e := range batch {
			if !yield(e) {
				return nil
			}
			from = e.Position
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

func (z *Zone) after(from resources.Position) ([]resources.Event, <-chan struct{}, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.compacted.After(from) {
		return nil, nil, &resources.Error{Class: resources.ClassGone, Code: "compacted", Message: "compacted"}
	}
	var batch []resources.Event
	for _, e := range z.log {
		if e.Position.After(from) {
			batch = append(batch, e)
		}
	}
	return batch, z.changed, nil
}
