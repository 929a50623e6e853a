package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// notePlace notes what a resource is in or on.
func (c *checker) notePlace(r map[string]any) {
	spec, _ := r["spec"].(map[string]any)
	status, _ := r["status"].(map[string]any)
	for _, part := range []struct {
		of  map[string]any
		key string
	}{
		{status, "poolId"}, {spec, "poolId"}, {spec, "imageStoreId"}, {status, "hostId"}, {spec, "networkId"}, {spec, "node"},
	} {
		if in, ok := part.of[part.key].(string); ok && in != "" {
			c.places[fmt.Sprint(r["id"])] = in
			return
		}
	}
}

// nodeOf tells the node that a resource is on; "" if that can't be told.
func (c *checker) nodeOf(id string) string {
	for range 4 { // a nic is in a network, which is on a node
		in, known := c.places[id]
		if !known {
			return ""
		}
		if slices.ContainsFunc(c.homes, func(h home) bool { return h.name == in }) {
			return in
		}
		id = in
	}
	return ""
}

// isAt reports whether the hardware of a node must have a resource.
func (c *checker) isAt(h home, kind, id string) bool {
	on := c.nodeOf(id)
	return c.isReal(kind, id) && (h.name == "" || on == "" || on == h.name)
}

// truth compares the simulated hardware of all nodes with the state.
func (c *checker) truth(operations map[string]map[string]any) error {
	worlds := make([]*simworld.Truth, len(c.homes))
	for i, h := range c.homes {
		var err error
		if worlds[i], err = worldOf(h); err != nil {
			return err
		}
		for _, d := range worlds[i].Duplicates() {
			c.find(&c.report.Duplicated, "duplicate: %+v", d)
		}
		for _, o := range worlds[i].Orphans(func(ref simworld.Ref) bool { return c.isAt(h, ref.Kind, ref.ID) }) {
			c.find(&c.report.Orphans, "orphan: %s (%s) %s", o.Key, c.phases[o.Kind][o.ID], h.name)
		}
		c.compareRules(worlds[i])
		c.compareFacts(worlds[i])
	}
	for kind, byID := range c.phases {
		for id := range byID {
			if physical(kind) && c.isReal(kind, id) {
				c.once(worlds, kind, id)
			}
		}
	}
	if c.report.zoneReport == nil {
		return nil
	}
	c.doubleRuns(worlds, operations)
	c.doublePlaces(worlds)
	c.strangers(worlds, operations)
	for _, h := range c.homes {
		if err := c.doubleCalls(h); err != nil {
			return err
		}
	}
	return nil
}

// worldIn finds the directory of a node's simulated world.
func worldIn(h home) (string, error) {
	worlds, err := filepath.Glob(filepath.Join(h.dir, "host", "drivers", "*sim*", "work", "world"))
	if err != nil || len(worlds) != 1 {
		return "", fmt.Errorf("looking for the simulated world: found %v (%w)", worlds, err)
	}
	return worlds[0], nil
}

func worldOf(h home) (*simworld.Truth, error) {
	world, err := worldIn(h)
	if err != nil {
		return nil, err
	}
	truth, err := simworld.LoadTruth(world)
	if err != nil {
		return nil, fmt.Errorf("reading the simulated world: %w", err)
	}
	return truth, nil
}

// once looks that a resource is in one world, that of its node.
func (c *checker) once(worlds []*simworld.Truth, kind, id string) {
	count, where := 0, []string{}
	for i, w := range worlds {
		n := w.Count(kind, id)
		count += n
		if n > 0 {
			where = append(where, c.homes[i].name)
		}
	}
	if count != 1 {
		c.find(&c.report.Lost, "%s %s is %s and %d times in the world", kind, id, c.phases[kind][id], count)
		return
	}
	if on := c.nodeOf(id); on != "" && on != where[0] {
		c.find(&c.report.Lost, "%s %s is of node %s and in the world of %s", kind, id, on, where[0])
	}
}

// doubleRuns looks for the marks that two actors leave which act for one resource.
func (c *checker) doubleRuns(worlds []*simworld.Truth, operations map[string]map[string]any) {
	count := &c.report.DoubleRun
	urgent := func(op string) bool { return operations[op]["urgent"] == true }
	for _, w := range worlds {
		for _, e := range w.Stale() {
			c.find(count, "after a newer owner: %s", e)
		}
		for _, e := range interleaved(w.Effects(), urgent) {
			c.find(count, "two operations at once: %s, then %s", e.of, e.then)
		}
	}
}

// pair is an effect of an operation that had been followed by another one.
type pair struct{ of, then simworld.Effect }

// interleaved finds effects of operations on a resource that took turns: one acts for a resource at a time, and ends an
// operation before it begins the next. An urgent one may come between two steps of another one, which goes on after it;
// nothing may come between its own.
func interleaved(effects []simworld.Effect, urgent func(op string) bool) []pair {
	var found []pair
	turns := map[simworld.Ref]*turn{}
	for _, e := range effects {
		op, _, isStep := strings.Cut(e.Token, "/")
		if e.Call == "" || !isStep {
			continue
		}
		t := turns[e.Resource]
		if t == nil {
			t = &turn{ended: map[string]bool{}}
			turns[e.Resource] = t
		}
		t.take(op, urgent(op))
		if t.ended[op] {
			found = append(found, pair{of: t.last, then: e})
		}
		t.last = e
	}
	return found
}

// turn is whose turn it is on a resource: that of an operation, and of an urgent one that came between its steps.
type turn struct {
	now, between string
	ended        map[string]bool
	last         simworld.Effect
}

func (t *turn) take(op string, urgent bool) {
	if t.between != "" && t.between != op {
		t.ended[t.between], t.between = true, ""
	}
	switch {
	case urgent:
		t.between = op
	case t.now != op:
		t.ended[t.now], t.now = true, op
	}
}

func (c *checker) compareRules(truth *simworld.Truth) {
	for _, o := range truth.Objects(simworld.KindNetwork) {
		if has := rulesIn(o); !sameSet(has, c.rules[o.ID]) {
			c.find(&c.report.Lost, "network %s has the rules %v, the state says %v", o.ID, has, c.rules[o.ID])
		}
	}
}

// rulesIn lists rule and ports of what the hardware of a network has.
func rulesIn(o simworld.Object) []string {
	var has []string
	if o.Detail == nil {
		return nil
	}
	for _, text := range o.Detail.Rules {
		var r struct {
			Resource struct{ ID string }
			PortFrom int
		}
		if json.Unmarshal([]byte(text), &r) == nil {
			has = append(has, fmt.Sprint(r.Resource.ID, " ", r.PortFrom))
		}
	}
	return has
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
