package cluster_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// TestALeadThatCouldNotBeGiven has a node try to give the lead to one that is cut off, again and again, and lose the
// lead meanwhile: when it leads once more it takes in what it is asked.
func TestALeadThatCouldNotBeGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		defer c.renewing(t)()
		leader, cut, third := c.leader(t, ""), c.follower(t), ""
		for name := range c.nodes {
			if name != leader && name != cut {
				third = name
			}
		}
		c.hub.Isolate(cut)
		propose(t, c.nodes[leader], "what the other lacks")
		for _, asked := range []string{leader, third, leader} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			want(t, "Transfer to a node that is cut off", c.nodes[asked].Transfer(ctx, cut), cluster.ErrLeadStays)
			cancel()
			propose(t, c.nodes[leader], "it stayed")
		}
		c.hub.Isolate(leader)
		c.until(t, "it lost the lead", func() bool { return !c.nodes[leader].Status().Leading })
		c.hub.Heal()
		c.leader(t, "")
		c.until(t, "it leads again", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return c.nodes[cut].Transfer(ctx, leader) == nil && c.nodes[leader].Status().Leading
		})
		propose(t, c.nodes[leader], "it leads once more")
		if got := len(c.agree(t)); got != 5 {
			t.Errorf("%d commands were applied, want 5", got)
		}
	})
}

// TestTheLeadGoesWhereItIsToGo gives the lead around, under load, to one that is named and to any.
func TestTheLeadGoesWhereItIsToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		defer c.renewing(t)()
		for i := range 20 {
			from, to := c.leader(t, ""), ""
			if i%2 == 0 {
				to = c.follower(t)
			}
			if err := c.nodes[from].Transfer(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			next := c.leader(t, from)
			if to != "" && next != to {
				t.Errorf("%s leads, and %s was to", next, to)
			}
			propose(t, c.nodes[from], "from where the lead was")
		}
		if got := len(c.agree(t)); got != 20 {
			t.Errorf("%d commands were applied, want 20", got)
		}
	})
}
