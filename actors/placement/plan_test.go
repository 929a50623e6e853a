package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/actors/placement"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// carryOut makes the moves, as their owners and the log would.
func carryOut(owners []persistence.Owner, moves []placement.Move) {
	for _, m := range moves {
		if m.Ask {
			owners[m.Shard].Next = m.To
			continue
		}
		owners[m.Shard] = persistence.Owner{Node: m.To, Epoch: m.Epoch + 1}
	}
}

// give has owners give away what they were asked for.
func give(owners []persistence.Owner) {
	for i, o := range owners {
		if o.Next != "" {
			owners[i] = persistence.Owner{Node: o.Next, Epoch: o.Epoch + 1}
		}
	}
}

func drawNodes(t *rapid.T) []placement.Node {
	var nodes []placement.Node
	for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
		nodes = append(nodes, placement.Node{
			Name: fmt.Sprint("n", i), Gone: rapid.Bool().Draw(t, "gone"), Draining: rapid.Bool().Draw(t, "draining"),
			Silent: rapid.Bool().Draw(t, "silent"),
		})
	}
	return nodes
}

func drawOwners(t *rapid.T) []persistence.Owner {
	name := rapid.SampledFrom([]string{"n0", "n1", "n2", "n3", "n4", "never"})
	next := rapid.SampledFrom([]string{"", "", "n0", "n1", "n2", "n3", "n4"})
	var owners []persistence.Owner
	for i := range rapid.IntRange(1, 100).Draw(t, "shards") {
		owners = append(owners, persistence.Owner{
			Node: name.Draw(t, "owner"), Next: next.Draw(t, "next"), Epoch: uint64(i + 1),
		})
	}
	return owners
}

func TestPlansComeToAnEndAndAreBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, owners := drawNodes(t), drawOwners(t)
		state := map[string]placement.Node{}
		able := 0
		for _, n := range nodes {
			state[n.Name] = n
			if !n.Gone && !n.Draining && !n.Silent {
				able++
			}
		}
		for round := 0; ; round++ {
			moves := placement.Plan(owners, nodes)
			if again := placement.Plan(owners, nodes); !slices.Equal(moves, again) {
				t.Fatalf("the same table gives two plans: %v and %v", moves, again)
			}
			for _, m := range moves {
				owner, known := state[owners[m.Shard].Node]
				if alive := known && !owner.Gone; alive != m.Ask {
					t.Fatalf("%+v of an owner that is %+v", m, owner)
				}
				if to := state[m.To]; to.Gone || to.Draining || to.Silent && to.Name != owners[m.Shard].Node || to.Name == "" {
					t.Fatalf("%+v goes to %+v", m, to)
				}
			}
			carryOut(owners, moves)
			give(owners)
			if len(moves) == 0 {
				break
			}
			if round > 100 {
				t.Fatalf("still %v after %d rounds", moves, round)
			}
		}
		if able == 0 {
			return
		}
		has := map[string]int{}
		for _, o := range owners {
			has[o.Node]++
		}
		most := 0
		for _, n := range nodes {
			most = max(most, has[n.Name])
		}
		for _, n := range nodes {
			may := !n.Gone && !n.Draining
			if !may && has[n.Name] > 0 || may && !n.Silent && has[n.Name] < most-1 {
				t.Fatalf("in the end %v have them, of %+v", has, nodes)
			}
		}
	})
}

func TestOnlyWhatHasToMoves(t *testing.T) {
	owners := make([]persistence.Owner, 90)
	for i := range owners {
		owners[i] = persistence.Owner{Node: fmt.Sprint("n", i%3), Epoch: 1}
	}
	nodes := []placement.Node{{Name: "n0"}, {Name: "n1"}, {Name: "n2", Gone: true}}
	moves := placement.Plan(owners, nodes)
	if len(moves) != 30 || slices.ContainsFunc(moves, func(m placement.Move) bool { return m.Ask || m.Shard%3 != 2 }) {
		t.Errorf("a node of three is gone: %d moves, want its 30: %v", len(moves), moves)
	}
	nodes[2].Gone = false
	if moves := placement.Plan(owners, nodes); len(moves) != 0 {
		t.Errorf("all is well, and %v move", moves)
	}
	nodes = append(nodes, placement.Node{Name: "n3"})
	total := 0
	for {
		moves := placement.Plan(owners, nodes)
		if len(moves) == 0 {
			break
		}
		total += len(moves)
		carryOut(owners, moves)
		give(owners)
	}
	if total != 22 {
		t.Errorf("%d moved to a fourth node, want 22 of 90", total)
	}
}
