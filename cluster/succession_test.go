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
