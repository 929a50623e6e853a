package placement

import (
	"cmp"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Node is a node as it stands for having shards.
type Node struct {
	Name string
	// Gone says that its lease is over: nothing it has is its own any more.
	Gone bool
	// Draining says that it is well and is to have none.
	Draining bool
	// Silent says that its lease may last, and that it did not say yet how it is: it keeps what it has, and gets nothing.
	Silent bool
}

// Move is one shard to go from a node to another.
type Move struct {
	Shard persistence.Shard
	// Epoch of the shard as it is now.
	Epoch uint64
	To    string
	// Ask says that the owner is to give it away; else it is taken from an owner that is gone.
	Ask bool
}

// mostAsked is how many shards are on their way at a time, so that a change is not felt everywhere at once.
const mostAsked = 32

// Plan says which shards have to move so that each has an owner that may have it, and nobody has more than one more
// than another. It moves as few as it can; the same table and nodes give the same plan.
func Plan(owners []persistence.Owner, nodes []Node) []Move {
	p := plan{owners: owners, nodes: map[string]Node{}, has: map[string]int{}}
	for _, n := range nodes {
		p.nodes[n.Name] = n
		if p.mayHave(n.Name) && !n.Silent {
			p.able = append(p.able, n.Name)
		}
	}
	slices.Sort(p.able)
	if len(p.able) == 0 {
		return nil // whoever has them keeps them
	}
	p.count()
	p.house()
	p.balance()
	return p.moves
}

type plan struct {
	owners []persistence.Owner
	nodes  map[string]Node
	able   []string       // those that may get more, sorted
	has    map[string]int // shards that a node has, or will have when what is under way has ended
	asked  int            // on their way
	moves  []Move
}

// alive reports whether a node's shards are its own.
func (p *plan) alive(name string) bool {
	n, known := p.nodes[name]
	return known && !n.Gone
}

// mayHave reports whether a node may keep what it has.
func (p *plan) mayHave(name string) bool { return p.alive(name) && !p.nodes[name].Draining }

// heir is who will have a shard if nothing more is done; "" if nobody may.
func (p *plan) heir(o persistence.Owner) string {
	switch {
	case !p.alive(o.Node):
		return ""
	case o.Next != "" && p.mayHave(o.Next):
		return o.Next
	case o.Next == "" && p.mayHave(o.Node):
		return o.Node
	}
	return ""
}

func (p *plan) count() {
	for _, o := range p.owners {
		heir := p.heir(o)
		if heir != "" {
			p.has[heir]++
		}
		if heir != "" && heir != o.Node {
			p.asked++
		}
	}
}

// house finds an owner for each shard that needs another.
func (p *plan) house() {
	for i, o := range p.owners {
		if p.heir(o) != "" {
			continue
		}
		ask := p.alive(o.Node)
		if ask && p.asked >= mostAsked {
			continue
		}
		to := p.least()
		if ask && p.mayHave(o.Node) { // whoever was to have it can't: its owner keeps it
			to = o.Node
		}
		p.move(i, to, ask)
	}
}

// balance asks those that have the most to give to those that have the least.
func (p *plan) balance() {
	for i, o := range p.owners {
		if p.asked >= mostAsked {
			return
		}
		least := p.least()
		if o.Next == "" && p.mayHave(o.Node) && p.has[o.Node] > p.has[least]+1 {
			p.has[o.Node]--
			p.move(i, least, true)
		}
	}
}

func (p *plan) move(shard int, to string, ask bool) {
	p.has[to]++
	if ask {
		p.asked++
	}
	p.moves = append(p.moves, Move{
		Shard: persistence.Shard(shard), Epoch: p.owners[shard].Epoch, To: to, Ask: ask,
	})
}

func (p *plan) least() string {
	return slices.MinFunc(p.able, func(a, b string) int {
		return cmp.Or(cmp.Compare(p.has[a], p.has[b]), cmp.Compare(a, b))
	})
}
