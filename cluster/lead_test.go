package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestALeadThatStays begins to give the lead to a node that is cut off, just as the node that leads gets to know that
// it does: raft goes on leading, and so must the node.
func TestALeadThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		leader, cut := c.leader(t, ""), c.follower(t)
		c.hub.Isolate(cut)
		n := c.nodes[leader]
		transfer := n.Raft().LeadershipTransferToServer(raft.ServerID(cut), raft.ServerAddress(cut))
		synctest.Wait()
		if err := n.Raft().Barrier(0).Error(); err == nil {
			t.Fatal("raft takes in a barrier while the lead goes to another node")
		}
		n.ForgetToLead()
		began := time.Now()
		if transfer.Error() == nil || n.Raft().State() != raft.Leader {
			t.Fatal("the lead went to a node that is cut off")
		}
		propose(t, n, "the lead stayed")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s until the node led again", took)
		}
	})
}
