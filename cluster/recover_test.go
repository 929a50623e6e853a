package cluster_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/clustertest"
)

// bereaved makes the directory of a node that was one of two and is left alone, with commands in it. The ledger that
// it returns lacks the last ones, and a snapshot has the first.
func bereaved(t *testing.T) (cfg cluster.Config, behind *ledger, all []string) {
	t.Helper()
	hub := clustertest.NewHub()
	cfg = onDisk(t.TempDir(), &ledger{})
	cfg.Network = hub.Network("n1")
	n := start(t, cfg)
	for i := range 200 {
		all = append(all, fmt.Sprint("command ", i))
		propose(t, n, all[i])
		if i == 50 {
			if err := n.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		if i == 100 {
			behind = &ledger{state: cfg.Machine.(*ledger).copy()}
		}
	}
	if err := n.Add(t.Context(), "n2", "nowhere"); err != nil {
		t.Fatal(err)
	}
	_, err := cluster.OpenSurvivor(cfg.Dir)
	want(t, "OpenSurvivor of a node that runs", err, cluster.ErrLocked)
	stop(t, n)
	return cfg, behind, all
}

// TestReplayOfNothing replays the log of a node whose newest snapshot covers all of it.
func TestReplayOfNothing(t *testing.T) {
	cfg := onDisk(t.TempDir(), &ledger{})
	cfg.Network = clustertest.NewHub().Network("n1")
	n := start(t, cfg)
	propose(t, n, "a command")
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	s, err := cluster.OpenSurvivor(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := &ledger{}
	if err := s.Replay(l, cluster.Levels{Oldest: 1, Newest: 1}, func() uint32 { return 1 }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.commands(), []string{"a command"}) {
		t.Errorf("after the replay there are %q", l.commands())
	}
}

// TestSucceed makes a new cluster of what is left of an old one.
func TestSucceed(t *testing.T) {
	_, err := cluster.OpenSurvivor(t.TempDir())
	want(t, "OpenSurvivor of a directory of none", err, fs.ErrNotExist)
	for _, has := range []string{"a part", "nothing"} {
		t.Run("the state has "+has, func(t *testing.T) {
			cfg, l, all := bereaved(t)
			if has == "nothing" {
				l = &ledger{}
			}
			last := cfg.Machine.(*ledger).copy()
			s, err := cluster.OpenSurvivor(cfg.Dir)
			if err != nil {
				t.Fatal(err)
			}
			known, err := s.Testify()
			if err != nil || known.NodeID != "n1" || known.Index <= last.Applied || known.Term == 0 || len(known.Members) != 2 ||
				!known.LastTime.Equal(last.Times[len(last.Times)-1]) {
				t.Errorf("Testify() = %+v, %v", known, err)
			}
			if err := s.Replay(l, cluster.Levels{Oldest: 1, Newest: 1}, func() uint32 { return 1 }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(l.commands(), all) {
				t.Errorf("after the replay there are %d commands, want %d", len(l.commands()), len(all))
			}
			to := cluster.Successor{Dir: filepath.Join(t.TempDir(), "new"), ClusterID: "new", Address: "there:1"}
			to.Commands = [][]byte{[]byte("first"), []byte("second")}
			if err := s.Succeed(to); err != nil {
				t.Fatal(err)
			}
			want(t, "a second Succeed", s.Succeed(to), cluster.ErrNotEmpty)
			same := cluster.Successor{Dir: t.TempDir(), ClusterID: known.ClusterID, Address: "there:1"}
			want(t, "Succeed with the old id", s.Succeed(same), cluster.ErrForeign)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			goesOn(t, cfg, l, to.Dir, known.Index, append(all, "first", "second"))
		})
	}
}

// goesOn opens the new cluster several times, and then the old one.
func goesOn(t *testing.T, old cluster.Config, l *ledger, dir string, index uint64, all []string) {
	t.Helper()
	cfg := onDisk(dir, l)
	for round := range 3 {
		n := start(t, cfg)
		if n.ClusterID() != "new" || len(n.Members()) != 1 || n.Members()[0].Address != "there:1" {
			t.Errorf("cluster %q has %+v", n.ClusterID(), n.Members())
		}
		all = append(all, fmt.Sprint("round ", round))
		r := propose(t, n, all[len(all)-1])
		if r.Index < index+1<<36 {
			t.Errorf("round %d: the index is %d, and %d was in the old log", round, r.Index, index)
		}
		if !slices.Equal(l.commands(), all) {
			t.Errorf("round %d: there are %d commands, want %d", round, len(l.commands()), len(all))
		}
		if err := n.Snapshot(); err != nil {
			t.Error(err)
		}
		stop(t, n)
		if round == 1 {
			l.state = ledgerState{} // and once more from the snapshot
		}
	}
	if times := l.copy().Times; !slices.IsSortedFunc(times, timeCompare) {
		t.Errorf("times go back: %v", times)
	}
	old.Network = clustertest.NewHub().Network("n1")
	n, err := cluster.Open(old)
	if err != nil {
		t.Fatalf("the old directory can't be opened any more: %v", err)
	}
	if n.ClusterID() == "new" || len(n.Members()) != 2 {
		t.Errorf("the old directory is that of cluster %q with %+v", n.ClusterID(), n.Members())
	}
	stop(t, n)
}
