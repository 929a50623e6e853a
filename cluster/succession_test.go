package cluster_test

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// timeout is what nodes wait for a leader here. Nobody is to wait that long for one whose program has ended.
const timeout = 10 * time.Second

func patient(c *cluster.Config) { c.ElectionTimeout = timeout }

// TestALeaderWhoseProgramEndedIsSucceededAtOnce kills leaders until a majority is left that just suffices. As in any
// election two may stand at the same time and neither win: then the timeout decides, but that is rare.
func TestALeaderWhoseProgramEndedIsSucceededAtOnce(t *testing.T) {
	const rounds, kills = 10, 2
	slow := 0
	for range rounds {
		synctest.Test(t, func(t *testing.T) {
			c := newCouncil(t, 5, patient)
			defer c.close(t)
			propose(t, c.nodes[c.leader(t, "")], "before")
			for range kills {
				leader := c.leader(t, "")
				began := time.Now()
				c.kill(t, leader)
				next := c.leader(t, leader)
				if took := time.Since(began); took > time.Second {
					t.Logf("%s was succeeded by %s after %s", leader, next, took)
					slow++
				}
				propose(t, c.nodes[next], "after "+leader)
			}
		})
	}
	if slow > rounds*kills/10 {
		t.Errorf("%d of %d leaders were not succeeded at once", slow, rounds*kills)
	}
}

// TestAVoteIsAskedForOnConnectionsThatEnded has a node that led before stand for election, when all that it had kept of
// connections to the one that is to vote for it has ended.
func TestAVoteIsAskedForOnConnectionsThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3, patient)
		defer c.close(t)
		give := func(from, to string) {
			if err := c.nodes[from].Transfer(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			c.until(t, to+" leads", func() bool { return c.nodes[to].Status().Leading })
			propose(t, c.nodes[to], "as "+to)
		}
		first, second := c.leader(t, ""), c.follower(t)
		third := "n1" // first is n0
		if second == third {
			third = "n2"
		}
		give(first, third) // which keeps the connection that this was said on
		give(third, second)
		c.kill(t, third)
		c.open(t, third, true, patient)
		c.ready(t, third)
		began := time.Now()
		c.kill(t, second)
		next := c.leader(t, second)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s was succeeded by %s after %s", second, next, took)
		}
	})
}

// TestOneThatIsOnlyCutOffIsNotSucceededAtOnce cuts the leader off, from all or from one, also with connections that end
// and are refused at that one: only the timeout tells that it does not lead, if it does not.
func TestOneThatIsOnlyCutOffIsNotSucceededAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		cut   func(c *council, leader string, others []string)
		stays bool
	}{
		"from all": {cut: func(c *council, leader string, _ []string) { c.hub.Isolate(leader) }},
		"refused by one": {stays: true, cut: func(c *council, leader string, others []string) {
			c.hub.Refuse(leader, others[0])
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCouncil(t, 3, patient)
				defer c.close(t)
				leader := c.leader(t, "")
				others := slices.DeleteFunc(slices.Sorted(maps.Keys(c.nodes)), func(n string) bool { return n == leader })
				test.cut(c, leader, others)
				time.Sleep(timeout / 2)
				if now := c.leader(t, ""); now != leader {
					t.Fatalf("%s leads instead of %s, and nobody waited", now, leader)
				}
				if test.stays {
					time.Sleep(2 * timeout)
					propose(t, c.nodes[leader], "it goes on")
				}
			})
		})
	}
}
