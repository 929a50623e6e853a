package gossip_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip/gossiptest"
)

// rotate changes the key of all members while they talk, each step everywhere before the next.
func rotate(t *testing.T, l *lab, fresh []byte, settle func()) {
	t.Helper()
	for _, step := range []struct {
		name string
		do   func(*gossip.Gossip) error
	}{
		{"adding", func(g *gossip.Gossip) error { return g.AddKey(fresh) }},
		{"using", func(g *gossip.Gossip) error { return g.UseKey(fresh) }},
		{"removing", func(g *gossip.Gossip) error { return g.RemoveKey(l.key) }},
	} {
		for _, name := range l.names {
			for range 2 { // a step may be repeated
				if err := step.do(l.members[name]); err != nil {
					t.Fatalf("%s on %s: %v", step.name, name, err)
				}
			}
			settle()
		}
	}
	for _, name := range l.names {
		if got, want := l.members[name].Keys(), []string{gossip.Fingerprint(fresh)}; !slices.Equal(got, want) {
			t.Errorf("%s has keys %v, want %v", name, got, want)
		}
	}
	l.key = fresh
}

func TestRotation(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(gossiptest.New(seed))
			defer l.closeAll(t)
			random := rand.New(rand.NewPCG(seed, 2))
			l.start(t, "n1", "n2", "n3")
			for range 2 {
				rotate(t, l, gossip.NewKey(), func() { time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second)))) })
			}
			if l.journal.count("state=dead")+l.journal.count("state=suspect") > 0 || l.journal.count("WARN") > 0 {
				t.Errorf("the rotation was noticed:\n%s", l.journal)
			}
			l.start(t, "n4") // with the new key
			old := l.config("n5")
			old.Keys = [][]byte{bytes.Repeat([]byte{7}, 32)}
			late := l.open(t, old)
			defer late.Close()
			if n, err := late.Join(t.Context(), []string{l.members["n1"].Address().String()}); n != 0 || err == nil {
				t.Errorf("joined with the old key: %d, %v", n, err)
			}
		})
	}
}

// What goes wrong when keys are used before they are everywhere; it shows that the test above would notice.
func TestRotationInTheWrongOrderIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(gossiptest.New(1))
		defer l.closeAll(t)
		l.start(t, "n1", "n2", "n3")
		fresh := gossip.NewKey()
		if err := errors.Join(l.members["n1"].AddKey(fresh), l.members["n1"].UseKey(fresh)); err != nil {
			t.Fatal(err)
		}
		l.await(t, 10*time.Second, "n1 is dead for the others", func() bool {
			return l.sees("n2", gossip.Dead, "n1") && l.sees("n3", gossip.Dead, "n1")
		})
	})
}

func TestKeys(t *testing.T) {
	l := newLab(gossiptest.New(1))
	c := l.config("n1")
	a, b, d := gossip.NewKey(), gossip.NewKey(), gossip.NewKey()
	c.Keys = [][]byte{a, b, d}
	g := l.open(t, c)
	for i, refused := range []error{
		g.AddKey(a[:16]), g.UseKey(gossip.NewKey()), g.RemoveKey(a),
	} {
		if !errors.Is(refused, gossip.ErrKey) {
			t.Errorf("%d: got %v", i, refused)
		}
	}
	if err := errors.Join(g.RemoveKey(b), g.RemoveKey(b)); err != nil {
		t.Error(err)
	}
	if got, want := g.Keys(), []string{gossip.Fingerprint(a), gossip.Fingerprint(d)}; !slices.Equal(got, want) {
		t.Errorf("keys are %v, want %v", got, want)
	}
}
