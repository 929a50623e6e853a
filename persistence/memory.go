package persistence

import (
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// memory is what the last commands wrote and read, decoded, so that the next ones
// need not read and decode it again: an operation is written several times within
// moments, and all of them look at the same zone, pools and shard table. Only
// Machine writes to the store, so what is here is what is there; the state never
// depends on what is remembered. What it holds is not changed any more.
type memory struct {
	// Two generations, so that what is in use stays when it gets too much.
	young, old map[string]resources.Resource
	zone       *resources.Zone
	owners     []Owner
	// placed says that the Apply that runs changed the shard table.
	placed bool
	// raised says that the Apply that runs changed the zone's level.
	raised bool
	// changed are the kinds of resources written by the Apply that runs.
	changed map[resources.Kind]bool
}

// memoryGeneration bounds how many resources a generation holds.
const memoryGeneration = 1024

func newMemory() *memory {
	return &memory{
		young: map[string]resources.Resource{}, old: map[string]resources.Resource{}, changed: map[resources.Kind]bool{},
	}
}

// find returns the resource under a key, nil if it is not remembered.
func (m *memory) find(k string) resources.Resource {
	if r, ok := m.young[k]; ok {
		return r
	}
	r, ok := m.old[k]
	if ok {
		m.put(k, r)
	}
	return r
}

func (m *memory) put(k string, r resources.Resource) {
	if len(m.young) >= memoryGeneration {
		m.young, m.old = make(map[string]resources.Resource, memoryGeneration), m.young
	}
	m.young[k] = r
}

// wrote takes note of what a command wrote. Made are the resources as it wrote
// them, by key; other keys are forgotten.
func (m *memory) wrote(writes map[string][]byte, made map[string]resources.Resource) {
	for k := range writes {
		switch {
		case strings.HasPrefix(k, familyResource):
			m.replace(k, made[k])
		case k == familyPlacement:
			m.owners, m.placed = nil, true
		}
	}
}

func (m *memory) replace(k string, r resources.Resource) {
	kind, _, _ := strings.Cut(k[len(familyResource):], zeroByte)
	m.changed[resources.Kind(kind)] = true
	delete(m.young, k)
	delete(m.old, k)
	if resources.Kind(kind) == resources.KindZone {
		m.zone = nil
	}
	if op, ok := r.(*resources.Operation); ok {
		own := *op // the proposer goes on to write into the one it is answered with
		own.Steps = slices.Clone(op.Steps)
		r = &own
	}
	if r != nil {
		m.put(k, r)
	}
}

// current is the resource as it is, for looking at it only.
func (t *tx) current(ref resources.Ref) (resources.Resource, error) {
	if t.wrote(ref) {
		return t.stored(ref)
	}
	k := string(resourceKey(ref))
	if r := t.memory.find(k); r != nil {
		return r, nil
	}
	r, err := t.stored(ref)
	if err == nil {
		t.memory.put(k, r)
	}
	return r, err
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

// wrote reports whether the command that is applied wrote a resource.
func (t *tx) wrote(ref resources.Ref) bool {
	_, written := t.pending.writes[string(resourceKey(ref))]
	return written
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
