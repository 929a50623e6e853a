package persistence

import (
	"sort"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// recent are the last events, so that those who follow them on this node need not read back what was just applied.
type recent struct {
	mu     sync.Mutex
	ring   []resources.Event  // the n-th event since the machine was opened is at n modulo its length
	count  int                // of events since the machine was opened
	before resources.Position // of the first event
}

// recentEvents is how many are known.
const recentEvents = 2048

// begin forgets all events. What comes next comes after an entry.
func (r *recent) begin(applied uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring, r.count = make([]resources.Event, recentEvents), 0
	r.before = resources.Position{Revision: applied, Index: ^uint32(0)}
}

func (r *recent) add(events []resources.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		r.ring[r.count%recentEvents] = e
		r.count++
	}
}

// after appends the events after a position to into, as many as there is room for.
func (r *recent) after(p resources.Position, into []resources.Event) (events []resources.Event, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := max(0, r.count-recentEvents)
	first := oldest + sort.Search(r.count-oldest, func(i int) bool {
		return r.ring[(oldest+i)%recentEvents].Position.After(p)
	})
	if first == oldest && (oldest > 0 || r.before.After(p)) {
		return into, false
	}
	for n := first; n < r.count && len(into) < cap(into); n++ {
		into = append(into, r.ring[n%recentEvents])
	}
	return into, true
}

// Recent appends the events after a position to into, as many as there is room for, if this node applied them lately;
// false if there may be others in between, which View.Events knows. Their resources are for looking at only.
func (m *Machine) Recent(after resources.Position, into []resources.Event) (events []resources.Event, known bool) {
	return m.recent.after(after, into)
}
