package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"one", "a longer one", ""} {
		// What an interrupted call left, and others may read, is not written into.
		if err := os.WriteFile(path+durable.Temporary, []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := durable.ReplaceFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("the file holds %q, %v, want %q", got, err, content)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
		if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	}
}

func TestReplacingFailsAndLeavesWhatWasThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "f")
	if err := os.MkdirAll(filepath.Join(dir, "in it"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.ReplaceFile(dir, nil); err == nil {
		t.Error("a directory that is not empty was replaced by a file")
	}
	if _, err := os.Stat(dir + durable.Temporary); !os.IsNotExist(err) {
		t.Errorf("the temporary file is left: %v", err)
	}
}
