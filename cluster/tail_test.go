package cluster_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

const (
	smallSegment = 16 << 10
	logSector    = 512 // what a disk writes whole
)

// image is what the files of a log hold.
type image map[string][]byte

func readImage(tb testing.TB, dir string) image {
	tb.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	i := image{}
	for _, f := range files {
		if i[f.Name()], err = os.ReadFile(filepath.Join(dir, "log", f.Name())); err != nil {
			tb.Fatal(err)
		}
	}
	return i
}

func (i image) write(tb testing.TB, dir string) {
	tb.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "log")); err != nil {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, content := range i {
		rewrite(tb, filepath.Join(dir, "log", name), content)
	}
}

// tail names the segment that is written to: names sort as segments do.
func (i image) tail() string {
	last := ""
	for name := range i {
		if filepath.Ext(name) == ".wal" {
			last = max(last, name)
		}
	}
	return last
}

// crash is what there is of the log if the node was stopped while the batch between two images was being written, and
// of each sector of it keep says whether it was.
func crash(before, after image, keep func() bool) image {
	torn := bytes.Clone(after[before.tail()])
	old := append(bytes.Clone(before[before.tail()]), make([]byte, len(torn))...)
	for at := 0; at < len(torn); at += logSector {
		end := min(at+logSector, len(torn))
		if !bytes.Equal(torn[at:end], old[at:end]) && !keep() {
			copy(torn[at:end], old[at:end])
		}
	}
	crashed := maps.Clone(before)
	crashed[before.tail()] = torn
	return crashed
}

func always() bool { return true }

// entries are what a log must hold: those with the indexes from 1 on. The ones that are nil were truncated.
type entries [][]byte

// batch returns so many new entries of up to size bytes.
func (e entries) batch(count, size int) (all entries, logs []*raft.Log) {
	all = slices.Clip(e)
	for range count {
		data := make([]byte, size)
		_, _ = rand.Read(data)
		all = append(all, data)
		logs = append(logs, &raft.Log{Index: uint64(len(all)), Term: 1, Data: data})
	}
	return all, logs
}

func (e entries) check(tb testing.TB, logs raft.LogStore) {
	tb.Helper()
	if last, err := logs.LastIndex(); err != nil || last != uint64(len(e)) {
		tb.Fatalf("the log ends at %d (%v), not at %d", last, err, len(e))
	}
	for i, want := range e {
		var got raft.Log
		err := logs.GetLog(uint64(i+1), &got)
		if want == nil && errors.Is(err, raft.ErrLogNotFound) {
			continue
		}
		if err != nil || !bytes.Equal(got.Data, want) {
			tb.Fatalf("entry %d of %d is not what was appended: %v", i+1, len(e), err)
		}
	}
}

// appendTo opens the log, checks it, and appends to it.
func appendTo(tb testing.TB, dir string, have entries, logs ...*raft.Log) {
	tb.Helper()
	store, closeLog, err := cluster.OpenLog(dir, smallSegment)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := closeLog(); err != nil {
			tb.Error(err)
		}
	}()
	have.check(tb, store)
	for _, log := range logs {
		if err := store.StoreLog(log); err != nil {
			tb.Errorf("appending entry %d: %v", log.Index, err)
		}
	}
}

// endOfSegment returns the log as it is when the node is stopped after the last entry of a segment was written, and
// before the next segment was begun. Before is the same without that entry.
func endOfSegment(t *testing.T) (before, after image, have entries) {
	t.Helper()
	dir := t.TempDir()
	for {
		appendTo(t, dir, have)
		before = readImage(t, dir)
		all, logs := have.batch(1, 1000)
		appendTo(t, dir, have, logs...)
		have, after = all, crash(before, readImage(t, dir), always)
		_, _, ended, err := cluster.ScanTail(after[after.tail()])
		if err != nil {
			t.Fatal(err)
		}
		if ended > 0 {
			return before, after, have
		}
	}
}

