package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	for round := range uint64(4) {
		s := open(t, dir)
		if n, err := checkPrefix(s, onlySmall); err != nil || n != round*100 {
			t.Fatalf("round %d: the store is at %d, %v", round, n, err)
		}
		for n := range uint64(100) {
			write(t, s, round*100+n+1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := badgerstore.Open(badgerstore.Options{Dir: dir}); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("opening a store that is open = %v, want ErrLocked", err)
	}
	write(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, opts := range []badgerstore.Options{{}, {Dir: t.TempDir(), MemTableBytes: 1 << 20}} {
		if s, err := badgerstore.Open(opts); err == nil {
			t.Errorf("Open(%+v) succeeded", opts)
			s.Close()
		}
	}
}

// TestLoadSurvivesReopen loads, reopens, and looks for what a load that was interrupted may leave.
func TestLoadSurvivesReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := range uint64(10) {
		write(t, s, n+1)
	}
	var stream bytes.Buffer
	frozen, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frozen.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	frozen.Release()
	write(t, s, 11)
	if err := s.Load(&stream); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	interrupted := filepath.Join(dir, "state-000003")
	if err := os.CopyFS(interrupted, os.DirFS(s.Dir())); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if n, err := checkPrefix(s, onlySmall); err != nil || n != 10 {
		t.Errorf("after Load and a reopen the store is at %d, %v, want 10", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if states, err := filepath.Glob(filepath.Join(dir, "state-*")); err != nil || len(states) != 1 {
		t.Errorf("there are %q, %v, want only the live generation", states, err)
	}
}

// TestVerify damages a table behind the back of an open store.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if err := s.Verify(); err != nil {
		t.Fatalf("Verify of a good store = %v", err)
	}
	tables, err := filepath.Glob(filepath.Join(s.Dir(), "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("there are tables %q, %v, want one", tables, err)
	}
	f, err := os.OpenFile(tables[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 30); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	frozen, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frozen.WriteTo(io.Discard); !errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("WriteTo of a damaged store = %v, want ErrCorrupt", err)
	}
	frozen.Release()
	if err := s.View(func(persistence.Reader) error { return nil }); !errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("View after damage was found = %v, want ErrCorrupt", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// errorCounter is a log handler that counts errors.
type errorCounter struct {
	slog.Handler
	errors *atomic.Int32
}

func (h errorCounter) Enabled(context.Context, slog.Level) bool { return true }

func (h errorCounter) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.errors.Add(1)
	}
	return nil
}

// TestGenerationIsMissing: a store whose live state is gone is not an empty one.
func TestGenerationIsMissing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.Dir(), filepath.Join(dir, "state-000007")); err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Open(badgerstore.Options{Dir: dir}); !errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("Open = %v, want ErrCorrupt", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "state-000007")); err != nil {
		t.Errorf("what is there was removed: %v", err)
	}
}

// TestNewerForm: a store of a newer program is not damaged.
func TestNewerForm(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	current := filepath.Join(dir, "CURRENT")
	if err := os.WriteFile(current, []byte("bulkhead-store 3 state-000001 more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if !errors.Is(err, persistence.ErrNewer) || errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("Open = %v, want ErrNewer", err)
	}
}

// A server that was killed may have had larger memtables than the one that is started then.
func TestSmallerMemTables(t *testing.T) {
	const values, size = 400, 50_000
	opts := badgerstore.Options{Dir: t.TempDir(), MemTableBytes: 32 << 20}
	s, err := badgerstore.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range values {
		err := s.Update(func(w persistence.Writer) error {
			return w.Put(fmt.Appendf(nil, "key-%03d", i), make([]byte, size))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Settle(); err != nil {
		t.Fatal(err)
	}
	killed := badgerstore.Options{Dir: filepath.Join(t.TempDir(), "killed")}
	if err := os.CopyFS(killed.Dir, os.DirFS(opts.Dir)); err != nil { // what there is before it is closed
		t.Fatal(err)
	}
	left, err := badgerstore.Open(killed)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	err = left.View(func(r persistence.Reader) error {
		return r.Scan([]byte("key-"), nil, func(_, value []byte) (bool, error) {
			found += len(value)
			return true, nil
		})
	})
	if err := errors.Join(err, left.Close()); err != nil || found != values*size {
		t.Errorf("%d bytes are there, not %d: %v", found, values*size, err)
	}
}

// TestRotationIsExpected writes transactions of many shapes and compares when Badger leaves a write-ahead file with
// when the store expects it: never before, and not much after.
func TestRotationIsExpected(t *testing.T) {
	var failed atomic.Int32
	s, err := badgerstore.Open(badgerstore.Options{
		Dir: t.TempDir(), MemTableBytes: 8 << 20,
		Log: slog.New(errorCounter{slog.DiscardHandler, &failed}),
	})
	if err != nil {
		t.Fatal(err)
	}
	const rotations = 6
	shapes := []struct{ keys, value int }{{1, 10}, {1, 300}, {20, 0}, {50, 100}, {3, 20000}, {300, 40}}
	commits, early, ahead := 0, 0, int64(0)
	first, _ := s.Rotation()
	for {
		file, due := s.Rotation()
		if file >= first+rotations {
			break
		}
		if due {
			early++
		}
		commits++
		begun, path := s.Begun()
		if ahead = max(ahead, begun); begun > 0 {
			if _, err := os.Stat(path); err != nil {
				t.Fatalf("the file that the kernel is to write ahead: %v", err)
			}
		}
		shape := shapes[(file-first)%len(shapes)]
		err := s.Update(func(w persistence.Writer) error {
			for range shape.keys {
				key := make([]byte, 8+rand.IntN(24))
				for i := range key {
					key[i] = byte(rand.Uint32())
				}
				if err := w.Put(key, make([]byte, shape.value)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if ahead < 4<<20 {
		t.Errorf("only %d bytes of a file were written before it was full", ahead)
	}
	if n := failed.Load(); n > 0 {
		t.Errorf("Badger left %d write-ahead files before it was expected to", n)
	}
	t.Logf("%d commits, %d of them synced, %d rotations", commits, early, rotations)
	if early > commits/50 {
		t.Errorf("%d of %d commits were synced because Badger might rotate: the count is far off", early, commits)
	}
}
