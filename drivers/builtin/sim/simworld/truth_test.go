package simworld_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

func TestTruthFindsOrphansAndMissing(t *testing.T) {
	w := build(t, volume("pool-1", "vol-known", 1), volume("pool-1", "vol-orphan", 1))
	must(t, w.Plant(volume("pool-1", "vol-planted", 1)))
	found := truth(t, w)
	orphans := found.Orphans(func(r simworld.Ref) bool { return r.Kind != "volume" || r.ID == "vol-known" })
	if len(orphans) != 1 || orphans[0].ID != "vol-orphan" {
		t.Errorf("orphans are %v, want vol-orphan", orphans)
	}
	missing := found.Missing([]simworld.Ref{{Kind: "volume", ID: "vol-known"}, {Kind: "volume", ID: "vol-gone"}})
	if !slices.Equal(missing, []simworld.Ref{{Kind: "volume", ID: "vol-gone"}}) {
		t.Errorf("missing are %v, want vol-gone", missing)
	}
	must(t, w.Vanish(volume("pool-1", "vol-known", 1).Key))
	followed := follower(t, w)
	if first, err := followed.Truth(); err != nil || first.Count("volume", "vol-known") != 0 {
		t.Errorf("followed: %v, %v", first, err)
	}
	must(t, create(w, "late", 1, volume("pool-1", "vol-late", 1)))
	if second, err := followed.Truth(); err != nil || second.Count("volume", "vol-late") != 1 {
		t.Errorf("followed on: %v, %v", second, err)
	}
	if truth(t, w).Count("volume", "vol-known") != 0 || found.Count("volume", "vol-known") != 1 {
		t.Error("a truth is of one instant")
	}
}

func follower(t *testing.T, w *simworld.World) *simworld.Follower {
	t.Helper()
	f, err := w.Follow()
	must(t, err)
	t.Cleanup(f.Close)
	return f
}

func TestTruthFindsDuplicates(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, w *simworld.World)
		want []string
	}{
		{"nothing is wrong", func(t *testing.T, w *simworld.World) {
			m := machine("host-1", "mac-1", 1)
			must(t, create(w, "a", 1, m))
			must(t, remove(w, m))
			must(t, create(w, "b", 1, machine("host-2", "mac-1", 1)))
			must(t, create(w, "c", 1, machine("host-2", "mac-2", 1)))
		}, nil},
		{"a volume in two pools, later in one", func(t *testing.T, w *simworld.World) {
			must(t, create(w, "a", 1, volume("pool-1", "vol-1", 1)))
			must(t, create(w, "b", 1, volume("pool-2", "vol-1", 1)))
			must(t, remove(w, volume("pool-1", "vol-1", 1)))
		}, []string{"in pool-2 while in pool-1"}},
		{"a machine on two hosts", func(t *testing.T, w *simworld.World) {
			must(t, create(w, "a", 1, machine("host-1", "mac-1", 1)))
			must(t, create(w, "b", 1, machine("host-2", "mac-1", 1)))
		}, []string{"in host-2 while in host-1"}},
		{"a machine on another host after it ended", func(t *testing.T, w *simworld.World) {
			must(t, create(w, "a", 1, machine("host-1", "mac-1", 1)))
			must(t, w.EndGuest(machine("host-1", "mac-1", 1).Key, "guest-shutdown"))
			must(t, create(w, "b", 1, machine("host-2", "mac-1", 1)))
		}, nil},
		{"one token, two effects", func(t *testing.T, w *simworld.World) {
			must(t, create(w, "a", 1, volume("pool-1", "vol-1", 1)))
			must(t, remove(w, volume("pool-1", "vol-1", 1)))
			must(t, create(w, "a", 1, volume("pool-1", "vol-1", 1)))
		}, []string{"create by one token twice"}},
		{"adopted again by one token, by the next owner", func(t *testing.T, w *simworld.World) {
			must(t, create(w, "a", 1, volume("pool-1", "vol-1", 1)))
			must(t, adopt(w, "b", 2, volume("pool-1", "vol-1", 2)))
			must(t, adopt(w, "b", 3, volume("pool-1", "vol-1", 3)))
		}, nil},
		{"adopted again by one token of one owner", func(t *testing.T, w *simworld.World) {
			must(t, create(w, "a", 1, volume("pool-1", "vol-1", 1)))
			must(t, adopt(w, "b", 2, volume("pool-1", "vol-1", 2)))
			must(t, adopt(w, "b", 2, volume("pool-1", "vol-1", 2)))
		}, []string{"adopt by one token twice"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := build(t)
			test.do(t, w)
			var got []string
			for _, d := range truth(t, w).Duplicates() {
				got = append(got, d.Why)
				if len(d.Effects) != 2 || d.Effects[0].Seq >= d.Effects[1].Seq {
					t.Errorf("%s: made by %v", d.Why, d.Effects)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTruthSelectsEffects(t *testing.T) {
	w := build(t, volume("pool-1", "vol-1", 1))
	must(t, change(w, "grow", volume("pool-1", "vol-1", 2)))
	must(t, remove(w, volume("pool-1", "vol-1", 2)))
	must(t, create(w, "late", 0, volume("pool-1", "vol-1", 3))) // an old owner, unknown to the thing itself
	found := truth(t, w)
	var what []string
	for _, e := range found.EffectsOf(simworld.Ref{Kind: "volume", ID: "vol-1"}) {
		what = append(what, e.What)
	}
	if !slices.Equal(what, []string{"create", "grow", "delete", "create"}) {
		t.Errorf("effects on the volume: %v", what)
	}
	by := found.EffectsBy("grow")
	if len(by) != 1 || !strings.Contains(by[0].String(), `grow volume/pool-1/vol-1 by Change`) {
		t.Errorf("effects by token: %v", by)
	}
	if stale := found.Stale(); len(stale) != 1 || stale[0].Token != "late" {
		t.Errorf("stale: %v", stale)
	}
}
