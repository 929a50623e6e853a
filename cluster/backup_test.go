package cluster_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// backedUp returns a backup of a node with some commands, and the ledger it has.
func backedUp(t *testing.T) (backup []byte, l *ledger, m cluster.Manifest) {
	t.Helper()
	l = &ledger{}
	n := start(t, onDisk(t.TempDir(), l))
	for i := range 10 {
		propose(t, n, fmt.Sprint(i))
	}
	before := l.copy()
	var b bytes.Buffer
	m, err := n.Backup(&b)
	if err != nil {
		t.Fatal(err)
	}
	propose(t, n, "after the backup")
	if m.ClusterID != n.ClusterID() || m.NodeID != "n1" || m.Kind != "backup" || m.Index != before.Applied {
		t.Errorf("the manifest is %+v, want that of cluster %s at %d", m, n.ClusterID(), before.Applied)
	}
	got, err := cluster.ReadBackup(bytes.NewReader(b.Bytes()))
	if err != nil || got.Index != m.Index || !got.Created.Equal(m.Created) {
		t.Errorf("ReadBackup() = %+v, %v, want %+v", got, err, m)
	}
	return b.Bytes(), &ledger{state: before}, m
}

func TestRestoreBackup(t *testing.T) {
	backup, before, made := backedUp(t)
	dir := filepath.Join(t.TempDir(), "new", "node")
	target := cluster.RestoreTarget{Dir: dir, NodeID: "other", ClusterID: "restored"}
	m, err := cluster.RestoreBackup(bytes.NewReader(backup), target)
	if err != nil || m.Index != made.Index || m.ClusterID != made.ClusterID {
		t.Fatalf("RestoreBackup() = %+v, %v, want %+v", m, err, made)
	}
	_, err = cluster.RestoreBackup(bytes.NewReader(backup), target)
	want(t, "a second RestoreBackup", err, cluster.ErrNotEmpty)

	l := &ledger{}
	cfg := onDisk(dir, l)
	_, err = cluster.Open(cfg)
	want(t, "Open as the old node", err, cluster.ErrForeign)
	cfg.NodeID = "other"
	for round := range 3 {
		n := start(t, cfg)
		if n.ClusterID() != "restored" {
			t.Errorf("the cluster is %q", n.ClusterID())
		}
		if round == 0 && !slices.Equal(l.commands(), before.commands()) {
			t.Errorf("the restored ledger holds %q, want %q", l.commands(), before.commands())
		}
		r := propose(t, n, fmt.Sprint("round ", round))
		if r.Index <= made.Index {
			t.Errorf("round %d: the index is %d, want more than %d: revisions must go on", round, r.Index, made.Index)
		}
		if err := n.Snapshot(); err != nil {
			t.Error(err)
		}
		stop(t, n)
		if round == 1 {
			l.state = ledgerState{} // and once more from the snapshot
		}
	}
	if got, expect := len(l.commands()), len(before.commands())+3; got != expect {
		t.Errorf("the ledger holds %d commands, want %d", got, expect)
	}
	times := l.copy().Times
	if !slices.IsSortedFunc(times, timeCompare) {
		t.Errorf("times go back: %v", times)
	}
}

func TestBadBackupChangesNothing(t *testing.T) {
	backup, _, made := backedUp(t)
	empty, missing := t.TempDir(), filepath.Join(t.TempDir(), "missing")
	bad := map[string]struct {
		backup []byte
		want   error
	}{
		"empty":   {nil, cluster.ErrCorrupt},
		"foreign": {[]byte("-- MySQL dump 10.13  Distrib 8.0"), cluster.ErrCorrupt},
		"cut":     {backup[:len(backup)-1], cluster.ErrCorrupt},
		"flipped": {flip(backup, len(backup)-40), cluster.ErrCorrupt},
		"longer":  {append(slices.Clone(backup), 0), cluster.ErrCorrupt},
		"newer":   {flip(backup, 8), cluster.ErrVersion},
	}
	for what, c := range bad {
		for _, dir := range []string{empty, missing} {
			_, err := cluster.RestoreBackup(bytes.NewReader(c.backup), cluster.RestoreTarget{Dir: dir})
			want(t, "RestoreBackup of a backup that is "+what, err, c.want)
		}
		if files, err := os.ReadDir(empty); err != nil || len(files) > 0 {
			t.Errorf("a backup that is %s leaves %v, %v", what, files, err)
		}
		if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a backup that is %s makes its directory (%v)", what, err)
		}
	}
	_, err := cluster.RestoreBackup(bytes.NewReader(backup), cluster.RestoreTarget{Dir: empty, ClusterID: made.ClusterID})
	want(t, "RestoreBackup as the same cluster", err, cluster.ErrForeign)
	if _, err := cluster.RestoreBackup(bytes.NewReader(backup), cluster.RestoreTarget{Dir: empty}); err != nil {
		t.Errorf("RestoreBackup into an empty directory: %v", err)
	}
	rewrite(t, filepath.Join(empty, "RESTORING"), nil) // as if it had not come to its end
	_, err = cluster.Open(onDisk(empty, &ledger{}))
	want(t, "Open of what was not restored to its end", err, cluster.ErrCorrupt)
}
