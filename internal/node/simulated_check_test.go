package node_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// check compares what the clients were promised, what the nodes say, and what the hardware has.
func (s *simulation) check(accepted map[string]string) {
	s.t.Helper()
	s.equalStates()
	for _, finding := range s.watch.findings() {
		s.t.Error(finding)
	}
	first := s.nodes[simulatedNames[0]]
	actorstest.CheckTruth(s.t, first.machine, s.world)
	truth, err := s.world.Truth()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range truth.Refusals() {
		if strings.HasPrefix(e.Why, string(simworld.LawFence)) {
			s.t.Errorf("only the hardware refused %s", e)
		}
	}
	events := map[string][]string{}
	for _, name := range simulatedNames {
		events[name] = s.events(s.nodes[name], accepted)
		if !slices.Equal(events[name], events[simulatedNames[0]]) {
			s.t.Errorf("%s tells other events than %s", name, simulatedNames[0])
		}
	}
}

// equalStates waits until all nodes have applied the same, and compares all of it.
func (s *simulation) equalStates() {
	s.t.Helper()
	var states [][]byte
	s.await("all nodes are equally far", func() bool {
		index := s.nodes["n1"].machine.AppliedIndex()
		equal := func() bool {
			return !slices.ContainsFunc(simulatedNames, func(name string) bool {
				return s.nodes[name].machine.AppliedIndex() != index
			})
		}
		if !equal() {
			return false
		}
		states = nil
		for _, name := range simulatedNames {
			states = append(states, s.state(s.nodes[name]))
		}
		return equal()
	})
	for i, state := range states {
		if !bytes.Equal(state, states[0]) {
			s.t.Errorf("the state of %s is not that of %s", simulatedNames[i], simulatedNames[0])
		}
	}
}

// state is all that a node has applied.
func (s *simulation) state(n *simulatedNode) []byte {
	s.t.Helper()
	frozen, err := n.machine.Freeze()
	if err != nil {
		s.t.Fatal(err)
	}
	defer frozen.Release()
	var state bytes.Buffer
	if _, err := frozen.WriteTo(&state); err != nil {
		s.t.Fatal(err)
	}
	return state.Bytes()
}

// events reads all events of a node: replayed they are the state, each accepted operation ends once, and no other was
// asked for by the clients.
func (s *simulation) events(n *simulatedNode, accepted map[string]string) (told []string) {
	s.t.Helper()
	revisions, ends, asked := map[resources.Ref]uint64{}, map[string]int{}, map[string]bool{}
	err := n.machine.View(func(v *persistence.View) error {
		err := v.Events(resources.Position{}, func(e resources.Event) bool {
			told = append(told, fmt.Sprintf("%v %s %s %s", e.Position, e.Type, e.Ref, e.Phase))
			if op, ok := e.Resource.(*resources.Operation); ok {
				if op.Ended() && e.Type != resources.EventDeleted {
					ends[op.ID]++
				}
				if op.Principal == simulatedClient && op.ParentID == "" {
					asked[op.ID] = true
				}
				return true
			}
			revisions[e.Ref] = e.Resource.Metadata().Revision
			if e.Type == resources.EventDeleted {
				delete(revisions, e.Ref)
			}
			return true
		})
		if err != nil {
			return err
		}
		return s.replays(v, n.name, revisions)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for key, id := range accepted {
		if ends[id] != 1 {
			s.t.Errorf("%s: operation %s of %s ended %d times", n.name, id, key, ends[id])
		}
		delete(asked, id)
	}
	if len(asked) > 0 {
		s.t.Errorf("%s: operations that nobody was told of: %v", n.name, slices.Collect(maps.Keys(asked)))
	}
	return told
}

// replays compares what events said with what is there.
func (s *simulation) replays(v *persistence.View, name string, revisions map[resources.Ref]uint64) error {
	left := maps.Clone(revisions)
	for _, kind := range []resources.Kind{
		resources.KindPool, resources.KindHost, resources.KindVolume, resources.KindSnapshot, resources.KindMachine,
		resources.KindZone,
	} {
		err := v.Each(kind, nil, func(r resources.Resource) bool {
			m := r.Metadata()
			if revisions[m.Ref()] != m.Revision {
				s.t.Errorf("%s: %s has revision %d, the events say %d", name, m.Ref(), m.Revision, revisions[m.Ref()])
			}
			delete(left, m.Ref())
			return true
		})
		if err != nil {
			return err
		}
	}
	for ref := range left {
		s.t.Errorf("%s: %s is not there, the events say that it is (%s)", name, ref, time.Now())
	}
	return nil
}
