package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/lifecycle"
)

func names(units []lifecycle.Unit) string {
	list := make([]string, len(units))
	for i, u := range units {
		list[i] = u.Name
	}
	return strings.Join(list, " ")
}

func TestOrder(t *testing.T) {
	plan := lifecycle.Order([]lifecycle.Unit{
		{Name: "machine", Rank: 4},
		{Name: "b", Rank: 2},
		{Name: "a", Rank: 2, Requires: []string{"c"}},
		{Name: "c", Rank: 2},
		{Name: "net", Rank: 1},
		{Name: "x", Rank: 2, Requires: []string{"y"}},
		{Name: "y", Rank: 2, Requires: []string{"z"}},
		{Name: "z", Rank: 2, Requires: []string{"x"}},
		{Name: "after-x", Rank: 2, Requires: []string{"x"}},
		{Name: "alone", Rank: 2, Requires: []string{"nobody"}},
		{Name: "low", Rank: 1, Requires: []string{"machine"}},
	})
	if got := names(plan.Start); got != "net c a b machine" {
		t.Errorf("the order is %q", got)
	}
	if got := names(plan.Stop()); got != "machine b a c net" {
		t.Errorf("the reverse is %q", got)
	}
	for name, want := range map[string]string{
		"x": "x -> y -> z -> x", "y": "y -> z -> x -> y", "z": "z -> x -> y -> z", "after-x": "x -> y -> z -> x",
		"alone": "which is not there", "low": "starts after its own",
	} {
		if err := plan.Blocked[name]; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is blocked by %v, want %q", name, err, want)
		}
	}
	if !errors.Is(plan.Blocked["after-x"], lifecycle.ErrCycle) || len(plan.Blocked) != 6 {
		t.Errorf("blocked are %v", plan.Blocked)
	}
}

func TestOrderKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "units")
		units := make([]lifecycle.Unit, n)
		for i := range units {
			units[i] = lifecycle.Unit{Name: fmt.Sprintf("u%02d", i), Rank: rapid.IntRange(1, 3).Draw(t, "rank")}
			for _, j := range rapid.SliceOfN(rapid.IntRange(0, n), 0, 3).Draw(t, "requires") {
				units[i].Requires = append(units[i].Requires, fmt.Sprintf("u%02d", j))
			}
		}
		plan := lifecycle.Order(units)
		if len(plan.Start)+len(plan.Blocked) != n {
			t.Fatalf("%d started and %d blocked of %d", len(plan.Start), len(plan.Blocked), n)
		}
		started, ranks := map[string]bool{}, map[string]int{}
		for _, u := range units {
			ranks[u.Name] = u.Rank
		}
		for i, u := range plan.Start {
			if plan.Blocked[u.Name] != nil || started[u.Name] || i > 0 && plan.Start[i-1].Rank > u.Rank {
				t.Fatalf("%s is out of place in %q", u.Name, names(plan.Start))
			}
			for _, required := range u.Requires {
				if !started[required] {
					t.Fatalf("%s starts before %s, which it requires", u.Name, required)
				}
			}
			started[u.Name] = true
		}
		for _, u := range units { // nobody is blocked without a reason of its own or of those it requires
			free := !slices.ContainsFunc(u.Requires, func(name string) bool { return !started[name] || ranks[name] > u.Rank })
			if free != started[u.Name] {
				t.Fatalf("%s: started %v, though what it requires is %v", u.Name, started[u.Name], free)
			}
		}
		shuffled := rapid.Permutation(units).Draw(t, "shuffled")
		if again := lifecycle.Order(shuffled); names(again.Start) != names(plan.Start) {
			t.Fatalf("%q and %q", names(again.Start), names(plan.Start))
		}
	})
}
