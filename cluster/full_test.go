package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// TestALeaderWithoutRoomLeavesTheLead fills the disk of the node that leads, then those of all.
func TestALeaderWithoutRoomLeavesTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		renew := func() {
			for _, n := range c.nodes {
				_, err := n.Renew(t.Context())
				want(t, "Renew", err, nil)
			}
		}
		old := c.leader(t, "")
		c.nodes[old].FillDisk(true)
		full := c.follower(t)
		c.nodes[full].FillDisk(true)
		renew()
		began := time.Now()
		leader := c.leader(t, old)
		if took := time.Since(began); leader == full || took > 2*time.Second {
			t.Fatalf("%s leads after %s; %s and %s have no room", leader, took, old, full)
		}
		propose(t, c.nodes[leader], "there is room")
		_, err := c.nodes[old].Propose(t.Context(), []byte("there is none"))
		want(t, "Propose without room", err, cluster.ErrDiskLow)

		c.nodes[leader].FillDisk(true)
		renew()
		for range 10 {
			time.Sleep(time.Second)
			renew()
			if !c.nodes[leader].Status().Leading {
				t.Fatal("the lead goes around though nobody has room")
			}
		}
		c.nodes[full].FillDisk(false)
		renew()
		if next := c.leader(t, leader); next != full {
			t.Errorf("%s leads, %s has room", next, full)
		}
	})
}
