package persistence

import (
	"bytes"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// pending is what a command has written so far, in the order in which it began to.
type pending struct {
	under  Reader
	writes []write
	// places of the keys in writes, once there are many: few are looked through.
	places map[string]int
	events []resources.Event
}

// write is what becomes of a key.
type write struct {
	key, value []byte
	removed    bool
	// record is set where the key is that of a resource.
	record *record
}

// record is a resource as the state has it, with the index keys it has there; nil if it was removed. It is for looking
// at only.
type record struct {
	ref      resources.Ref
	resource resources.Resource
	entries  entries
}

// fewWrites are looked through faster than a map is filled.
const fewWrites = 32

func (p *pending) Get(k []byte) ([]byte, bool, error) {
	if w := p.find(k); w != nil {
		return w.value, !w.removed, nil
	}
	return p.under.Get(k)
}

func (p *pending) Scan(prefix, from []byte, fn func(k, value []byte) (bool, error)) error {
	return p.under.Scan(prefix, from, fn)
}

func (p *pending) ScanReverse(prefix, from []byte, fn func(k, value []byte) (bool, error)) error {
	return p.under.ScanReverse(prefix, from, fn)
}

// put and remove keep key and value: they must not be changed any more.
func (p *pending) put(k, value []byte) {
	if value == nil {
		value = []byte{}
	}
	p.set(write{key: k, value: value})
}

func (p *pending) remove(k []byte) { p.set(write{key: k, removed: true}) }

// find returns what becomes of a key, nil if it was not written. It is valid until the next write.
func (p *pending) find(k []byte) *write {
	if p.places != nil {
		if i, ok := p.places[string(k)]; ok {
			return &p.writes[i]
		}
		return nil
	}
	for i := range p.writes {
		if bytes.Equal(p.writes[i].key, k) {
			return &p.writes[i]
		}
	}
	return nil
}

func (p *pending) set(w write) {
	if before := p.find(w.key); before != nil {
		*before = w
		return
	}
	p.writes = append(p.writes, w)
	switch {
	case p.places != nil:
		p.places[string(w.key)] = len(p.writes) - 1
	case len(p.writes) > fewWrites:
		p.places = make(map[string]int, 2*len(p.writes))
		for i, one := range p.writes {
			p.places[string(one.key)] = i
		}
	}
}

// reset forgets all, for the next command.
func (p *pending) reset() {
	clear(p.writes)
	clear(p.events)
	p.writes, p.places, p.events = p.writes[:0], nil, p.events[:0]
}
