package gossip_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip/gossiptest"
)

// Another cluster stays another one, whatever it has in common with this one, and whoever calls whom.
func TestForeignClusterIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *gossip.Config)
		is     error // what Join returns, where it can know
	}{
		{"other cluster id", func(c *gossip.Config) { c.Facts.ClusterID = "c2" }, nil},
		{"other label", func(c *gossip.Config) { c.Label = "other" }, nil},
		{"other key", func(c *gossip.Config) { c.Keys = [][]byte{gossip.NewKey()} }, nil},
		{"other cluster id, same label and key", func(c *gossip.Config) {
			c.Facts.ClusterID, c.Label = "c2", "c1"
		}, gossip.ErrForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(gossiptest.New(1))
				defer l.closeAll(t)
				l.start(t, "n1", "n2")
				strangers := newLab(l.network)
				defer strangers.closeAll(t)
				for _, name := range []string{"n3", "n4"} {
					config := strangers.config(name)
					c.change(&config)
					if name == "n4" { // the same key as n3, where that is not ours
						config.Keys = [][]byte{strangers.key}
					} else {
						strangers.key = config.Keys[0]
					}
					strangers.members[name] = strangers.open(t, config)
				}
				join := func(from, to *gossip.Gossip) (int, error) {
					return from.Join(t.Context(), []string{to.Address().String()})
				}
				if n, err := join(strangers.members["n3"], strangers.members["n4"]); n != 1 || err != nil {
					t.Fatalf("strangers among themselves: %d, %v", n, err)
				}
				for range 3 {
					for _, pair := range [][2]*gossip.Gossip{
						{l.members["n1"], strangers.members["n3"]}, {strangers.members["n4"], l.members["n2"]},
					} {
						n, err := join(pair[0], pair[1])
						if n != 0 || err == nil || c.is != nil && !errors.Is(err, c.is) {
							t.Errorf("joined %d, error %v", n, err)
						}
					}
					time.Sleep(20 * time.Second)
				}
				for _, g := range []*gossip.Gossip{
					l.members["n1"], l.members["n2"], strangers.members["n3"], strangers.members["n4"],
				} {
					if members := g.Members(); len(members) != 2 {
						t.Errorf("%s knows %v", g.Address(), members)
					}
				}
				if l.journal.count("state=dead") > 0 {
					t.Errorf("strangers killed a member:\n%s", l.journal)
				}
			})
		})
	}
}

// A process of another cluster in the place of a member, with its name, address, label and key, is taken in by nobody
// and takes in nobody, also when nobody joins.
func TestForeignClusterInThePlaceOfAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(gossiptest.New(1))
		defer l.closeAll(t)
		l.start(t, "n1", "n2", "n3")
		l.members["n3"].Close()
		config := l.config("n3")
		config.Facts.ClusterID, config.Label = "c2", "c1"
		foreign := l.open(t, config)
		defer foreign.Close()
		time.Sleep(2 * time.Minute)
		if members := foreign.Members(); len(members) != 1 {
			t.Errorf("the stranger knows %v", members)
		}
		for _, name := range []string{"n1", "n2"} {
			if facts := l.members[name].Members()[2].Facts; facts.ClusterID != "c1" {
				t.Errorf("%s believes %+v", name, facts)
			}
		}
		if l.journal.count("text=ignoring alive message", "another cluster") == 0 ||
			l.journal.count("facts cannot be read") > 0 {
			t.Errorf("strangers were not refused:\n%s", l.journal)
		}
	})
}

