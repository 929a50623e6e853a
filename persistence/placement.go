package persistence

import (
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Place gives shards to a node. Each shard that is given away, or taken again by
// a node that was restarted, gets a new epoch.
type Place struct {
	Node string `json:"n"`
	// Shards to give; none = all.
	Shards []Shard `json:"s,omitempty"`
	// Epochs of the shards as they were when it was decided; if one has another by
	// now, all of it is refused as stale. None = whatever they are.
	Epochs []uint64 `json:"x,omitempty"`
	// Term, if not 0, is that of the leader on whose word it was decided: in another
	// one it is refused as stale, since a node that was silent may have been heard by
	// another leader in between.
	Term uint64 `json:"t,omitempty"`
	// Own takes again those shards that are the node's already, and all if nobody has
	// any yet.
	Own bool `json:"o,omitempty"`
	// Ask leaves the shards with who has them, who is to give them to the node.
	Ask bool `json:"a,omitempty"`
}

func (*Place) commandName() string { return "place" }

func (c *Place) apply(t *tx) (Result, error) {
	if c.Term != 0 && c.Term != t.term {
		return Result{}, &resources.Error{
			Class: resources.ClassStale, Code: "placement-changed",
			Message: fmt.Sprintf("the leader of term %d decided this, and it is term %d", c.Term, t.term),
		}
	}
	owners, err := t.Owners()
	if err != nil {
		return Result{}, err
	}
	first := len(owners) == 0
	if first {
		zone, err := t.Zone()
		if err != nil {
			return Result{}, err
		}
		owners = make([]Owner, zone.Status.Shards)
	}
	if err := c.give(owners, first, t.index); err != nil {
		return Result{}, err
	}
	return Result{Owners: owners}, t.putRecord([]byte(familyPlacement), "the shard table", owners)
}

// give changes the table. First says that nobody has any shard yet.
func (c *Place) give(owners []Owner, first bool, epoch uint64) error {
	for i, s := range c.shards(len(owners)) {
		if err := c.check(owners, i, s); err != nil {
			return err
		}
		switch {
		case c.Own && !first && owners[s].Node != c.Node:
		case c.Ask:
			owners[s].Next = c.Node
		default:
			owners[s] = Owner{Node: c.Node, Epoch: epoch}
		}
	}
	return nil
}

// check refuses the i-th shard of the command if it can't be given so.
func (c *Place) check(owners []Owner, i int, s Shard) error {
	if int(s) >= len(owners) {
		return &resources.Error{
			Class: resources.ClassInvalid, Code: "no-such-shard",
			Message: fmt.Sprintf("there is no shard %d: the zone has %d", s, len(owners)),
		}
	}
	if i < len(c.Epochs) && c.Epochs[i] != owners[s].Epoch {
		return &resources.Error{
			Class: resources.ClassStale, Code: "placement-changed",
			Message: fmt.Sprintf("shard %d was given to node %s meanwhile", s, owners[s].Node),
		}
	}
	return nil
}

func (c *Place) shards(n int) []Shard {
	if len(c.Shards) > 0 {
		return c.Shards
	}
	all := make([]Shard, n)
	for i := range all {
		all[i] = Shard(i)
	}
	return all
}
