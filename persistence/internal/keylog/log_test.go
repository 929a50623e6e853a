package keylog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
)

type pair struct{ key, value string }

func numbered(n uint64) string { return "e/" + string(binary.BigEndian.AppendUint64(nil, n)) }

func all(pairs []pair) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, p := range pairs {
			if !yield([]byte(p.key), []byte(p.value)) {
				return
			}
		}
	}
}

func open(t interface{ Fatal(...any) }, dir string) *keylog.Log {
	return openSegments(t, dir, keylog.SegmentBytes)
}

func openSegments(t interface{ Fatal(...any) }, dir string, segment int64) *keylog.Log {
	l, err := keylog.Open(dir, segment)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func appendAll(t interface{ Fatal(...any) }, l *keylog.Log, pairs ...pair) {
	if err := l.Append(all(pairs)); err != nil {
		t.Fatal(err)
	}
}

// walk returns what a cursor gives.
func walk(t interface{ Fatal(...any) }, c *keylog.Cursor) (pairs []pair) {
	for ; c.Valid(); c.Next() {
		value, err := c.Value()
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, pair{string(c.Key()), string(value)})
	}
	return pairs
}

// model is what a log should hold.
type model struct {
	pairs []pair
	ends  []int64 // after each Append
	marks []int   // how many pairs there were then
	first string
	next  uint64
}

func search(pairs []pair, key string) (i int, exact bool) {
	return slices.BinarySearchFunc(pairs, key, func(p pair, k string) int { return strings.Compare(p.key, k) })
}

func (m *model) live() []pair {
	i, _ := search(m.pairs, m.first)
	return m.pairs[i:]
}

// TestLogAgainstModel appends, removes, cuts and opens again, and compares each time what is read, in both directions
// and from any key on, also by a View from before.
func TestLogAgainstModel(t *testing.T) {
	root := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		m, l := &model{next: 1}, openSegments(t, dir, 100<<10)
		var old *keylog.View
		var oldPairs []pair
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var some []pair
				for range rapid.IntRange(0, 40).Draw(t, "records") {
					m.next += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
					size := rapid.SampledFrom([]int{0, 1, 100, 100, 2_000, 40_000}).Draw(t, "size")
					some = append(some, pair{numbered(m.next), string(bytes.Repeat([]byte{byte(m.next)}, size))})
				}
				appendAll(t, l, some...)
				m.pairs = append(m.pairs, some...)
				m.ends, m.marks = append(m.ends, l.End()), append(m.marks, len(m.pairs))
			},
			"append out of order": func(t *rapid.T) {
				if len(m.pairs) == 0 {
					return
				}
				end := l.End()
				bad := []pair{{numbered(m.next + 1), "a"}, {m.pairs[len(m.pairs)-1].key, "b"}}
				if err := l.Append(all(bad)); !errors.Is(err, keylog.ErrOrder) || l.End() != end {
					t.Fatalf("Append of a key from before: %v, the end went from %d to %d", err, end, l.End())
				}
			},
			"remove": func(t *rapid.T) {
				m.first = max(m.first, numbered(rapid.Uint64Range(0, m.next+1).Draw(t, "first")))
				if err := l.Drop([]byte(m.first)); err != nil {
					t.Fatal(err)
				}
			},
			"cut": func(t *rapid.T) {
				if len(m.ends) == 0 || m.first != "" { // what was removed may be in front
					return
				}
				i := rapid.IntRange(0, len(m.ends)-1).Draw(t, "after")
				m.ends, m.marks = m.ends[:i+1], m.marks[:i+1]
				m.pairs = slices.Clone(m.pairs[:m.marks[i]])
				var last []byte
				if n := len(m.pairs); n > 0 {
					last = []byte(m.pairs[n-1].key)
				}
				if old != nil {
					old.Release()
					old = nil
				}
				if err := l.Cut(m.ends[i], last); err != nil {
					t.Fatal(err)
				}
			},
			"open again": func(t *rapid.T) {
				if old != nil {
					old.Release()
					old = nil
				}
				end, last := l.End(), l.Last()
				l.Close()
				l = openSegments(t, dir, 100<<10)
				if l.End() != end || len(m.live()) > 0 && !bytes.Equal(l.Last(), last) {
					t.Fatalf("opened again it ends at %d with %q, it ended at %d with %q", l.End(), l.Last(), end, last)
				}
			},
			"pin": func(t *rapid.T) {
				if old != nil {
					old.Release()
				}
				old, oldPairs = l.View([]byte(m.first)), slices.Clone(m.live())
			},
			"": func(t *rapid.T) {
				v := l.View([]byte(m.first))
				defer v.Release()
				from := numbered(rapid.Uint64Range(0, m.next+2).Draw(t, "from"))
				compare(t, v, m.live(), from)
				if old != nil {
					compare(t, old, oldPairs, from)
				}
			},
		})
		if old != nil {
			old.Release()
		}
		l.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}

