package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// TestDiskAlmostFull fills a real file system up to the reserve. Updates must be refused with everything as it was, and
// go on as soon as there is room again, without a reopen.
func TestDiskAlmostFull(t *testing.T) {
	d := powercut.New(t, 400<<20)
	dir := filepath.Join(d.Dir, "db")
	opts := badgerstore.Options{Dir: dir, ReserveBytes: 64 << 20}
	s, err := badgerstore.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(50) {
		write(t, s, n+1)
	}
	ballast := filepath.Join(d.Dir, "ballast")
	fill(t, d.Dir, ballast, 60<<20)
	err = s.Update(func(w persistence.Writer) error { return writeNumber(w, 51, onlySmall) })
	if !errors.Is(err, persistence.ErrDiskFull) {
		t.Errorf("Update on a disk that is almost full = %v, want ErrDiskFull", err)
	}
	if n, err := checkPrefix(s, onlySmall); err != nil || n != 50 {
		t.Errorf("after the refusal the store is at %d, %v, want 50", n, err)
	}
	if err := s.Sync(); err != nil {
		t.Errorf("Sync on a disk that is almost full: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	write(t, s, 51)
	fill(t, d.Dir, ballast, 60<<20)
	if err := s.Close(); err != nil {
		t.Errorf("Close on a disk that is almost full: %v", err)
	}
	if _, err := badgerstore.Open(opts); !errors.Is(err, persistence.ErrDiskFull) {
		t.Errorf("Open on a disk that is almost full = %v, want ErrDiskFull", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if s, err = badgerstore.Open(opts); err != nil {
		t.Fatal(err)
	}
	if n, err := checkPrefix(s, onlySmall); err != nil || n != 51 {
		t.Errorf("after making room the store is at %d, %v, want 51", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill takes all of a file system but left bytes.
func fill(t *testing.T, mount, file string, left uint64) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(mount, &fs); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail*uint64(fs.Bsize)-left))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
