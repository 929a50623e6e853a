package badgerstore_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

// TestTornLog: the end of the log is lost, as by a power loss, and the transactions that speak of it are not. The store
// opens with a prefix of the updates, all that the log still has.
func TestTornLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	keepLog(t, s)
	const settled, all = 100, 160
	for n := range uint64(all) {
		if write(t, s, n+1); n+1 == settled { // into a table
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
		}
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join("state-000001", "log", fmt.Sprintf("%020d.log", 0))
	log, err := os.ReadFile(filepath.Join(crashed, segment))
	if err != nil {
		t.Fatal(err)
	}
	at, n := 0, uint64(0)
	for ; at < len(log); n++ {
		torn(t, crashed, segment, log[:at], n, settled)
		length := 10 + int(binary.BigEndian.Uint16(log[at+4:])) + int(binary.BigEndian.Uint32(log[at+6:]))
		if n%7 == 0 {
			torn(t, crashed, segment, log[:at+length-1], n, settled)
			torn(t, crashed, segment, append(bytes.Clone(log[:at+3]), make([]byte, len(log)-at-3)...), n, settled)
		}
		at += length
	}
	if n != all {
		t.Fatalf("the log has %d records, want %d", n, all)
	}
	torn(t, crashed, segment, log, all, settled)
}

// torn opens a copy of a store whose log is only what is left.
func torn(t *testing.T, crashed, segment string, left []byte, records, settled uint64) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(dir, os.DirFS(crashed)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, segment), left, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := badgerstore.Open(small(dir))
	if records < settled {
		if !errors.Is(err, persistence.ErrCorrupt) {
			t.Fatalf("with %d of %d records that are in tables, Open = %v, want ErrCorrupt", records, settled, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("with %d records: %v", records, err)
	}
	n, err := checkPrefix(s, onlySmall)
	if err != nil || n != records {
		t.Fatalf("with %d records the store is at %d, %v", records, n, err)
	}
	write(t, s, n+1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if again, err := checkPrefix(s, onlySmall); err != nil || again != n+1 {
		t.Fatalf("one update later the store is at %d, %v, want %d", again, err, n+1)
	}
}

// TestTornBeforeTheLast: only the last write-ahead file can know of more than is in the log.
func TestTornBeforeTheLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir)
	keepLog(t, s)
	for n := range uint64(10) {
		write(t, s, n+1)
	}
	crashed := filepath.Join(t.TempDir(), "crashed")
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(crashed, "state-000001", "*.mem"))
	if err != nil || len(files) != 1 {
		t.Fatal(err, files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(crashed, "state-000001", "log", fmt.Sprintf("%020d.log", 0))
	later := filepath.Join(filepath.Dir(files[0]), "00099.mem")
	err = errors.Join(os.WriteFile(later, b, 0o600), os.Truncate(segment, 300))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.Open(small(crashed)); !errors.Is(err, persistence.ErrCorrupt) {
		t.Errorf("Open = %v, want ErrCorrupt", err)
	}
}

// FuzzWriteAhead reads whatever is in a write-ahead file.
func FuzzWriteAhead(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	keepLog(f, s)
	for n := range uint64(3) {
		write(f, s, n+1)
	}
	files, err := filepath.Glob(filepath.Join(s.Dir(), "*.mem"))
	if err != nil || len(files) != 1 {
		f.Fatal(err, files)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	data = bytes.TrimRight(data, "\x00")
	f.Add(data, int64(30))
	f.Add(data[:len(data)/2], int64(0))
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, data []byte, end int64) {
		at, err := badgerstore.FirstBehind(data, end)
		if err == nil && (at < 0 || at > len(data)) {
			t.Errorf("cut at %d of %d", at, len(data))
		}
		if _, panicked := errors.AsType[runtime.Error](err); panicked {
			t.Errorf("it panics: %v", err)
		}
	})
}