func compare(t *rapid.T, v *keylog.View, live []pair, from string) {
	i, exact := search(live, from)
	if got := walk(t, v.Ascend([]byte(from))); !slices.Equal(got, live[i:]) {
		t.Fatalf("ascending from %q: %d keys, want %d", from, len(got), len(live)-i)
	}
	upTo := i
	if exact {
		upTo++
	}
	want := slices.Clone(live[:upTo])
	slices.Reverse(want)
	if got := walk(t, v.Descend([]byte(from))); !slices.Equal(got, want) {
		t.Fatalf("descending from %q: %d keys, want %d", from, len(got), upTo)
	}
	value, ok, err := v.Get([]byte(from))
	if err != nil || ok != exact || exact && string(value) != live[i].value {
		t.Fatalf("Get(%q) = %d bytes, %v, %v; want %v", from, len(value), ok, err, exact)
	}
	if err := v.Verify(); err != nil {
		t.Fatal(err)
	}
}

// fill makes a log of three segments, and returns what is in it and where each record begins.
func fill(t *testing.T, dir string) (pairs []pair, ends []int64) {
	t.Helper()
	l := open(t, dir)
	defer l.Close()
	for n := uint64(1); l.End() < 70<<20; n++ {
		p := pair{numbered(n), string(bytes.Repeat([]byte{byte(n)}, 300_000))}
		appendAll(t, l, p)
		pairs, ends = append(pairs, p), append(ends, l.End())
	}
	return pairs, ends
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDropRemovesFiles: the room of what was removed is given back, but not before all who read it let go.
func TestDropRemovesFiles(t *testing.T) {
	dir := t.TempDir()
	pairs, _ := fill(t, dir)
	l := open(t, dir)
	defer l.Close()
	before := segments(t, dir)
	if len(before) != 3 {
		t.Fatalf("there are %d segments, want 3", len(before))
	}
	v := l.View(nil)
	if err := l.Drop([]byte(pairs[len(pairs)-2].key)); err != nil {
		t.Fatal(err)
	}
	if left := segments(t, dir); !slices.Equal(left, before[2:]) {
		t.Errorf("left are %q of %q", left, before)
	}
	if got := walk(t, v.Ascend(nil)); !slices.Equal(got, pairs) {
		t.Errorf("a View from before has %d keys, want %d", len(got), len(pairs))
	}
	v.Release()
	now := l.View([]byte(pairs[len(pairs)-2].key))
	defer now.Release()
	if got := walk(t, now.Ascend(nil)); !slices.Equal(got, pairs[len(pairs)-2:]) {
		t.Errorf("%d keys are left, want 2", len(got))
	}
}

// TestDamagedLog: what is damaged before the last segment is refused; in the last one, the log ends there.
func TestDamagedLog(t *testing.T) {
	good := t.TempDir()
	pairs, ends := fill(t, good)
	for i, file := range segments(t, good) {
		for what, damage := range map[string]func(b []byte) []byte{
			"a bit flipped":    func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
			"the first byte":   func(b []byte) []byte { b[0] ^= 1; return b },
			"the end cut off":  func(b []byte) []byte { return b[:len(b)-7] },
			"half of it zeros": func(b []byte) []byte { clear(b[len(b)/2:]); return b },
			"nothing left":     func([]byte) []byte { return nil },
		} {
			t.Run(fmt.Sprintf("%s of segment %d", what, i), func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, filepath.Base(file))
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(b), 0o600); err != nil {
					t.Fatal(err)
				}
				l, err := keylog.Open(dir, keylog.SegmentBytes)
				if i < 2 {
					if !errors.Is(err, persistence.ErrCorrupt) {
						t.Fatalf("Open = %v, want ErrCorrupt", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				v := l.View(nil)
				defer v.Release()
				got := walk(t, v.Ascend(nil))
				if len(got) >= len(pairs) || !slices.Equal(got, pairs[:len(got)]) || l.End() != ends[len(got)-1] {
					t.Errorf("it opens with %d of %d keys and ends at %d", len(got), len(pairs), l.End())
				}
				if err := l.Cut(l.End(), l.Last()); err != nil {
					t.Fatal(err)
				}
				appendAll(t, l, pairs[len(got)])
				again := open(t, dir)
				defer again.Close()
				after := again.View(nil)
				defer after.Release()
				if n := len(walk(t, after.Ascend(nil))); n != len(got)+1 {
					t.Errorf("opened again after one more it has %d keys, want %d", n, len(got)+1)
				}
			})
		}
	}
	t.Run("without the middle", func(t *testing.T) {
		dir := t.TempDir()
		middle := filepath.Join(dir, filepath.Base(segments(t, good)[1]))
		if err := errors.Join(os.CopyFS(dir, os.DirFS(good)), os.Remove(middle)); err != nil {
			t.Fatal(err)
		}
		if _, err := keylog.Open(dir, keylog.SegmentBytes); !errors.Is(err, persistence.ErrCorrupt) {
			t.Errorf("Open = %v, want ErrCorrupt", err)
		}
	})
}

// TestDamageWhileOpen: what can't be read any more is an error, not a missing key.
func TestDamageWhileOpen(t *testing.T) {
	dir := t.TempDir()
	pairs, _ := fill(t, dir)
	l := open(t, dir)
	defer l.Close()
	f, err := os.OpenFile(segments(t, dir)[1], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 10<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	v := l.View(nil)
	defer v.Release()
	if err := v.Verify(); !errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("Verify = %v, want ErrCorrupt", err)
	}
	for name, c := range map[string]*keylog.Cursor{
		"ascending": v.Ascend(nil), "descending": v.Descend([]byte(pairs[len(pairs)-1].key)),
	} {
		n := 0
		for ; c.Valid(); c.Next() {
			if _, err = c.Value(); err != nil {
				break
			}
			n++
		}
		if !errors.Is(err, persistence.ErrCorrupt) || n >= len(pairs) {
			t.Errorf("%s: %d keys, then %v; want ErrCorrupt", name, n, err)
		}
	}
}

// TestCutAnywhere: a log of several segments is cut after each of its records.
func TestCutAnywhere(t *testing.T) {
	var ends []int64
	var pairs []pair
	good := t.TempDir()
	l := openSegments(t, good, 50<<10)
	for n := uint64(1); n <= 60; n++ {
		p := pair{numbered(n), string(bytes.Repeat([]byte{byte(n)}, int(n%5)*1_500))}
		appendAll(t, l, p)
		pairs, ends = append(pairs, p), append(ends, l.End())
	}
	l.Close()
	if n := len(segments(t, good)); n < 3 {
		t.Fatalf("%d segments, want some", n)
	}
	for i, end := range ends {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		l := openSegments(t, dir, 50<<10)
		if err := l.Cut(end-1, nil); !errors.Is(err, persistence.ErrCorrupt) {
			t.Errorf("Cut in the middle of record %d: %v, want ErrCorrupt", i, err)
		}
		if err := l.Cut(end, []byte(pairs[i].key)); err != nil {
			t.Fatalf("Cut after record %d: %v", i, err)
		}
		appendAll(t, l, pair{pairs[i].key + "a", "more"})
		l.Close()
		l = openSegments(t, dir, 50<<10)
		v := l.View(nil)
		want := append(slices.Clone(pairs[:i+1]), pair{pairs[i].key + "a", "more"})
		if got := walk(t, v.Ascend(nil)); !slices.Equal(got, want) {
			t.Errorf("cut after record %d there are %d", i, len(got))
		}
		v.Release()
		l.Close()
	}
}

// TestBrokenLog: once it is not known what is on the disk, nothing succeeds any more.
func TestBrokenLog(t *testing.T) {
	for name, fails := range map[string]func(l *keylog.Log) error{
		"append": func(l *keylog.Log) error { return l.Append(all([]pair{{"c", "3"}})) },
		"sync":   func(l *keylog.Log) error { return l.Sync() },
	} {
		l := open(t, t.TempDir())
		appendAll(t, l, pair{"a", "1"}, pair{"b", "2"})
		end := l.End()
		if err := l.LoseDisk(); err != nil {
			t.Fatal(err)
		}
		if err := fails(l); !errors.Is(err, keylog.ErrBroken) {
			t.Errorf("%s: %v, want ErrBroken", name, err)
		}
		err := errors.Join(l.Append(all([]pair{{"d", "4"}})), l.Sync(), l.Cut(end, nil))
		if n := strings.Count(fmt.Sprint(err), keylog.ErrBroken.Error()); n != 3 || l.End() != end {
			t.Errorf("after a failed %s: %v; want ErrBroken three times", name, err)
		}
		l.Close()
	}
}

// TestCutIsExact: only where a record ends can a log be cut.
func TestCutIsExact(t *testing.T) {
	dir := t.TempDir()
	_, ends := fill(t, dir)
	l := open(t, dir)
	defer l.Close()
	for _, end := range []int64{ends[3] + 1, ends[len(ends)-1] + 1, ends[len(ends)-1] - 1} {
		if err := l.Cut(end, nil); !errors.Is(err, persistence.ErrCorrupt) {
			t.Errorf("Cut(%d) = %v, want ErrCorrupt", end, err)
		}
	}
}
