package keymap_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// version is a Map and what must be in it for ever.
type version struct {
	m    keymap.Map[int]
	want map[string]int
}

// TestVersionsAgainstModel makes random edits, keeps every version handed out, and checks all of them at the end: an
// edit that changed a node of an older version would show.
func TestVersionsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-d]{1,4}`)
		model := map[string]int{}
		edit := keymap.Map[int]{}.Edit()
		var versions []version
		for i := range rapid.IntRange(0, 200).Draw(t, "steps") {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1, 2:
				edit.Put([]byte(k), i)
				model[k] = i
			case 3, 4:
				edit.Delete([]byte(k))
				delete(model, k)
			case 5:
				versions = append(versions, version{edit.Map(), maps.Clone(model)})
			}
			if got, ok := edit.Get([]byte(k)); ok != has(model, k) || got != model[k] {
				t.Fatalf("Get(%q) = %d, %t in the edit, want %d, %t", k, got, ok, model[k], has(model, k))
			}
			if edit.Len() != len(model) {
				t.Fatalf("Len() = %d in the edit, want %d", edit.Len(), len(model))
			}
		}
		versions = append(versions, version{edit.Map(), model})
		from := key.Draw(t, "from")
		for i, v := range versions {
			check(t, i, v, nil)
			check(t, i, v, []byte(from))
		}
	})
}

func has(m map[string]int, k string) bool { _, ok := m[k]; return ok }

func check(t *rapid.T, i int, v version, from []byte) {
	t.Helper()
	up := slices.Sorted(maps.Keys(v.want))
	down := slices.Clone(up)
	slices.Reverse(down)
	if from != nil {
		up = slices.DeleteFunc(up, func(k string) bool { return k < string(from) })
		down = slices.DeleteFunc(down, func(k string) bool { return k > string(from) })
	}
	if got := walk(v.m.Ascend(from), v.want); !slices.Equal(got, up) {
		t.Fatalf("version %d: ascending from %q: %q, want %q", i, from, got, up)
	}
	if got := walk(v.m.Descend(from), v.want); !slices.Equal(got, down) {
		t.Fatalf("version %d: descending from %q: %q, want %q", i, from, got, down)
	}
}

// walk returns the keys under c, with the value where it is not the wanted one.
func walk(c *keymap.Cursor[int], want map[string]int) []string {
	var keys []string
	for ; c.Valid(); c.Next() {
		k := string(c.Key())
		if c.Value() != want[k] {
			k = fmt.Sprintf("%s=%d", k, c.Value())
		}
		keys = append(keys, k)
	}
	return keys
}

func BenchmarkPut(b *testing.B) {
	edit := keymap.Map[int]{}.Edit()
	for i := range b.N {
		edit.Put(fmt.Appendf(nil, "key-%08d", i%100000), i)
	}
}

func BenchmarkPutAfterMap(b *testing.B) {
	edit := keymap.Map[int]{}.Edit()
	for i := range b.N {
		edit.Put(fmt.Appendf(nil, "key-%08d", i%100000), i)
		edit.Map()
	}
	if !bytes.HasPrefix(edit.Map().Ascend(nil).Key(), []byte("key-")) {
		b.Fatal("no keys")
	}
}
