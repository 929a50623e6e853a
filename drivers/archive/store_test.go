package archive_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

func TestUnpackVerifyLoadRemove(t *testing.T) {
	car, packing := pack(t, tree(t, content(t)))
	store := openStore(t, t.TempDir())
	for range 2 {
		unpacked, err := store.Unpack(t.Context(), bytes.NewReader(car), packing.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if unpacked.Tree() != packing.Tree() {
			t.Error("another tree")
		}
	}
	dir := store.Dir(packing.Digest)
	for name, mode := range map[string]fs.FileMode{
		".": 0o555, "code": 0o555, "lib/deep/er": 0o555, "code/driver": 0o555, "driver.yaml": 0o444, "files.json": 0o444,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %s, want %s", name, info.Mode(), mode)
		}
	}
	if err := store.Verify(t.Context(), packing.Digest, packing.Tree()); err != nil {
		t.Error(err)
	}
	loaded, err := store.Load(packing.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Declaration.Version != "1.4.0" || loaded.Tree() != packing.Tree() || loaded.Messages["en"] == nil {
		t.Errorf("loaded %+v", loaded)
	}
	if digests, err := store.Digests(); err != nil || len(digests) != 1 || digests[0] != packing.Digest {
		t.Errorf("got %v, %v", digests, err)
	}
	for range 2 {
		if err := store.Remove(packing.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Verify(t.Context(), packing.Digest, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that it is not there", err)
	}
}

func TestUnpackRefusesAnotherDigest(t *testing.T) {
	car, _ := pack(t, tree(t, content(t)))
	dir := t.TempDir()
	store := openStore(t, dir)
	_, err := store.Unpack(t.Context(), bytes.NewReader(car), "sha256:"+strings.Repeat("0", 64))
	if !errors.Is(err, archive.ErrDigest) {
		t.Errorf("got %v, want another digest", err)
	}
	empty(t, filepath.Join(dir, "sha256"))
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("%s was left", entry.Name())
	}
}
