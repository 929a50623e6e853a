package persistence

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// entries are the index keys that a state of a resource calls for.
type entries struct {
	keys       []entry
	references []resources.Ref
}

// entry is a key and what stands behind it; neither is changed any more.
type entry struct{ key, value []byte }

func (e *entries) find(key []byte) (value []byte, ok bool) {
	for _, one := range e.keys {
		if bytes.Equal(one.key, key) {
			return one.value, true
		}
	}
	return nil, false
}

func (e *entries) add(key, value []byte) { e.keys = append(e.keys, entry{key, value}) }

func entriesOf(r resources.Resource) entries {
	if r == nil {
		return entries{}
	}
	m := r.Metadata()
	facets := facetsOf(r)
	e := entries{references: r.References()}
	e.keys = make([]entry, 0, len(facets)+len(e.references)+2)
	if m.Name != "" && m.Kind != resources.KindOperation {
		e.add(nameKey(m.Kind, m.Name), []byte(m.ID))
	}
	e.add(facetKey(m.Kind, facetPhase, string(m.Phase), m.ID), nil)
	digest := digestOf(facets)
	for _, one := range facets {
		e.add(facetKey(m.Kind, one.facet, one.value, m.ID), digest)
	}
	for _, ref := range e.references {
		e.add(dependentKey(ref, m.Ref()), nil)
	}
	return e
}

// facetsOf lists what a resource can be found by, labels included, in order; not
// its phase.
func facetsOf(r resources.Resource) []test {
	m, own := r.Metadata(), r.Facets()
	list := make([]test, 0, len(own)+len(m.Labels))
	for facet, value := range own {
		if facet != facetPhase {
			list = append(list, test{facet, value})
		}
	}
	for label, value := range m.Labels {
		list = append(list, test{facetLabel + label, value})
	}
	slices.SortFunc(list, func(a, b test) int { return strings.Compare(a.facet, b.facet) })
	return list
}

// markBytes is the length of a facet in a digest.
const markBytes = 4

// digestOf is what stands behind each index key of a resource: a mark of each of
// its facets, so that a query for several scans one index and asks no other. The
// phase is not in it: it changes often, and all keys would with it.
func digestOf(facets []test) []byte {
	digest := make([]byte, 0, len(facets)*markBytes)
	for _, one := range facets {
		digest = append(digest, one.mark()...)
	}
	return digest
}

// test is one facet and the value it must have.
type test struct{ facet, value string }

func (t test) mark() []byte {
	h := fnv.New32a()
	h.Write([]byte(t.facet))
	h.Write([]byte{0})
	h.Write([]byte(t.value))
	return binary.BigEndian.AppendUint32(make([]byte, 0, markBytes), h.Sum32())
}

// marked reports whether a resource with a digest may have facets with these marks:
// others may have the same.
func marked(digest []byte, marks [][]byte) bool {
	for _, mark := range marks {
		found := false
		for rest := digest; len(rest) >= markBytes && !found; rest = rest[markBytes:] {
			found = bytes.Equal(rest[:markBytes], mark)
		}
		if !found {
			return false
		}
	}
	return true
}