// Two processes with one name: the first keeps it, both are told, and nothing goes to and fro.
func TestNameConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(gossiptest.New(1))
		defer l.closeAll(t)
		l.start(t, "n1", "n2", "n3")
		config := l.config("n3")
		config.Network, config.Listen = l.network.Host("10.0.0.33"), "10.0.0.33:7946"
		second := l.open(t, config)
		defer second.Close()
		for range 5 {
			if n, err := second.Join(t.Context(), []string{"10.0.0.1:7946"}); n != 0 || !errors.Is(err, gossip.ErrNameTaken) {
				t.Errorf("joined %d, error %v", n, err)
			}
			time.Sleep(10 * time.Second)
		}
		for _, name := range []string{"n1", "n2"} {
			for _, m := range l.members[name].Members() {
				if m.Name == "n3" && (m.State != gossip.Alive || m.Gossip.String() != "10.0.0.3:7946") {
					t.Errorf("%s sees %v", name, m)
				}
			}
		}
		for _, g := range []*gossip.Gossip{second, l.members["n1"]} {
			found := g.Conflicts()
			if len(found) != 1 || found[0].Name != "n3" || found[0].Count < 5 {
				t.Errorf("%s reports %v", g.Address(), found)
			}
		}
		if n := l.journal.count("ERROR n1", "same node name"); n != 1 {
			t.Errorf("n1 logged it %d times in a minute:\n%s", n, l.journal)
		}
		// Its farewell is not taken for the other's.
		if err := second.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if l.journal.count("n1:", "name=n3 state=left")+l.journal.count("name=n3 state=dead") > 0 {
			t.Errorf("n3 was seen to go:\n%s", l.journal)
		}
	})
}

// Both have the name on one side each of a cut network: when it is whole again, each side keeps its own, and says so.
func TestNameConflictAfterPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(gossiptest.New(1))
		defer l.closeAll(t)
		l.start(t, "n1", "n2", "n3")
		twin := newLab(l.network)
		defer twin.closeAll(t)
		twin.journal, twin.poke = l.journal, l.poke
		config := l.config("n3")
		config.Network, config.Listen = l.network.Host("10.0.0.33"), "10.0.0.33:7946"
		twin.members["n3"], twin.names = twin.open(t, config), []string{"n3"}
		twin.start(t, "n4")
		if _, err := twin.members["n4"].Join(t.Context(), []string{"10.0.0.1:7946"}); err != nil {
			t.Logf("n4 joining: %v", err)
		}
		l.await(t, 10*time.Second, "the conflict is reported", func() bool { return len(l.members["n1"].Conflicts()) == 1 })
		time.Sleep(2 * time.Minute)
		holder := map[string]bool{}
		for _, line := range []*gossip.Gossip{l.members["n1"], l.members["n2"]} {
			for _, m := range line.Members() {
				if m.Name == "n3" {
					holder[m.Gossip.String()] = true
				}
			}
		}
		if len(holder) != 1 || !holder["10.0.0.3:7946"] {
			t.Errorf("n3 is at %v", holder)
		}
		// A farewell is not taken for the other's.
		if err := twin.members["n3"].Leave(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(5 * time.Second)
		for _, by := range []string{"n1:", "n2:"} {
			if l.journal.count(by, "name=n3 state=dead")+l.journal.count(by, "name=n3 state=left") > 0 {
				t.Errorf("%s n3 was seen to go:\n%s", by, l.journal)
			}
		}
	})
}

// A node that was killed and comes back at another address gets its name back.
func TestNameIsReclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(gossiptest.New(1))
		defer l.closeAll(t)
		l.start(t, "n1", "n2", "n3")
		l.members["n3"].Close()
		config := l.config("n3")
		config.Network, config.Listen = l.network.Host("10.0.0.33"), "10.0.0.33:7946"
		l.members["n3"] = l.open(t, config)
		begin := time.Now()
		for {
			_, err := l.members["n3"].Join(t.Context(), []string{"10.0.0.1:7946"})
			seen := l.members["n1"].Members()[2]
			if err == nil && seen.State == gossip.Alive && seen.Gossip.Addr().String() == "10.0.0.33" {
				break
			}
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("not back after %s: %v\n%s", time.Since(begin), err, l.journal)
			}
			time.Sleep(time.Second) // as its caller would
		}
		t.Logf("back after %s", time.Since(begin))
	})
}
