package record_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
)

func TestSaveLoadRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	var got map[string]int
	if err := record.Load(path, &got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before: got %v, want ErrNotExist", err)
	}
	for _, want := range []int{1, 2} {
		if err := record.Save(path, map[string]int{"a": want}); err != nil {
			t.Fatal(err)
		}
		if err := record.Load(path, &got); err != nil || got["a"] != want {
			t.Errorf("got %v, %v; want %d", got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v; want 0600", info.Mode(), err)
	}
	for range 2 {
		if err := record.Remove(path); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	if err := record.Save(filepath.Join(path, "no", "directory"), 1); err == nil {
		t.Error("saved where there is no directory")
	}
	if err := record.Save(path, func() {}); err == nil {
		t.Error("saved what has no JSON")
	}
}
