package storetest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

var errRollback = errors.New("rolled back on purpose")

// testModel makes random updates, some of which fail, and compares everything a reader can ask with a map, inside the
// updates, after them, and in states frozen on the way.
func testModel(t *testing.T, s Store) {
	rapid.Check(t, func(t *rapid.T) {
		h := &history{store: s, model: map[string]string{}}
		h.reset(t)
		t.Repeat(map[string]func(*rapid.T){
			"update": h.update,
			"freeze": h.freeze,
			"load":   h.load,
			"":       h.check,
		})
		for _, f := range h.frozen {
			compare(t, "a frozen state", f.reader, f.want)
		}
	})
}

type history struct {
	store  Store
	model  map[string]string
	frozen []frozenState
	loads  int
}

type frozenState struct {
	reader persistence.Frozen
	want   map[string]string
}

// key draws few different keys, so that they meet again, with prefixes of each other among them.
func key(t *rapid.T) string { return rapid.StringMatching(`[ab\xff]{1,3}`).Draw(t, "key") }

// reset removes what the history before this one left.
func (h *history) reset(t *rapid.T) {
	err := h.store.Update(func(w persistence.Writer) error {
		return w.Scan(nil, nil, func(key, _ []byte) (bool, error) { return true, w.Delete(key) })
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (h *history) update(t *rapid.T) {
	next := maps.Clone(h.model)
	rollback := rapid.IntRange(0, 4).Draw(t, "rollback") == 0
	err := h.store.Update(func(w persistence.Writer) error {
		for range rapid.IntRange(0, 8).Draw(t, "writes") {
			k := key(t)
			if rapid.Bool().Draw(t, "delete") {
				delete(next, k)
				if err := w.Delete([]byte(k)); err != nil {
					return err
				}
				continue
			}
			next[k] = rapid.StringMatching(`[0-9]{0,3}`).Draw(t, "value")
			if err := w.Put([]byte(k), []byte(next[k])); err != nil {
				return err
			}
		}
		compare(t, "an update", w, next)
		if rollback {
			return errRollback
		}
		return nil
	})
	switch {
	case rollback && errors.Is(err, errRollback):
	case err != nil || rollback:
		t.Fatalf("Update() = %v", err)
	default:
		h.model = next
	}
}

func (h *history) freeze(t *rapid.T) {
	f, err := h.store.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	h.frozen = append(h.frozen, frozenState{f, maps.Clone(h.model)})
}

// load goes back to a state frozen before. It is slow in some stores, so there are not many.
func (h *history) load(t *rapid.T) {
	if len(h.frozen) == 0 || h.loads == 1 {
		t.Skip("nothing to load")
	}
	h.loads++
	f := h.frozen[rapid.IntRange(0, len(h.frozen)-1).Draw(t, "frozen")]
	var b bytes.Buffer
	if _, err := f.reader.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := h.store.Load(&b); err != nil {
		t.Fatal(err)
	}
	h.model = maps.Clone(f.want)
}

func (h *history) check(t *rapid.T) {
	err := h.store.View(func(r persistence.Reader) error {
		compare(t, "a view", r, h.model)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func compare(t *rapid.T, where string, r persistence.Reader, model map[string]string) {
	t.Helper()
	k := key(t)
	value, ok, err := r.Get([]byte(k))
	if _, has := model[k]; err != nil || ok != has || string(value) != model[k] {
		t.Fatalf("%s: Get(%q) = %q, %t, %v, want %q, %t", where, k, value, ok, err, model[k], has)
	}
	prefix, from := rapid.SampledFrom([]string{"", "", "a", "b", "ab", "\xff"}).Draw(t, "prefix"), ""
	if rapid.Bool().Draw(t, "with from") {
		from = key(t)
	}
	keys := slices.Sorted(maps.Keys(model))
	keys = slices.DeleteFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) })
	up := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k < from })
	down := slices.DeleteFunc(keys, func(k string) bool { return from != "" && k > from })
	slices.Reverse(down)
	equal(t, where, scanAll(t, r.Scan, prefix, from), up, model)
	equal(t, where+" in reverse", scanAll(t, r.ScanReverse, prefix, from), down, model)
}

type walk func(prefix, from []byte, fn func(key, value []byte) (bool, error)) error

func scanAll(t *rapid.T, walk walk, prefix, from string) (pairs []pair) {
	err := walk([]byte(prefix), fromBytes(from), func(key, value []byte) (bool, error) {
		pairs = append(pairs, pair{string(key), string(value)})
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pairs
}

func equal(t *rapid.T, where string, got []pair, keys []string, model map[string]string) {
	t.Helper()
	expect := make([]pair, 0, len(keys))
	for _, k := range keys {
		expect = append(expect, pair{k, model[k]})
	}
	if !slices.Equal(got, expect) {
		t.Fatalf("%s there is %q, want %q", where, got, expect)
	}
}
