package gossip_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip/gossiptest"
)

func TestFactsTravel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(gossiptest.New(1))
		defer l.closeAll(t)
		l.start(t, "n1", "n2", "n3")
		facts := gossip.Facts{ClusterID: "c1", Version: "1.1.0", Address: "192.0.2.1:7000", Role: "host", Protocol: 4}
		before := l.members["n2"].Members()[0].Since
		time.Sleep(time.Minute)
		if err := l.members["n1"].SetFacts(facts); err != nil {
			t.Fatal(err)
		}
		took := l.await(t, 2*time.Second, "all know the facts of n1", func() bool {
			for _, g := range l.members {
				if g.Members()[0].Facts != facts {
					return false
				}
			}
			return true
		})
		t.Logf("known after %s", took)
		if since := l.members["n2"].Members()[0].Since; since != before {
			t.Errorf("new facts changed since when it is alive: %s, was %s", since, before)
		}
	})
}

func TestFactsThatCannotBeSpread(t *testing.T) {
	l := newLab(gossiptest.New(1))
	c := l.config("n1")
	g := l.open(t, c)
	own := c.Facts
	for _, bad := range []struct {
		name   string
		change func(*gossip.Facts)
		says   string
	}{
		{"too large", func(f *gossip.Facts) { f.Address = strings.Repeat("x", 600) }, "at most 512"},
		{"another cluster", func(f *gossip.Facts) { f.ClusterID = "c2" }, `cannot become "c2"`},
		{"no cluster", func(f *gossip.Facts) { f.ClusterID = "" }, "cannot become"},
	} {
		facts := own
		bad.change(&facts)
		if err := g.SetFacts(facts); !errors.Is(err, gossip.ErrFacts) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: got %v", bad.name, err)
		}
		if now := g.Members()[0].Facts; now != own {
			t.Errorf("%s: facts are now %+v", bad.name, now)
		}
	}
	// The farewell takes no room of theirs.
	for length := 400; length < 520; length++ {
		facts := own
		facts.Address = strings.Repeat("x", length)
		if err := g.SetFacts(facts); err != nil {
			break
		}
	}
	if err := g.Leave(t.Context()); err != nil {
		t.Errorf("leaving with the longest facts: %v", err)
	}
	if err := g.SetFacts(own); !errors.Is(err, gossip.ErrClosed) {
		t.Errorf("facts after leaving: %v", err)
	}
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte(`{"c":"c1","v":"1.0.0","a":"192.0.2.1:7000","r":"server","p":3}`))
	f.Add([]byte(`{"c":"c1","l":true,"new":{"er":[1]}}`))
	f.Add([]byte(`{"C":"\ud800"}`))
	f.Add([]byte("null"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		facts, again, err := gossip.RoundTrip(data)
		if err != nil {
			return
		}
		twice, _, err := gossip.RoundTrip(again)
		if err != nil || twice != facts {
			t.Errorf("%q became %+v, then %+v, %v", data, facts, twice, err)
		}
	})
}

func FuzzFarewells(f *testing.F) {
	f.Add([]byte(`[{"n":"n1","i":18446744073709551615}]`))
	f.Add([]byte(`[{"n":"n1","i":1,"new":[]},{"n":"\ud800","i":2}]`))
	f.Add([]byte(`[{"n":"","i":1}]`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, count, err := gossip.RoundTripFarewells(data)
		if err != nil {
			return
		}
		twice, same, err := gossip.RoundTripFarewells(again)
		if err != nil || same != count || string(twice) != string(again) {
			t.Errorf("%q became %q, then %q, %v", data, again, twice, err)
		}
	})
}

func TestTheDeadAreForgottenInTheEnd(t *testing.T) {
	members := gossip.Bury(300)
	if len(members) != 257 || members[0].Name != "n0044" || members[256].Name != "survivor" {
		t.Errorf("%d are remembered, from %s to %s", len(members), members[0].Name, members[len(members)-1].Name)
	}
}
