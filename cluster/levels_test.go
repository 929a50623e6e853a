package cluster_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// raised makes the level of a ledger 2 from the command "raise" on.
func raised(newest func(node string) uint32) func(*cluster.Config) {
	return func(c *cluster.Config) {
		l, ok := c.Machine.(*ledger)
		if !ok {
			return
		}
		c.Version = "of " + c.NodeID
		c.Levels = cluster.Levels{Oldest: 1, Newest: newest(c.NodeID)}
		c.Level = func() uint32 {
			if slices.Contains(l.commands(), "raise") {
				return 2
			}
			return 1
		}
	}
}

// TestANodeThatIsTooOldStops: it applies nothing that it may not understand, says why, and the others go on.
func TestANodeThatIsTooOldStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3, raised(func(node string) uint32 {
			if node == "n2" {
				return 1
			}
			return 2
		}))
		defer c.close(t)
		if err := c.nodes["n0"].Transfer(t.Context(), "n0"); err != nil {
			t.Fatal(err)
		}
		propose(t, c.nodes["n0"], "before")
		propose(t, c.nodes["n1"], "raise")
		propose(t, c.nodes["n1"], "after")
		var err error
		select {
		case err = <-c.nodes["n2"].Failed():
		case <-time.After(time.Minute): // of the bubble's time
			t.Fatal("it goes on")
		}
		want(t, "the end of the node that is too old", err, cluster.ErrVersion)
		if !strings.Contains(err.Error(), "level 2") || !strings.Contains(err.Error(), "install") {
			t.Errorf("it says %q, which names no level and no remedy", err)
		}
		if got := c.ledgers["n2"].commands(); slices.Contains(got, "after") {
			t.Errorf("it applied %q", got)
		}
		c.kill(t, "n2")
		if got := c.agree(t); !slices.Equal(got, []string{"before", "raise", "after"}) {
			t.Errorf("the others have %q", got)
		}
	})
}

// TestProgramsAreAsked: each for itself, and who does not answer is named.
func TestProgramsAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3, raised(func(node string) uint32 { return map[string]uint32{"n0": 2, "n1": 3, "n2": 4}[node] }))
		defer c.close(t)
		propose(t, c.nodes["n0"], "raise")
		c.agree(t)
		c.hub.Isolate("n2")
		list := c.nodes["n1"].Programs(t.Context(), []string{"n2", "n1", "n0", "n9"})
		for i, name := range []string{"n2", "n1", "n0", "n9"} {
			p := list[i]
			if answers := name == "n0" || name == "n1"; p.Node != name || answers != (p.Err == nil) {
				t.Errorf("asked %s and got %+v", name, p)
			} else if answers && (p.Version != "of "+name || p.Level != 2 || p.Levels.Oldest != 1) {
				t.Errorf("%s says %+v", name, p)
			}
		}
		if list[1].Levels.Newest != 3 || list[2].Levels.Newest != 2 {
			t.Errorf("got %+v", list)
		}
	})
}

// TestSnapshotsSayTheirLevel: one of a raised zone is of no use to a program that knows no such.
func TestSnapshotsSayTheirLevel(t *testing.T) {
	backupOf := func(level uint32) []byte {
		var b bytes.Buffer
		m := cluster.Manifest{
			Kind: "backup", ClusterID: "c", NodeID: "n", Index: 7, Term: 3, LastTime: time.Unix(9, 0).UTC(), Level: level,
		}
		if err := cluster.WriteEnvelope(&b, m, []byte("state")); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for level, version := range map[uint32]byte{0: 1, 1: 1, 2: 2, 3: 2} {
		data := backupOf(level)
		if got := data[len("BULKHEAD")]; got != version {
			t.Errorf("a state of level %d is written in version %d, want %d", level, got, version)
		}
		for newest := range uint32(4) {
			_, err := cluster.RestoreBackup(bytes.NewReader(data), cluster.RestoreTarget{
				Dir: t.TempDir(), ClusterID: "new", Levels: cluster.Levels{Oldest: 1, Newest: newest},
			})
			if max(level, 1) > max(newest, 1) {
				want(t, "restoring with a program that is too old", err, cluster.ErrVersion)
			} else if err != nil {
				t.Errorf("a state of level %d, a program of level %d: %v", level, newest, err)
			}
		}
	}
	_, err := cluster.RestoreBackup(bytes.NewReader(backupOf(1)), cluster.RestoreTarget{
		Dir: t.TempDir(), ClusterID: "new", Levels: cluster.Levels{Oldest: 2, Newest: 3},
	})
	want(t, "restoring what is too old", err, cluster.ErrVersion)
}
