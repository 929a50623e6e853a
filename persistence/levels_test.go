package persistence_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// program is what a node runs that knows levels up to one.
func program(node string, newest uint32) persistence.Program {
	return persistence.Program{Node: node, Version: "v", Levels: persistence.Levels{Oldest: 1, Newest: newest}}
}

func (z *zone) refuse(cmd persistence.Command, want string) {
	err := z.apply(cmd)[0].Err
	if code(err) != want || resources.AsError(err).Message == "" {
		z.t.Errorf("%T%+v: %v, want %s", cmd, cmd, err, want)
	}
}

func (z *zone) level() uint32 {
	var level uint32
	z.view(func(v *persistence.View) (err error) {
		level, err = v.Level()
		return err
	})
	if got := z.machine.Level(); got != level {
		z.t.Errorf("Machine.Level() = %d, the state says %d", got, level)
	}
	return level
}

// coming is a node that is let in.
func (z *zone) coming(name string, newest uint32) *persistence.Admit {
	z.must(&persistence.Invite{Invitation: persistence.Invitation{
		ID: "i-" + name, Role: "node", Digest: "d", ExpiresAt: z.now.Add(1e12),
	}})
	return &persistence.Admit{
		Invitation: "i-" + name, Digest: "d", Key: "k", Program: program(name, newest),
		Member: persistence.Member{Role: "node", Name: name, Address: "192.0.2.1:1"},
	}
}

func TestAZoneIsRaisedWhenAllNodesCanGoOn(t *testing.T) {
	z := newZone(t)
	if got := z.level(); got != 1 {
		t.Fatalf("a zone of which nothing is said has level %d", got)
	}
	z.must(z.coming("n2", 2))
	declare := &persistence.Declare{Program: program("n1", 2)}
	z.refuse(declare, "feature-waits")
	if err := z.machine.Allows(declare); code(err) != "feature-waits" {
		t.Errorf("proposing it: %v", err)
	}
	both := []persistence.Program{program("n1", 2), program("n2", 2)}
	z.refuse(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{both[0], program("n2", 1)}}, "nodes-behind")
	z.refuse(&persistence.Finalize{Level: 2, Nodes: both[:1]}, "nodes-behind") // n2 was not asked
	z.refuse(&persistence.Finalize{Level: 99, Nodes: both}, "nodes-behind")
	if got := z.level(); got != 1 {
		t.Fatalf("the level is %d after it was refused", got)
	}
	z.view(func(v *persistence.View) error {
		if list, err := v.Programs(); err != nil || len(list) > 0 {
			t.Errorf("before the zone is raised it knows %v, %v", list, err)
		}
		return nil
	})
	z.must(&persistence.Finalize{Level: 2, Nodes: both, Origin: resources.Origin{Principal: "admin"}})
	z.must(&persistence.Finalize{Level: 2, Nodes: both}) // again: nothing
	if got := z.level(); got != 2 {
		t.Fatalf("the level is %d after it was raised", got)
	}
	z.refuse(&persistence.Finalize{Level: 1, Nodes: both}, "level-lower")
	z.must(declare)
	z.check()
	finalized := 0
	z.view(func(v *persistence.View) error {
		lines, err := v.AuditLog(resources.Position{}, resources.OrderOldest, 100)
		for _, a := range lines {
			if a.Action == "finalize" && a.Principal == "admin" {
				finalized++
			}
		}
		return err
	})
	if finalized != 1 {
		t.Errorf("%d audit lines say that the zone was raised, want 1", finalized)
	}
}

func TestARaisedZoneKnowsWhatItsNodesRun(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	z.refuse(z.coming("n2", 1), "program-too-old")
	z.must(z.coming("n3", 2))
	z.refuse(&persistence.Declare{Program: program("n1", 1)}, "program-too-old")
	z.must(&persistence.Declare{Program: program("n1", 3)})
	z.must(&persistence.Expel{Role: "node", Name: "n3"})
	z.refuse(&persistence.Declare{Program: program("n3", 2)}, "node-removed")
	z.view(func(v *persistence.View) error {
		list, err := v.Programs()
		if err != nil || len(list) != 1 || list[0].Node != "n1" || list[0].Levels.Newest != 3 {
			t.Errorf("Programs() = %+v, %v, want that of n1 alone", list, err)
		}
		return err
	})
}

