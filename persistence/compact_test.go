package persistence_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestChildrenOfWhatHasNotEndedAreKept, however old they are: their parent asks what became of them when it goes on.
func TestChildrenOfWhatHasNotEndedAreKept(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("pool-1", 1), true))
	under := resources.Ref{Kind: resources.KindPool, ID: "pool-1"}
	parent := z.must(z.submit("delete", under, nil)).Operation
	child := func(of resources.OperationID, id string) resources.Ref {
		s := z.create(pool(id, 1), true)
		op, err := z.machine.Codec().Open(s.Operation)
		if err != nil {
			t.Fatal(err)
		}
		op.(*resources.Operation).ParentID = of
		s.Operation = z.seal(op)
		return z.must(s).Operation.Ref()
	}
	kept, gone := child(resources.OperationID(parent.ID), "pool-2"), child("op-long-gone", "pool-3")
	compact := &persistence.Compact{OperationsBefore: z.now.Add(1), Limit: 5000}
	z.must(compact)
	if !z.known(kept) {
		t.Error("a child of an operation that has not ended was forgotten")
	}
	if z.known(gone) {
		t.Error("a child of an operation that is gone was kept")
	}
	if n := z.must(compact).Removed; n != 0 {
		t.Errorf("%d operations went the second time", n)
	}
	z.check()
}

// Lines of the audit log go when they are old, the oldest first and so many at a time.
func TestOldLinesOfTheAuditLogGo(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("pool-1", 1), true))
	z.now = z.now.Add(time.Hour)
	middle := z.now
	z.must(z.create(pool("pool-2", 1), true))
	z.must(z.create(pool("pool-3", 1), true))
	lines := func() (of []string) {
		z.view(func(v *persistence.View) error {
			all, err := v.AuditLog(resources.Position{}, resources.OrderOldest, 10)
			for _, line := range all {
				of = append(of, line.Target.ID)
			}
			return err
		})
		return of
	}
	step := func(before time.Time, want ...string) {
		t.Helper()
		z.must(&persistence.Compact{AuditBefore: before, Limit: 1})
		if got := lines(); !slices.Equal(got, want) {
			t.Errorf("the audit log has lines of %v, want %v", got, want)
		}
	}
	step(time.Time{}, "pool-1", "pool-2", "pool-3")
	step(middle, "pool-2", "pool-3")
	step(middle, "pool-2", "pool-3")
	step(middle.Add(time.Hour), "pool-3")
	z.check()
}

// Events go in their order, so many at a time, also if that ends within those of one entry; who follows from where they
// are gone is told.
func TestOldEventsGo(t *testing.T) {
	z := newZone(t)
	for _, id := range []string{"pool-1", "pool-2", "pool-3"} {
		z.must(z.create(pool(id, 1), true))
	}
	events := func(after resources.Position) (of []resources.Position, err error) {
		z.view(func(v *persistence.View) error {
			err = v.Events(after, func(e resources.Event) bool {
				of = append(of, e.Position)
				return true
			})
			return nil
		})
		return of, err
	}
	all, err := events(resources.Position{})
	if err != nil || len(all) < 4 || all[1].Revision != all[2].Revision {
		t.Fatalf("events %v, %v: an entry with several is needed", all, err)
	}
	before := all[len(all)-1].Revision
	removed := 0
	for {
		n := z.must(&persistence.Compact{EventsBefore: before, Limit: 1}).Removed
		if n == 0 {
			break
		}
		removed += n
	}
	if want := slices.IndexFunc(all, func(p resources.Position) bool { return p.Revision == before }); removed != want {
		t.Errorf("%d events went, not %d", removed, want)
	}
	last := resources.Position{Revision: all[removed-1].Revision, Index: ^uint32(0)}
	if left, err := events(last); err != nil || !slices.Equal(left, all[removed:]) {
		t.Errorf("after %v there are %v, %v; not %v", last, left, err, all[removed:])
	}
	for _, missed := range []resources.Position{{}, {Revision: last.Revision, Index: 0}} {
		if _, err := events(missed); resources.ClassOf(err) != resources.ClassGone {
			t.Errorf("following from %v: %v", missed, err)
		}
	}
	z.check()
}
