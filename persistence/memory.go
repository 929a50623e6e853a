package persistence

import (
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// memory is what the last commands wrote and read, decoded, so that the next ones
// need not read and decode it again: an operation is written several times within
// moments, and all of them look at the same zone, pools and shard table. Only
// Machine writes to the store, so what is here is what is there; the state never
// depends on what is remembered. What it holds is not changed any more.
type memory struct {
	// Two generations, so that what is in use stays when it gets too much.
	young, old map[resources.Ref]*record
	zone       *resources.Zone
	owners     []Owner
	// placed says that the Apply that runs changed the shard table.
	placed bool
	// raised says that the Apply that runs changed the zone's level.
	raised bool
	// changed are the kinds of resources written by the Apply that runs.
	changed map[resources.Kind]bool
	// events are those of the Apply that runs.
	events []resources.Event
}

// memoryGeneration bounds how many resources a generation holds.
const memoryGeneration = 1024

func newMemory() *memory {
	return &memory{
		young: map[resources.Ref]*record{}, old: map[resources.Ref]*record{}, changed: map[resources.Kind]bool{},
	}
}

// find returns the record of a resource, nil if it is not remembered.
func (m *memory) find(ref resources.Ref) *record {
	if r, ok := m.young[ref]; ok {
		return r
	}
	r, ok := m.old[ref]
	if ok {
		m.put(r)
	}
	return r
}

func (m *memory) put(r *record) {
	if len(m.young) >= memoryGeneration {
		m.young, m.old = make(map[resources.Ref]*record, memoryGeneration), m.young
	}
	m.young[r.ref] = r
}

// wrote takes note of what a command wrote.
func (m *memory) wrote(w *write) {
	switch {
	case w.record != nil:
		m.replace(w.record)
	case string(w.key) == familyPlacement:
		m.owners, m.placed = nil, true
	}
}

func (m *memory) replace(r *record) {
	m.changed[r.ref.Kind] = true
	if r.ref.Kind == resources.KindZone {
		m.zone = nil
	}
	if r.resource == nil {
		delete(m.young, r.ref)
		delete(m.old, r.ref)
		return
	}
	m.put(r)
}

// kept is a resource to remember.
func kept(r resources.Resource) resources.Resource {
	op, ok := r.(*resources.Operation)
	if !ok {
		return r
	}
	own := *op // the proposer goes on to write into the one it is answered with
	own.Steps = slices.Clone(op.Steps)
	return &own
}

// current is the resource as it is, for looking at it only.
func (t *tx) current(ref resources.Ref) (resources.Resource, error) {
	if t.pending.find(resourceKey(ref)) != nil {
		return t.stored(ref)
	}
	if known := t.memory.find(ref); known != nil {
		return known.resource, nil
	}
	r, err := t.stored(ref)
	if err == nil {
		t.memory.put(&record{ref: ref, resource: r, entries: entriesOf(r)})
	}
	return r, err
}

// recorded is the record of a resource that the command wrote, nil if it did not.
func (t *tx) recorded(r resources.Resource) []byte {
	if w := t.pending.find(resourceKey(r.Metadata().Ref())); w != nil {
		return w.value
	}
	return nil
}

// Zone is View.Zone, for looking at it only, as it was before the command.
func (t *tx) Zone() (*resources.Zone, error) {
	if t.memory.zone != nil {
		return t.memory.zone, nil
	}
	zone, err := t.View.Zone()
	if err == nil {
		t.memory.zone = zone
	}
	return zone, err
}

// owners is the shard table, for looking at it only.
func (t *tx) owners() ([]Owner, error) {
	if t.memory.owners != nil {
		return t.memory.owners, nil
	}
	owners, err := t.Owners()
	if err == nil {
		t.memory.owners = owners
	}
	return owners, err
}
