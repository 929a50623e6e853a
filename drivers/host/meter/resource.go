package meter

import (
	"container/list"
	"time"
)

// Resource is what was counted of one resource since it is remembered.
type Resource struct {
	Kind, ID string
	// Calls, and how many of them failed.
	Calls, Failed uint64
	// Took is the time of all of them, Longest of the one that took longest.
	Took, Longest time.Duration
	// At is when the last one ended, Method what it was, and Outcome what became of it.
	At      time.Time
	Method  string
	Outcome Outcome
	// Failure is the last that failed; zero = none did.
	Failure Failure
}

type resourceKey struct{ kind, id string }

// shelf remembers the resources that were called last. Not safe for concurrent use.
type shelf struct {
	by    map[resourceKey]*list.Element // of *Resource
	order *list.List                    // the one called last first
}

func newShelf() shelf { return shelf{by: map[resourceKey]*list.Element{}, order: list.New()} }

func (s *shelf) note(f Failure, took time.Duration) {
	r := s.entry(resourceKey{f.Kind, f.ID})
	r.Calls++
	r.Took += took
	r.Longest = max(r.Longest, took)
	r.At, r.Method, r.Outcome = f.At, f.Method, f.Outcome
	if f.Outcome != OK && f.Outcome != Canceled {
		r.Failed++
		r.Failure = f
	}
}

// entry finds or makes that of a resource, in the place of the one that was called the longest time ago if there is no
// other.
func (s *shelf) entry(key resourceKey) *Resource {
	at := s.by[key]
	if at == nil && len(s.by) < Resources {
		at = s.order.PushFront(&Resource{Kind: key.kind, ID: key.id})
		s.by[key] = at
	}
	if at == nil {
		at = s.order.Back()
		old := resourceOf(at)
		delete(s.by, resourceKey{old.Kind, old.ID})
		*old = Resource{Kind: key.kind, ID: key.id}
		s.by[key] = at
	}
	s.order.MoveToFront(at)
	return resourceOf(at)
}

func resourceOf(e *list.Element) *Resource {
	r, _ := e.Value.(*Resource) // nothing else is put there
	return r
}

// Resource returns what was counted of one resource, if it is remembered.
func (m *Meter) Resource(kind, id string) (Resource, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	at := m.resources.by[resourceKey{kind, id}]
	if at == nil {
		return Resource{}, false
	}
	return *resourceOf(at), true
}

// Latest returns at most limit of the resources that were called last, the last one first; of a kind if it is not "".
func (m *Meter) Latest(kind string, limit int) (found []Resource) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for at := m.resources.order.Front(); at != nil && len(found) < limit; at = at.Next() {
		if r := resourceOf(at); kind == "" || r.Kind == kind {
			found = append(found, *r)
		}
	}
	return found
}
