package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// doubleCalls looks at what a node's simulator noted of its calls: calls that change a
// resource do not overlap, and none begins by an older epoch than one before it had.
func (c *checker) doubleCalls(h home) error {
	world, err := worldIn(h)
	if err != nil {
		return err
	}
	calls, err := simworld.LoadCalls(world)
	if err != nil {
		return err
	}
	if len(calls) == 0 {
		return fmt.Errorf("the simulator of %s noted no call: it can't be told who acted when", h.name)
	}
	c.report.Calls += len(calls)
	byResource := map[simworld.Ref][]simworld.Call{}
	for _, call := range calls {
		if call.Token != "" { // else nobody acts: somebody looks
			byResource[call.Resource] = append(byResource[call.Resource], call)
		}
	}
	for _, own := range byResource {
		slices.SortFunc(own, func(a, b simworld.Call) int { return a.Begin.Compare(b.Begin) })
		c.compareCalls(h, own)
	}
	return nil
}

// compareCalls compares each call of a resource with those that began before it. A call
// that only looks is let in before it waits for nobody, so what counts is whether a newer
// one had ended by then.
func (c *checker) compareCalls(h home, calls []simworld.Call) {
	count := &c.report.DoubleRun
	var changing simworld.Call // the one that changes the resource and ends last
	for i, call := range calls {
		if newer, found := newerBefore(calls[:i], call); found {
			c.find(count, "on %s %s of %s began by epoch %d at %s, after %s by epoch %d", h.name, call.Call, call.Resource,
				call.Epoch, call.Begin.Format(time.RFC3339Nano), newer.Call, newer.Epoch)
		}
		if call.Reads {
			continue
		}
		if changing.End.After(call.Begin) {
			c.find(count, "on %s %s of %s by epoch %d began at %s, and %s by epoch %d ended at %s only", h.name, call.Call,
				call.Resource, call.Epoch, call.Begin.Format(time.RFC3339Nano), changing.Call, changing.Epoch,
				changing.End.Format(time.RFC3339Nano))
		}
		if call.End.After(changing.End) {
			changing = call
		}
	}
}

// newerBefore finds a call by a newer epoch that should have kept one out. A driver
// remembers epochs as long as its process lives; what is changed remembers them itself.
func newerBefore(before []simworld.Call, call simworld.Call) (newer simworld.Call, found bool) {
	for _, b := range before {
		if b.Epoch <= call.Epoch || call.Reads && b.Process != call.Process {
			continue
		}
		looks := call.Reads || b.Reads
		if !looks || !b.End.IsZero() && b.End.Before(call.Begin) {
			return b, true
		}
	}
	return newer, false
}

// span is a time in which a thing was somewhere.
type span struct {
	from, until time.Time
	world       int
}

// doublePlaces looks for things that were on two nodes at one time: machines that ran,
// and volumes that were there.
func (c *checker) doublePlaces(worlds []*simworld.Truth) {
	spans := map[simworld.Ref][]span{}
	for i, w := range worlds {
		for ref, own := range spansOf(w.Effects()) {
			for _, s := range own {
				s.world = i
				spans[ref] = append(spans[ref], s)
			}
		}
	}
	for ref, all := range spans {
		slices.SortFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
		for i, s := range all[1:] {
			before := all[i]
			if s.world != before.world && s.from.Before(before.until) {
				c.find(&c.report.DoubleRun, "%s was on %s and on %s from %s", ref, c.homes[before.world].name,
					c.homes[s.world].name, s.from.Format(time.RFC3339Nano))
			}
		}
	}
}

// spansOf tells when machines ran and volumes were there, in one world.
func spansOf(effects []simworld.Effect) map[simworld.Ref][]span {
	spans, open := map[simworld.Ref][]span{}, map[simworld.Ref]bool{}
	for _, e := range effects {
		ref := e.Object.Ref()
		live := e.Object.State == simworld.Running || e.Object.State == simworld.Paused
		there := !e.Gone && (ref.Kind == simworld.KindVolume || ref.Kind == simworld.KindMachine && live)
		switch {
		case there && !open[ref]:
			spans[ref] = append(spans[ref], span{from: e.Time, until: e.Time.AddDate(1, 0, 0)})
		case !there && open[ref]:
			spans[ref][len(spans[ref])-1].until = e.Time
		}
		open[ref] = there
	}
	return spans
}

// strangers looks for effects that no operation asked for. Who looks after a resource
// between operations makes nothing and takes nothing away.
func (c *checker) strangers(worlds []*simworld.Truth, operations map[string]map[string]any) {
	for i, w := range worlds {
		for _, e := range w.Effects() {
			operation, step, _ := strings.Cut(e.Token, "/")
			cares := strings.HasPrefix(step, "care/") && !e.Gone && e.What != simworld.EffectCreate
			if e.Call != "" && !cares && operations[operation] == nil {
				c.find(&c.report.Unexplained, "on %s, no operation wanted: %s", c.homes[i].name, e)
			}
		}
	}
}