// A node can go on that is stopped, in whatever way, between the last entry of a segment and the beginning of the
// next, or that loses power while it writes that entry. The log library alone can't.
func TestLogStoppedAtEndOfSegment(t *testing.T) {
	before, after, have := endOfSegment(t)
	sectors := 0
	torn := crash(before, after, func() bool {
		sectors++
		return sectors != 2 // in the middle of the entry
	})
	for name, test := range map[string]struct {
		left image
		have entries
	}{
		"behind the entry": {after, have},
		"in the entry":     {torn, slices.Clip(have[:len(have)-1])},
	} {
		t.Run(name, func(t *testing.T) {
			dir, have := t.TempDir(), test.have
			test.left.write(t, dir)
			refused(t, dir, have)
			for range 3 {
				all, more := have.batch(40, 1000)
				appendTo(t, dir, have, more...)
				have = all
			}
			appendTo(t, dir, have)
		})
	}
}

// refused checks that the library alone would not go on. It changes nothing.
func refused(t *testing.T, dir string, have entries) {
	t.Helper()
	quiet := hclog.New(&hclog.LoggerOptions{Output: io.Discard})
	logs, err := wal.Open(filepath.Join(dir, "log"), wal.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	have.check(t, logs)
	_, more := have.batch(1, 10)
	if err := logs.StoreLogs(more); !errors.Is(err, wal.ErrSealed) {
		t.Errorf("the library answers %v: does it need our help any more?", err)
	}
	if err := logs.Close(); err != nil {
		t.Fatal(err)
	}
}

// A follower removes what its leader does not have by ending the segment there first. It is the same when it is
// stopped behind that.
func TestLogStoppedWhileTruncating(t *testing.T) {
	dir := t.TempDir()
	have, logs := entries{}.batch(5, 100)
	appendTo(t, dir, nil, logs...)
	before := readImage(t, dir)
	truncate(t, dir, 4, 5)
	crash(before, readImage(t, dir), always).write(t, dir)
	for range 3 {
		all, more := have.batch(40, 1000)
		appendTo(t, dir, have, more...)
		have = all
	}
	truncate(t, dir, 100, uint64(len(have)))
	appendTo(t, dir, have[:99])
}

// Whatever a power loss leaves of the batch that was being written, the log holds all before it, and it whole or not
// at all, and can be appended to, also when that happens again and again.
func TestLogPowerLoss(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		var have entries
		for range rapid.IntRange(1, 3).Draw(rt, "rounds") {
			whole, logs := have.batch(rapid.IntRange(0, 12).Draw(rt, "batches"), rapid.IntRange(0, 1500).Draw(rt, "bytes"))
			appendTo(t, dir, have, logs...)
			before := readImage(t, dir)
			all, logs := whole.batch(rapid.IntRange(1, 8).Draw(rt, "entries"), rapid.IntRange(0, 3000).Draw(rt, "bytes"))
			appendBatch(t, dir, logs)
			often := rapid.IntRange(1, 20).Draw(rt, "often")
			kept := func() bool { return rapid.IntRange(0, often).Draw(rt, "kept") > 0 }
			crash(before, readImage(t, dir), kept).write(t, dir)
			if have = whole; lastIndex(t, dir) > uint64(len(whole)) {
				have = all
			}
			short, logs := have.batch(1, 10)
			appendTo(t, dir, have, logs...)
			have = short
		}
		appendTo(t, dir, have)
	})
}

func appendBatch(tb testing.TB, dir string, logs []*raft.Log) {
	tb.Helper()
	store, closeLog, err := cluster.OpenLog(dir, smallSegment)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(store.StoreLogs(logs), closeLog()); err != nil {
		tb.Fatal(err)
	}
}

func lastIndex(tb testing.TB, dir string) uint64 {
	tb.Helper()
	store, closeLog, err := cluster.OpenLog(dir, smallSegment)
	if err != nil {
		tb.Fatal(err)
	}
	last, err := store.LastIndex()
	if err := errors.Join(err, closeLog()); err != nil {
		tb.Fatal(err)
	}
	return last
}

