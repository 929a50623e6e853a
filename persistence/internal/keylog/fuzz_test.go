package keylog_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
)

// FuzzOpen opens whatever is in a segment: there is no panic, and what was read is read again.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	l, err := keylog.Open(dir, keylog.SegmentBytes)
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Append(all([]pair{{"a", "1"}, {"b", ""}, {"c", "three"}})); err != nil {
		f.Fatal(err)
	}
	l.Close()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		f.Fatal(err, files)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 'k'})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(files[0])), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir)
		v := l.View(nil)
		first := walk(t, v.Ascend(nil))
		v.Release()
		l.Close()
		again := open(t, dir)
		defer again.Close()
		v = again.View(nil)
		defer v.Release()
		if second := walk(t, v.Ascend(nil)); !slices.Equal(first, second) {
			t.Errorf("first %d keys, then %d", len(first), len(second))
		}
	})
}
