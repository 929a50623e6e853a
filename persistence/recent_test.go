package persistence_test

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestRecentEventsAreThoseOfTheState: whoever follows them hears the same.
func TestRecentEventsAreThoseOfTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		history(t, z)
		var all []resources.Event
		z.view(func(v *persistence.View) error {
			return v.Events(resources.Position{}, func(e resources.Event) bool {
				all = append(all, e)
				return true
			})
		})
		from := rapid.IntRange(0, len(all)).Draw(t, "from")
		after, limit := resources.Position{Index: ^uint32(0)}, rapid.IntRange(1, 100).Draw(t, "limit")
		if from > 0 {
			after = all[from-1].Position
		}
		got, known := z.machine.Recent(after, make([]resources.Event, 0, limit))
		want := all[from:min(from+limit, len(all))]
		if !known || len(got) != len(want) {
			t.Fatalf("after %s: %d events, %t; want %d", after, len(got), known, len(want))
		}
		for i, e := range got {
			w := want[i]
			same := bytes.Equal(z.seal(e.Resource).Data, z.seal(w.Resource).Data)
			if e.Resource, w.Resource = nil, nil; e != w || !same {
				t.Errorf("event %d is %+v, the state says %+v; the same resource: %t", i, e, w, same)
			}
		}
	})
}

// TestOldEventsAreNotRecent: they are in the state, and what is known is bounded.
func TestOldEventsAreNotRecent(t *testing.T) {
	z := newZone(t)
	for round := range 20 {
		var cmds []persistence.Command
		for i := range 100 {
			cmds = append(cmds, z.create(pool(fmt.Sprintf("pool-%d-%d", round, i), 1), true))
		}
		z.apply(cmds...)
	}
	if got, known := z.machine.Recent(resources.Position{}, make([]resources.Event, 0, 10)); known {
		t.Errorf("%d events from the beginning are known", len(got))
	}
	lately := resources.Position{Revision: z.index - 1, Index: ^uint32(0)}
	if got, known := z.machine.Recent(lately, make([]resources.Event, 0, 1000)); !known || len(got) != 200 {
		t.Errorf("%d events of the last entry, %t; want 200", len(got), known)
	}
	again, err := persistence.Open(z.store, z.machine.Codec())
	if err != nil {
		t.Fatal(err)
	}
	if _, known := again.Recent(lately, make([]resources.Event, 0, 1)); known {
		t.Error("a machine knows events of before it was opened")
	}
	now := resources.Position{Revision: z.index, Index: ^uint32(0)}
	if got, known := again.Recent(now, make([]resources.Event, 0, 1)); !known || len(got) > 0 {
		t.Errorf("%d events since it was opened, %t", len(got), known)
	}
}
