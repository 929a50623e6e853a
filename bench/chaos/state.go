package main

import (
	"crypto/sha256"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// state is what a node that does not run has of the zone's state.
type state struct {
	node    string
	applied uint64
	// digests of the values, by key.
	digests map[string][sha256.Size]byte
	events  []event
	phases  map[resources.Ref]resources.Phase
}

// state opens the data directory, now that no server does, and recomputes it.
func (c *checker) state(h home) (*state, error) {
	left, err := server.ReadState(h.dir)
	if err != nil {
		return nil, err
	}
	defer left.Close() //nolint:errcheck // only read
	machine := left.Machine
	s := &state{node: h.name, applied: machine.AppliedIndex()}
	err = machine.View(func(v *persistence.View) error {
		found, err := v.Check()
		for _, f := range found {
			c.find(&c.report.Broken, "%s %s", h.name, f)
		}
		return err
	})
	if err != nil || c.report.zoneReport == nil {
		return s, err
	}
	if err := s.digest(left.Store); err != nil {
		return nil, err
	}
	return s, machine.View(s.read)
}

// digest reads all that is in a store, and remembers what there is under which key.
func (s *state) digest(store persistence.Store) error {
	s.digests = map[string][sha256.Size]byte{}
	return store.View(func(r persistence.Reader) error {
		return r.Scan(nil, nil, func(key, value []byte) (bool, error) {
			s.digests[string(key)] = sha256.Sum256(value)
			return true, nil
		})
	})
}

// read lists the events that are kept, and the resources there are.
func (s *state) read(v *persistence.View) error {
	err := v.Events(resources.Position{}, func(e resources.Event) bool {
		s.events = append(s.events, event{at: e.Position, what: string(e.Type), ref: e.Ref, phase: e.Phase})
		return true
	})
	s.phases = map[resources.Ref]resources.Phase{}
	for _, d := range resources.Definitions() {
		if err != nil {
			break
		}
		err = v.Each(d.Kind, nil, func(r resources.Resource) bool {
			s.phases[r.Metadata().Ref()] = r.Metadata().Phase
			return true
		})
	}
	return err
}

// compareStates looks that all nodes have the same: there is nothing in the state that
// is a node's own.
func (c *checker) compareStates(states []*state) {
	first := states[0]
	for _, other := range states[1:] {
		var differ []string
		for key, digest := range first.digests {
			if has, there := other.digests[key]; !there || has != digest {
				differ = append(differ, key)
			}
		}
		for key := range other.digests {
			if _, there := first.digests[key]; !there {
				differ = append(differ, key)
			}
		}
		if len(differ) > 0 {
			slices.Sort(differ)
			c.find(&c.report.Diverged, "%s and %s differ at index %d in %d keys, such as %q", first.node, other.node,
				first.applied, len(differ), differ[:min(3, len(differ))])
		}
	}
}
