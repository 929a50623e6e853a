package badgerstore_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

// TestDamage flips bits in, cuts and removes each file of a store, one at a time. Either Open refuses with ErrCorrupt,
// or everything is still there. What is still in a write-ahead file may be lost from some update on.
func TestDamage(t *testing.T) {
	const updates = 400
	good := filepath.Join(t.TempDir(), "good")
	s := openSmall(t, good)
	if err := s.KeepLog(growing); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(updates) {
		write(t, s, n+1)
		if n == updates/2 { // the first half in a table, the second in a write-ahead file
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openSmall(t, good)
		}
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(good)); err != nil { // as a killed process leaves it
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{good, crashed} {
		for _, file := range filesOf(t, base) {
			if strings.HasSuffix(file, "LOCK") {
				continue // it has no content of ours
			}
			name := filepath.Base(base) + "/" + file
			t.Run(name, func(t *testing.T) { damageFile(t, base, file, updates) })
		}
	}
}

// write writes what belongs to n, in a Badger transaction of its own.
func write(tb testing.TB, s *badgerstore.Store, n uint64) {
	tb.Helper()
	err := s.Update(func(w persistence.Writer) error { return writeNumber(w, n, onlySmall) })
	if err := errors.Join(err, s.Settle()); err != nil {
		tb.Fatal(err)
	}
}

func filesOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func damageFile(t *testing.T, base, file string, updates uint64) {
	dir := t.TempDir()
	path := filepath.Join(dir, file)
	content, err := os.ReadFile(filepath.Join(base, file))
	if err != nil {
		t.Fatal(err)
	}
	used := len(strings.TrimRight(string(content), "\x00"))
	r := rand.New(rand.NewPCG(1, uint64(used)))
	refused := 0
	attempt := func(what string, damage func() error) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.CopyFS(dir, os.DirFS(base)), damage()); err != nil {
			t.Fatal(err)
		}
		ok, err := openDamaged(dir, updates, mayEnd(t, base, file))
		if err != nil {
			t.Errorf("%s %s: %v", what, file, err)
		}
		if !ok {
			refused++
		}
	}
	for i := range 12 {
		at := 0
		switch {
		case used == 0:
			continue
		case i < 3: // the lengths at the end of a table are what Badger trusts most
			at = used - 1 - min(i*3, used-1)
		default:
			at = r.IntN(used)
		}
		bad := append([]byte{}, content...)
		bad[at] ^= 1 << r.IntN(8)
		attempt(fmt.Sprintf("byte %d of %d flipped in", at, used), func() error { return os.WriteFile(path, bad, 0o600) })
	}
	if filepath.Base(base) != "crashed" || filepath.Base(file) != "MANIFEST" {
		// After a crash a manifest without its end cannot be told from one that was being written. See SEAL.
		attempt("half of", func() error { return os.WriteFile(path, content[:used/2], 0o600) })
	}
	attempt("without", func() error { return os.Remove(path) })
	t.Logf("refused %d", refused)
}

// mayEnd reports whether a store may open with fewer updates after a file was damaged: that had the last ones alone.
func mayEnd(t *testing.T, base, file string) bool {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(base, "state-*", "log", "*.log"))
	if err != nil || len(segments) < 2 {
		t.Fatalf("there are segments %q: %v", segments, err)
	}
	last := segments[len(segments)-1]
	return strings.HasSuffix(file, ".mem") || filepath.Join(base, file) == last && filepath.Base(base) == "crashed"
}

// openDamaged opens a store in which one file was damaged. Ok says that it opened.
func openDamaged(dir string, updates uint64, mayEnd bool) (ok bool, err error) {
	s, err := badgerstore.Open(small(dir))
	if errors.Is(err, persistence.ErrCorrupt) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("opening: %w, want ErrCorrupt", err)
	}
	n, err := checkPrefix(s, onlySmall)
	if err == nil && n < updates && !mayEnd {
		err = fmt.Errorf("it opens, but at %d of %d", n, updates)
	}
	return true, errors.Join(err, s.Close())
}