// What a killed process wrote and did not sync is agreed when the log is opened again, and must be durable before
// anything is built on it.
func TestLogPowerLossAfterKill(t *testing.T) {
	disk := powercut.New(t, 64<<20)
	before, after, have := endOfSegment(t)
	begun := t.TempDir() // with the next segment
	after.write(t, begun)
	all, more := have.batch(3, 10)
	appendTo(t, begun, have, more...)
	two := readImage(t, begun)
	truncate(t, begun, 1, uint64(len(have)))
	rest := slices.Concat(make(entries, len(have)), all[len(have):])
	for name, test := range map[string]struct {
		synced, written image
		file            string
		have            entries
	}{
		"last entries": {before, after, after.tail(), have},
		"truncation":   {two, readImage(t, begun), metadb.FileName, rest},
	} {
		dir := filepath.Join(disk.Dir, name)
		test.synced.write(t, dir)
		for _, folder := range []string{filepath.Join(dir, "log"), dir, disk.Dir} {
			if err := syncAll(folder); err != nil {
				t.Fatal(err)
			}
		}
		overwrite(t, filepath.Join(dir, "log", test.file), test.written[test.file])
		all, more := test.have.batch(1, 10)
		appendTo(t, dir, test.have, more...)
		if err := disk.Cut(func() {}); err != nil {
			t.Fatal(err)
		}
		disk.Restore(t)
		t.Run(name, func(t *testing.T) { appendTo(t, dir, all) })
	}
}

func truncate(tb testing.TB, dir string, first, last uint64) {
	tb.Helper()
	store, closeLog, err := cluster.OpenLog(dir, smallSegment)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(store.DeleteRange(first, last), closeLog()); err != nil {
		tb.Fatal(err)
	}
}

// syncAll makes durable what is in a folder.
func syncAll(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range append(paths, dir) {
		f, openError := os.Open(path)
		if openError != nil {
			return errors.Join(err, openError)
		}
		err = errors.Join(err, f.Sync(), f.Close())
	}
	return err
}

// overwrite writes into a file that is there, as the log does.
func overwrite(tb testing.TB, path string, content []byte) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = f.WriteAt(content, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		tb.Fatal(err)
	}
}

// Damage to what was answered is not taken for a write that was interrupted.
func TestLogDamaged(t *testing.T) {
	dir := t.TempDir()
	var have entries
	for range 5 {
		all, logs := have.batch(1, 2000)
		appendTo(t, dir, have, logs...)
		have = all
	}
	good := readImage(t, dir)
	for _, at := range []int{10, 40, 1000, 2100, 7000} {
		damaged := crash(good, good, always)
		damaged[good.tail()][at] ^= 1
		damaged.write(t, dir)
		_, closeLog, err := cluster.OpenLog(dir, smallSegment)
		want(t, "opening a damaged log", err, cluster.ErrCorrupt)
		if err == nil {
			if err := closeLog(); err != nil {
				t.Fatal(err)
			}
		}
	}
	good.write(t, dir)
	appendTo(t, dir, have)
}

func FuzzScanTail(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Add(append(make([]byte, 32), 3, 0, 0, 0, 0, 0, 0, 0))
	f.Add(append(make([]byte, 32), 1, 0, 0, 0, 255, 255, 255, 255))
	f.Fuzz(func(t *testing.T, content []byte) {
		end, entries, index, err := cluster.ScanTail(content)
		if err != nil {
			return
		}
		if end > len(content) || index > end || entries*8 > end {
			t.Fatalf("%d bytes have %d entries, their index at %d, and end at %d", len(content), entries, index, end)
		}
		clean := append(bytes.Clone(content[:end]), make([]byte, 64)...)
		if e, n, i, err := cluster.ScanTail(clean); err != nil || e != end || n != entries || i != index {
			t.Fatalf("without what is behind its end it is %d, %d, %d, %v", e, n, i, err)
		}
	})
}
