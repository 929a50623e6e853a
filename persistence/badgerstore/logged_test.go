package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest"
)

func keepLog(tb testing.TB, s *badgerstore.Store) {
	tb.Helper()
	if err := s.KeepLog(growing); err != nil {
		tb.Fatal(err)
	}
}

// TestStoreWithLog: whoever uses a store with a log does not notice.
func TestStoreWithLog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent()) // what a damaged Badger leaves
	storetest.Run(t, func(tb testing.TB) storetest.Store {
		tb.Helper()
		s := open(tb, tb.TempDir())
		keepLog(tb, s)
		return s
	})
}

// twins are a store, which keeps a log from some moment on, and a simple one that has the same in it.
type twins struct {
	dir    string
	store  *badgerstore.Store
	simple *memstore.Store
	next   uint64 // the last key that grows
	oldest uint64
	kept   bool   // it keeps a log
	before uint64 // the last key from before it
}

func (w *twins) update(t *rapid.T, fn func(persistence.Writer) error) {
	for _, s := range []persistence.Store{w.store, w.simple} {
		if err := s.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *twins) stream(t *rapid.T, s persistence.Snapshotter) []byte {
	f, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// same compares all of both.
func (w *twins) same(t *rapid.T) {
	if a, b := w.stream(t, w.store), w.stream(t, w.simple); !bytes.Equal(a, b) {
		t.Fatalf("the store has %d bytes, the simple one %d", len(a), len(b))
	}
}

// scanAlike compares what scans in the middle of an update give, and now and then all of both, which takes longer.
func (w *twins) scanAlike(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
		w.same(t)
	}
	prefix := rapid.SampledFrom([]string{"", "e", "e/", "d", "f", "e/" + string(make([]byte, 6))}).Draw(t, "prefix")
	from := rapid.SampledFrom([]string{"", "d", "e/", string(grownKey(w.next / 2)), "zz"}).Draw(t, "from")
	put, deleted := rapid.IntRange(0, 99).Draw(t, "put"), rapid.IntRange(0, 99).Draw(t, "deleted")
	reverse := rapid.Bool().Draw(t, "reverse")
	var seen [2][]string
	for i, s := range []persistence.Store{w.store, w.simple} {
		err := s.Update(func(u persistence.Writer) error {
			err := errors.Join(u.Put(other(put), []byte("new")), u.Delete(other(deleted)), u.Put(grownKey(w.next+1), nil))
			if err != nil {
				return err
			}
			if w.oldest < w.next {
				if err := u.Delete(grownKey(w.oldest)); err != nil {
					return err
				}
			}
			walk, start := u.Scan, []byte(from)
			if reverse {
				walk = u.ScanReverse
			}
			if from == "" {
				start = nil
			}
			err = walk([]byte(prefix), start, func(k, v []byte) (bool, error) {
				seen[i] = append(seen[i], fmt.Sprintf("%x=%x", k, v))
				return true, nil
			})
			return errors.Join(err, errUndone)
		})
		if !errors.Is(err, errUndone) {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(seen[0]) != fmt.Sprint(seen[1]) {
		t.Fatalf("scanning %q from %q (reverse %v): %d keys, want %d", prefix, from, reverse, len(seen[0]), len(seen[1]))
	}
}

var errUndone = errors.New("undone")

// other is a key beside those that grow, before and after them.
func other(n int) []byte { return fmt.Appendf(nil, "%c/%d", 'd'+2*(n%2), n) }

// TestLoggedAgainstSimple does the same to both, and opens the store again, or loads a stream of it, now and then.
func TestLoggedAgainstSimple(t *testing.T) {
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		w := &twins{dir: filepath.Join(root, fmt.Sprint(runs)), simple: memstore.New(), oldest: 1}
		gather := rapid.SampledFrom([]int64{1, 2_000, 1 << 19}).Draw(t, "gather")
		reopen := func() {
			var err error
			if w.store, err = badgerstore.Open(small(w.dir).WithGather(gather)); err != nil {
				t.Fatal(err)
			}
		}
		reopen()
		t.Repeat(map[string]func(*rapid.T){
			"update": func(t *rapid.T) {
				grown := rapid.IntRange(0, 5).Draw(t, "grown")
				removed := rapid.Uint64Range(0, w.next+1-w.oldest).Draw(t, "removed")
				n := rapid.IntRange(0, 99).Draw(t, "other")
				large := rapid.IntRange(0, 9).Draw(t, "size") == 0
				w.update(t, func(u persistence.Writer) error {
					var errs []error
					for i := range grown {
						errs = append(errs, u.Put(grownKey(w.next+uint64(i)+1), bytes.Repeat([]byte{byte(i)}, 5_000*i)))
					}
					for i := range removed {
						errs = append(errs, u.Delete(grownKey(w.oldest+i)))
					}
					errs = append(errs, u.Put(other(n), []byte(fmt.Sprint(w.next))), u.Delete(other(99-n)), u.Delete(grownKey(0)))
					for i := range 3 {
						if large { // more than one Badger transaction
							errs = append(errs, u.Put(other(100+i), make([]byte, 700_000)))
						}
					}
					return errors.Join(errs...)
				})
				w.next, w.oldest = w.next+uint64(grown), w.oldest+removed
			},
			"out of order": func(t *rapid.T) {
				if !w.kept || w.next < max(w.oldest, w.before+1)+1 {
					return // fewer than two are in the log
				}
				before := w.stream(t, w.store)
				for name, fn := range map[string]func(persistence.Writer) error{
					"put":    func(u persistence.Writer) error { return u.Put(grownKey(w.next), []byte("again")) },
					"delete": func(u persistence.Writer) error { return u.Delete(grownKey(w.next)) },
				} {
					err := w.store.Update(func(u persistence.Writer) error { return errors.Join(u.Put(other(1), nil), fn(u)) })
					if !errors.Is(err, keylog.ErrOrder) {
						t.Fatalf("%s out of order: %v, want ErrOrder", name, err)
					}
				}
				if !bytes.Equal(before, w.stream(t, w.store)) {
					t.Fatal("what was refused has an effect")
				}
			},
			"keep a log": func(t *rapid.T) {
				if err := w.store.KeepLog(growing); err != nil {
					t.Fatal(err)
				}
				if !w.kept {
					w.kept, w.before = true, w.next
				}
			},
			"open again": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "now") > 0 { // it takes long
					return
				}
				if err := w.store.Close(); err != nil {
					t.Fatal(err)
				}
				reopen()
			},
			"load": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "now") > 0 { // it takes long
					return
				}
				if err := w.store.Load(bytes.NewReader(w.stream(t, w.simple))); err != nil {
					t.Fatal(err)
				}
				w.before = 0
			},
			"": w.scanAlike,
		})
		w.same(t)
		if err := w.store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFailedUpdateLeavesTheLog: what could not be written is not in the log either, and the same update may succeed
