package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// TestAnAnswerThatIsLost: the leader takes a proposal in and can't say so. It must not be repeated by itself.
func TestAnAnswerThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		leader, follower := c.leader(t, ""), c.follower(t)
		propose(t, c.nodes[follower], "before") // the link is there
		c.hub.Cut(leader, follower)
		answer := make(chan error, 1)
		go func() {
			_, err := c.nodes[follower].Propose(t.Context(), []byte("once"))
			answer <- err
		}()
		c.until(t, "the leader has it", func() bool { return slices.Contains(c.ledgers[leader].commands(), "once") })
		for name := range c.nodes { // the follower hears of another leader, and never from this one
			if name != leader && name != follower {
				if err := c.nodes[leader].Transfer(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := <-answer; err != nil && !errors.Is(err, cluster.ErrUnknownOutcome) {
			t.Errorf("its proposer is told: %v", err)
		}
		c.hub.Mend(leader, follower)
		if applied := c.agree(t); !slices.Equal(applied, []string{"before", "once"}) {
			t.Errorf("applied were %q", applied)
		}
	})
}

// TestWhoDoesNotVoteIsNotCounted: a node that was added and never came has no say in who may go.
func TestWhoDoesNotVoteIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 2)
		defer c.close(t)
		leader, follower := c.leader(t, ""), c.follower(t)
		if err := c.nodes[leader].Add(t.Context(), "n9", "n9"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		for _, n := range c.nodes {
			if _, err := n.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.nodes[leader].Remove(t.Context(), follower, false); err != nil {
			t.Errorf("removing one of two voters that are well: %v", err)
		}
	})
}

// TestFollowerIsToldAtOnce: Raft alone would let it wait for 50 to 100 ms until it knows what is agreed on.
func TestFollowerIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		follower := c.follower(t)
		for i := range 20 {
			time.Sleep(time.Second) // nothing else is under way
			start := time.Now()
			if _, err := c.nodes[follower].Propose(t.Context(), fmt.Append(nil, "quick", i)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 10*time.Millisecond {
				t.Fatalf("proposal %d took %s on a network that takes no time", i, took)
			}
		}
	})
}

// TestALeaderThatReachesNobodyAnswersNoRead: another may lead by now.
func TestALeaderThatReachesNobodyAnswersNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		leader := c.leader(t, "")
		propose(t, c.nodes[leader], "before")
		c.hub.Isolate(leader)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if index, err := c.nodes[leader].ReadIndex(ctx); err == nil {
			t.Errorf("it reads at index %d", index)
		}
	})
}