// TestWhatIsTooNewEndsTheNode: it must not go another way than the others.
func TestWhatIsTooNewEndsTheNode(t *testing.T) {
	z := newZone(t)
	older := func() error {
		old, err := persistence.Open(memstore.New(), z.machine.Codec().Knowing(persistence.Levels{Oldest: 1, Newest: 1}))
		if err == nil {
			_, err = old.Apply(z.entries)
		}
		return err
	}
	if err := older(); err != nil {
		t.Fatalf("before the zone is raised: %v", err)
	}
	before := z.index
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	if err := older(); !errors.Is(err, persistence.ErrNewer) || !strings.Contains(err.Error(), "install") {
		t.Errorf("an older program applies what raises the zone: %v", err)
	}
	for newest, want := range map[uint32]error{1: persistence.ErrNewer, 2: nil, 3: nil} {
		_, err := persistence.Open(z.store, z.machine.Codec().Knowing(persistence.Levels{Oldest: 1, Newest: newest}))
		if !errors.Is(err, want) {
			t.Errorf("a program that knows levels up to %d opens it: %v, want %v", newest, err, want)
		}
	}
	_, err := persistence.Open(z.store, z.machine.Codec().Knowing(persistence.Levels{Oldest: 3, Newest: 4}))
	if !errors.Is(err, persistence.ErrOlder) {
		t.Errorf("a program that knows no level below 3 opens it: %v", err)
	}
	// One that says of itself that it can go on, and can't: it ends, and has not applied it.
	old, err := persistence.Open(memstore.New(), z.machine.Codec())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Apply(z.entries[:before]); err != nil {
		t.Fatal(err)
	}
	liar := z.entry(&persistence.Finalize{Level: 9, Nodes: []persistence.Program{program("n1", 9)}})
	liar.Index = before + 1
	_, err = old.Apply([]persistence.Entry{liar})
	if !errors.Is(err, persistence.ErrNewer) || old.AppliedIndex() != before {
		t.Errorf("raising beyond what the program knows: %v, applied %d", err, old.AppliedIndex())
	}
}

func TestANewZoneHasTheNewestLevel(t *testing.T) {
	z := emptyZone(t)
	zone := &resources.Zone{
		Meta:   resources.Meta{Kind: resources.KindZone, ID: "zone-1", Name: "zone"},
		Status: resources.ZoneStatus{Shards: 4},
	}
	z.must(&persistence.Bootstrap{Documents: []*persistence.Document{z.seal(zone)}, Level: 2})
	if got := z.level(); got != 2 {
		t.Errorf("a new zone has level %d", got)
	}
	old := newZone(t)
	old.must(&persistence.Bootstrap{Documents: []*persistence.Document{old.seal(zone)}, Level: 2})
	if got := old.level(); got != 1 {
		t.Errorf("a zone that was there has level %d after a node of a newer program was started", got)
	}
}

// TestFeaturesAndCommandsHaveLevels: what is listed is reachable, and in order.
func TestFeaturesAndCommandsHaveLevels(t *testing.T) {
	last := uint32(persistence.OldestLevel)
	for _, f := range persistence.Features() {
		if f.Level < last || f.Level > persistence.NewestLevel || f.About == "" {
			t.Errorf("feature %s comes with level %d: %q", f.Name, f.Level, f.About)
		}
		last = f.Level
	}
	if last != persistence.NewestLevel {
		t.Errorf("level %d brings nothing", persistence.NewestLevel)
	}
}

// TestWhatMachinesLearnedWaitsForTheLevel: programs of level 1 know no migration, and would lose that a pool is shared.
func TestWhatMachinesLearnedWaitsForTheLevel(t *testing.T) {
	z := newZone(t)
	if got := z.level(); got != 1 {
		t.Fatalf("the zone has level %d", got)
	}
	host := &resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, ID: "host-1", Name: "one"},
		Spec: resources.HostSpec{Driver: "bulkhead/sim"},
	}
	z.must(z.create(host, true))
	maintain := z.submit("maintain", host.Ref(), nil)
	z.refuse(maintain, "feature-waits")
	shared := pool("pool-1", 1<<30)
	if err := z.machine.Allows(z.create(shared, false)); err != nil {
		t.Errorf("a pool as there was: %v", err)
	}
	shared.Spec.Shared = true
	if err := z.machine.Allows(z.create(shared, false)); resources.ClassOf(err) != resources.ClassConflict {
		t.Errorf("a shared pool: %v", err)
	}
	both := []persistence.Program{program("n1", 2)}
	z.must(&persistence.Finalize{Level: 2, Nodes: both})
	if err := z.machine.Allows(z.create(shared, false)); err != nil {
		t.Errorf("a shared pool at level 2: %v", err)
	}
	z.must(maintain)
}