// later.
func TestFailedUpdateLeavesTheLog(t *testing.T) {
	large := func(w persistence.Writer) error {
		var errs []error
		for i := range 3 {
			errs = append(errs, w.Put(other(i), make([]byte, 700_000)))
		}
		return errors.Join(append(errs, w.Put(grownKey(2), []byte("two")))...)
	}
	inTheWay := map[string]func(s *badgerstore.Store) string{
		"REDO can't be written": func(s *badgerstore.Store) string { return filepath.Join(s.Dir(), "REDO.tmp") },
		"no segment can be begun": func(s *badgerstore.Store) string {
			return filepath.Join(s.Dir(), "log", fmt.Sprintf("%020d.log", 10+1+len(grownKey(1))+20_000))
		},
	}
	for name, path := range inTheWay {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openSmall(t, dir)
			keepLog(t, s)
			first := func(w persistence.Writer) error { return w.Put(grownKey(1), make([]byte, 20_000)) }
			if err := s.Update(first); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path(s), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := s.Update(large); err == nil {
				t.Fatal("it succeeds")
			}
			if err := os.Remove(path(s)); err != nil {
				t.Fatal(err)
			}
			if n := grown(t, s); n != 1 {
				t.Errorf("%d keys grew, want 1", n)
			}
			if err := s.Update(large); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time after it was opened again
				if n := grown(t, s); n != 2 {
					t.Errorf("%d keys grew, want 2", n)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openSmall(t, dir)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// grown counts the keys that only grow.
func grown(t *testing.T, s persistence.Store) (n int) {
	t.Helper()
	err := s.View(func(r persistence.Reader) error {
		return r.Scan(growing, nil, func(_, _ []byte) (bool, error) {
			n++
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLogGivesRoomBack: what was deleted does not stay on the disk.
func TestLogGivesRoomBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	keepLog(t, s)
	value := make([]byte, 1<<20-100)
	for n := range uint64(200) {
		err := s.Update(func(w persistence.Writer) error {
			if n < 10 {
				return w.Put(grownKey(n), value)
			}
			return errors.Join(w.Put(grownKey(n), value), w.Delete(grownKey(n-10)), w.Put(appliedKey, value))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(s.Dir(), "log", "*"))
	if err != nil || len(files) > 3 {
		t.Errorf("10 of 200 values of 1 MiB are left, in %d segments of 32 MiB: %v", len(files), err)
	}
}

// TestProgramsOfBeforeRefuse: they would not find what is in the log. A store without one is as it was.
func TestProgramsOfBeforeRefuse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	read := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "CURRENT"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const form = "bulkhead-store 1 state-000001 "
	if got := read(); got[:len(form)] != form {
		t.Errorf("without a log CURRENT says %q", got)
	}
	keepLog(t, s)
	if got := read(); got[:len(form)] == form {
		t.Errorf("with a log CURRENT says %q", got)
	}
	if err := s.KeepLog([]byte("f/")); err == nil {
		t.Error("it keeps a second log")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsInALogIsNotInMemory: keys of a log that were to be kept in memory as well would not be found.
func TestWhatIsInALogIsNotInMemory(t *testing.T) {
	for _, prefix := range [][]byte{growing, growing[:1], append(bytes.Clone(growing), 'x')} {
		opts := badgerstore.Options{Dir: t.TempDir(), Resident: [][]byte{[]byte("a"), prefix}}
		s := openWith(t, opts)
		if err := s.KeepLog(growing); err == nil {
			t.Errorf("it keeps a log of %q, and %q in memory", growing, prefix)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, opts.Dir)
		keepLog(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err := badgerstore.Open(opts); err == nil {
			t.Errorf("it has a log of %q, and keeps %q in memory", growing, prefix)
			s.Close()
		}
	}
}
