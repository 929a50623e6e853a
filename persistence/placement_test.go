package persistence_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func (z *zone) owners() (owners []persistence.Owner) {
	err := z.machine.View(func(v *persistence.View) (err error) {
		owners, err = v.Owners()
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return owners
}

func (z *zone) refused(cmd persistence.Command, code string) {
	if got := resources.AsError(z.apply(cmd)[0].Err).Code; got != code {
		z.t.Errorf("%T is refused with %q, want %q", cmd, got, code)
	}
}

func TestPlacementComparesEpochs(t *testing.T) {
	z := newZone(t)
	before := z.owners()
	count := z.machine.Placements()
	stale := &persistence.Place{Node: "n2", Shards: []persistence.Shard{0, 1}, Epochs: []uint64{before[0].Epoch, 1}}
	z.refused(stale, "placement-changed")
	if !slices.Equal(z.owners(), before) || z.machine.Placements() != count {
		t.Errorf("a refused placement changed the table: %v", z.owners())
	}
	z.must(&persistence.Place{Node: "n2", Shards: []persistence.Shard{1}, Epochs: []uint64{before[1].Epoch}})
	after := z.owners()
	if after[1].Node != "n2" || after[1].Epoch <= before[1].Epoch || after[0] != before[0] {
		t.Errorf("the table is %v", after)
	}
	if z.machine.Placements() == count {
		t.Error("the change of the table is not counted")
	}
	z.refused(&persistence.Place{Node: "n2", Shards: []persistence.Shard{9}}, "no-such-shard")
	decided := z.entry(&persistence.Place{Node: "n3", Term: 7})
	for _, term := range []uint64{6, 8, 7} {
		decided.Term = term
		results, err := z.machine.Apply([]persistence.Entry{decided})
		if err != nil || (results[0][0].Err == nil) != (term == 7) {
			t.Errorf("what was decided in term 7 is answered with %v, %v in term %d", results, err, term)
		}
		decided.Index++
	}
}

func TestPlacementAsksAndTakesAgain(t *testing.T) {
	z := newZone(t)
	before := z.owners()
	z.must(&persistence.Place{Node: "n2", Shards: []persistence.Shard{2}, Epochs: []uint64{before[2].Epoch}, Ask: true})
	want := before[2]
	want.Next = "n2"
	if got := z.owners()[2]; got != want {
		t.Errorf("asked for, shard 2 is %v, want %v", got, want)
	}
	z.must(&persistence.Place{Node: "n2", Shards: []persistence.Shard{2}, Epochs: []uint64{want.Epoch}})
	given := z.owners()
	if given[2].Node != "n2" || given[2].Next != "" {
		t.Errorf("given, shard 2 is %v", given[2])
	}
	z.must(&persistence.Place{Node: "n1", Own: true})
	for i, o := range z.owners() {
		if mine := i != 2; mine != (o.Epoch > given[i].Epoch) || mine != (o.Node == "n1") {
			t.Errorf("after n1 took its own again shard %d is %v, was %v", i, o, given[i])
		}
	}
}

// A resource names a node or an agent: no two share a name, once all nodes refuse it.
func TestNodesAndAgentsShareNoName(t *testing.T) {
	for level, refused := range map[uint32]bool{persistence.OldestLevel: false, persistence.NewestLevel: true} {
		z := emptyZone(t)
		z.must(&persistence.Bootstrap{Level: level, Documents: []*persistence.Document{z.seal(&resources.Zone{
			Meta:   resources.Meta{Kind: resources.KindZone, ID: "zone-1", Name: "zone"},
			Status: resources.ZoneStatus{Shards: 4},
		})}})
		join := func(role, token string) persistence.Command {
			z.must(&persistence.Invite{Invitation: persistence.Invitation{
				ID: token, Role: role, Digest: "right", ExpiresAt: z.now.Add(time.Hour),
			}})
			return &persistence.Admit{
				Invitation: token, Digest: "right", Key: token, Member: persistence.Member{Role: role, Name: "one"},
				Program: persistence.Program{Node: "one", Version: "1", Levels: persistence.ProgramLevels()},
			}
		}
		z.must(join(persistence.RoleNode, "a"))
		if second := join(persistence.RoleHost, "b"); refused {
			z.refused(second, "name-taken")
		} else {
			z.must(second)
		}
	}
}

func TestJoinTokensWorkOnceAndInTime(t *testing.T) {
	z := newZone(t)
	origin := resources.Origin{Principal: "admin"}
	invite := func(id, role string, lasts time.Duration) {
		z.must(&persistence.Invite{Origin: origin, Invitation: persistence.Invitation{
			ID: id, Role: role, Digest: "right", ExpiresAt: z.now.Add(lasts),
		}})
	}
	admit := func(invitation, digest, role, name, key string) persistence.Command {
		return &persistence.Admit{
			Invitation: invitation, Digest: digest, Member: persistence.Member{Role: role, Name: name}, Key: key, Origin: origin,
		}
	}
	invite("a", "node", time.Hour)
	invite("b", "node", time.Hour)
	invite("c", "host", time.Hour)
	invite("short", "node", time.Second)
	z.refused(admit("none", "right", "node", "n2", "k"), "join-token-used")
	z.refused(admit("a", "wrong", "node", "n2", "k"), "join-token-wrong")
	z.refused(admit("c", "right", "node", "n2", "k"), "join-token-role")
	z.refused(admit("short", "right", "node", "n2", "k"), "join-token-expired")
	z.must(admit("a", "right", "node", "n2", "k"))
	z.must(admit("a", "right", "node", "n2", "k")) // its answer was lost
	z.refused(admit("a", "right", "node", "n3", "k"), "join-token-used")
	z.refused(admit("a", "right", "node", "n2", "another"), "join-token-used")
	z.refused(admit("a", "wrong", "node", "n2", "k"), "join-token-used")
	z.refused(admit("b", "right", "node", "n2", "another"), "name-taken")
	z.must(&persistence.Expel{Role: "node", Name: "n2", Origin: origin})
	z.refused(admit("a", "right", "node", "n2", "k"), "join-token-used")
	z.must(admit("b", "right", "node", "n2", "another"))
	z.must(&persistence.Invite{Invitation: persistence.Invitation{ID: "c"}, Revoke: true, Origin: origin})
	z.refused(&persistence.Invite{Invitation: persistence.Invitation{ID: "c"}, Revoke: true}, "no-such-join-token")
	drain := true
	z.must(&persistence.Expel{Role: "node", Name: "n1", Drain: &drain, Origin: origin})
	err := z.machine.View(func(v *persistence.View) error {
		members, err := v.Members()
		if err != nil || len(members) != 2 || !members[0].Draining || members[1].Expelled || members[1].Since.IsZero() {
			t.Errorf("members are %+v, %v", members, err)
		}
		left, err := v.Invitations()
		if err != nil || len(left) != 1 || left[0].ID != "short" {
			t.Errorf("invitations are %+v, %v", left, err)
		}
		lines, err := v.AuditLog(resources.Position{}, "", 100)
		if err != nil || len(lines) != 9 {
			t.Errorf("%d audit lines, %v, want 9", len(lines), err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMoreShardsArePartsOfFewer: who counts for the most shards that there can be never counts two of a zone's as one.
func TestMoreShardsArePartsOfFewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := resources.Ref{Kind: resources.KindVolume, ID: rapid.StringMatching(`[a-z0-9-]{1,30}`).Draw(t, "id")}
		n := 1 << rapid.IntRange(0, 16).Draw(t, "shards")
		got, want := int(persistence.ShardOf(ref, persistence.MaxShards))%n, int(persistence.ShardOf(ref, n))
		if got != want {
			t.Fatalf("of %d shards %s is in %d, not %d", n, ref, want, got)
		}
	})
}
