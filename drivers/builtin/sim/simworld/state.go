package simworld

import (
	"fmt"
	"slices"
)

// shelf names a set of things of one kind in one scope.
type shelf struct{ kind, scope string }

// state is the world as the effects so far have made it, with what the laws look up.
type state struct {
	seq     uint64
	shelves map[shelf]map[string]*Object
	// load is what a pool, store or host holds, in bytes.
	load map[shelf]uint64
	// writers lists the live machines that may write to a disk, by the disk's protocol and path.
	writers map[string][]Key
	// snapshots counts those of each volume.
	snapshots map[Key]int
	// addresses lists who has an address or a MAC in a network.
	addresses map[shelf]string
	// fired counts firings per fault rule.
	fired map[string]uint64
}

func newState() *state {
	return &state{
		shelves: map[shelf]map[string]*Object{}, load: map[shelf]uint64{}, writers: map[string][]Key{},
		snapshots: map[Key]int{}, addresses: map[shelf]string{}, fired: map[string]uint64{},
	}
}

// parentKind is the kind of the scope things of a kind are in; empty for those that are in none.
func parentKind(kind string) string {
	switch kind {
	case KindVolume, KindSnapshot:
		return KindPool
	case KindTemplate:
		return KindStore
	case KindMachine:
		return KindHost
	case KindNic:
		return KindNetwork
	}
	return ""
}

// childKinds are the kinds of things in a scope of a kind.
func childKinds(kind string) []string {
	switch kind {
	case KindPool:
		return []string{KindVolume, KindSnapshot}
	case KindStore:
		return []string{KindTemplate}
	case KindHost:
		return []string{KindMachine}
	case KindNetwork:
		return []string{KindNic}
	}
	return nil
}

func (s *state) get(key Key) *Object {
	return s.shelves[shelf{key.Kind, key.Scope}][key.ID]
}

// parent is the scope a thing is in; nil when it needs none or is in none.
func (s *state) parent(key Key) *Object {
	return s.get(Key{Kind: parentKind(key.Kind), ID: key.Scope})
}

// ids lists what is on a shelf, sorted.
func (s *state) ids(on shelf) []string {
	ids := make([]string, 0, len(s.shelves[on]))
	for id := range s.shelves[on] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// apply makes the effect part of the state.
func (s *state) apply(e *Effect) error {
	if e.Seq != s.seq+1 {
		return fmt.Errorf("effect %d follows effect %d", e.Seq, s.seq)
	}
	s.seq = e.Seq
	if e.What == EffectFault {
		s.fired[e.Why]++
	}
	if !e.changes() {
		return nil
	}
	on := shelf{e.Object.Kind, e.Object.Scope}
	if old := s.shelves[on][e.Object.ID]; old != nil {
		s.unindex(old)
		delete(s.shelves[on], e.Object.ID)
	}
	if e.Gone {
		if len(s.shelves[on]) == 0 {
			delete(s.shelves, on)
		}
		return nil
	}
	if s.shelves[on] == nil {
		s.shelves[on] = map[string]*Object{}
	}
	now := e.Object
	s.shelves[on][now.ID] = &now
	s.index(&now)
	if e.cuts() {
		s.darken(e)
	}
	return nil
}

// weight is what a thing takes of its scope's capacity.
func weight(o *Object) uint64 {
	switch {
	case o.Kind == KindVolume || o.Kind == KindSnapshot:
		return o.Allocated
	case o.Kind == KindTemplate || o.live() || o.Kind == KindMachine && o.State == Waiting:
		return o.Bytes
	}
	return 0
}

func (s *state) index(o *Object) {
	s.load[shelf{parentKind(o.Kind), o.Scope}] += weight(o)
	for _, disk := range s.written(o) {
		s.writers[disk] = append(s.writers[disk], o.Key)
	}
	if o.Kind == KindSnapshot && o.Detail != nil {
		s.snapshots[Key{Kind: KindVolume, Scope: o.Scope, ID: o.Detail.Of}]++
	}
	for _, address := range addressesOf(o) {
		s.addresses[address] = o.ID
	}
}

func (s *state) unindex(o *Object) {
	in := shelf{parentKind(o.Kind), o.Scope}
	if s.load[in] -= weight(o); s.load[in] == 0 {
		delete(s.load, in)
	}
	for _, disk := range s.written(o) {
		s.writers[disk] = slices.DeleteFunc(s.writers[disk], func(k Key) bool { return k == o.Key })
		if len(s.writers[disk]) == 0 {
			delete(s.writers, disk)
		}
	}
	if o.Kind == KindSnapshot && o.Detail != nil {
		of := Key{Kind: KindVolume, Scope: o.Scope, ID: o.Detail.Of}
		if s.snapshots[of]--; s.snapshots[of] == 0 {
			delete(s.snapshots, of)
		}
	}
	for _, address := range addressesOf(o) {
		delete(s.addresses, address)
	}
}

// written lists the disks a live machine may write to.
func (s *state) written(o *Object) []string {
	if !o.live() {
		return nil
	}
	var disks []string
	for _, d := range o.machine().Disks {
		if !d.ReadOnly && d.Path != "" {
			disks = append(disks, d.name())
		}
	}
	return disks
}

// name identifies the disk behind a plugged-in one.
func (d Disk) name() string { return d.Protocol + " " + d.Path }

func addressesOf(o *Object) []shelf {
	if o.Kind != KindNic || o.Detail == nil {
		return nil
	}
	var taken []shelf
	for _, address := range []string{o.Detail.Mac, o.Detail.Address} {
		if address != "" {
			taken = append(taken, shelf{kind: o.Scope, scope: address})
		}
	}
	return taken
}
