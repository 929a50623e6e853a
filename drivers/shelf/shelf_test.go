package shelf_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
)

const declaration = `apiVersion: bulkhead.dev/v1
kind: driver
name: example/shelf
version: 1.4.0
description: Volumes on an Example shelf.
categories: [storage]
license: Apache-2.0
author: Example Storage Ltd <drivers@example.com>
contract: {min: 1, max: 1}
entry:
  any: {interpreter: [/usr/bin/python3, -I], command: code/driver.py}
handles: {reads: [1], writes: 1}
`

// pack makes an archive with a text in it.
func pack(t *testing.T, text string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "code"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"driver.yaml": declaration, "LICENSE": "Do what you like.\n", "code/driver.py": text,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var car bytes.Buffer
	if _, err := archive.Pack(t.Context(), dir, &car, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	return car.Bytes()
}

func open(t *testing.T, dir string) *shelf.Shelf {
	t.Helper()
	s, err := shelf.Open(dir, archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestWhatIsPutIsGivenOn(t *testing.T) {
	a, b := open(t, t.TempDir()), open(t, t.TempDir())
	car := pack(t, "one")
	changed := a.Changed()
	found, err := a.Put(t.Context(), bytes.NewReader(car), "")
	if err != nil {
		t.Fatal(err)
	}
	<-changed
	if lacks := b.Lacks([]string{found.Digest, "sha256:no"}); len(lacks) != 2 {
		t.Errorf("an empty shelf lacks %v", lacks)
	}
	if _, err := b.Put(t.Context(), bytes.NewReader(pack(t, "two")), found.Digest); !errors.Is(err, archive.ErrDigest) {
		t.Errorf("another archive is taken for it: %v", err)
	}
	if err := b.Receive(t.Context(), found.Digest, 0, bytes.NewReader(car[:len(car)/2])); err == nil {
		t.Error("half of an archive is taken for all of it")
	}
	from, err := a.Open(found.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Receive(t.Context(), found.Digest, 0, from); err != nil {
		t.Fatal(err)
	}
	_ = from.Close()
	if lacks := b.Lacks([]string{found.Digest}); len(lacks) > 0 {
		t.Errorf("it still lacks %v", lacks)
	}
	if _, err := b.Load(t.Context(), found.Digest, found.Tree()); err != nil {
		t.Error(err)
	}
	if err := b.Keep(map[string]bool{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(found.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not to be kept can be opened: %v", err)
	}
}

// TestQuarantineLastsUntilPardoned: also over a restart, whatever is given meanwhile.
func TestQuarantineLastsUntilPardoned(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	car := pack(t, "one")
	found, err := s.Put(t.Context(), bytes.NewReader(car), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Quarantine(found.Digest, 3); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if mark, bad := s.Bad(found.Digest); !bad || mark != 3 {
		t.Errorf("it is marked %d, %v", mark, bad)
	}
	if lacks := s.Lacks([]string{found.Digest}); len(lacks) > 0 {
		t.Errorf("it asks for %v, which is in quarantine", lacks)
	}
	if err := s.Receive(t.Context(), found.Digest, 0, bytes.NewReader(car)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(found.Digest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was taken in: %v", err)
	}
	if kept, err := s.Quarantined(found.Digest); len(kept) != 1 || err != nil {
		t.Errorf("kept are %v, %v", kept, err)
	}
	if err := s.Pardon(t.Context(), found.Digest, found.Tree()); err != nil {
		t.Fatal(err)
	}
	if err := s.Receive(t.Context(), found.Digest, 0, bytes.NewReader(car)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), found.Digest, found.Tree()); err != nil {
		t.Error(err)
	}
}

// TestOneReceivesAtATime: what was cut off leaves nothing.
func TestOneReceivesAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	car := pack(t, "one")
	found, err := archive.Inspect(t.Context(), bytes.NewReader(car), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	from, into := io.Pipe()
	received := make(chan error, 1)
	go func() { received <- s.Receive(t.Context(), found.Digest, 0, from) }()
	if _, err := into.Write(car[:100]); err != nil {
		t.Fatal(err)
	}
	if err := s.Receive(t.Context(), found.Digest, 0, bytes.NewReader(car)); !errors.Is(err, shelf.ErrBusy) {
		t.Errorf("a second giver is told %v", err)
	}
	_ = into.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-received; err == nil {
		t.Error("what was cut off was taken")
	}
	if err := s.Receive(t.Context(), found.Digest, 0, bytes.NewReader(car)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sha256", ".*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestAQuarantineThatWasCutOff: what was changed does not come back into use with the pardon.
func TestAQuarantineThatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	car := pack(t, "one")
	found, err := s.Put(t.Context(), bytes.NewReader(car), "")
	if err != nil {
		t.Fatal(err)
	}
	license := filepath.Join(s.Dir(found.Digest), "LICENSE")
	if err := errors.Join(
		os.Chmod(license, 0o644), os.WriteFile(license, []byte("Pay.\n"), 0o644),
		os.WriteFile(s.Dir(found.Digest)+".bad", []byte("1"), 0o600), // the first thing that a quarantine does
	); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if err := s.Pardon(t.Context(), found.Digest, found.Tree()); err != nil {
		t.Fatal(err)
	}
	if lacks := s.Lacks([]string{found.Digest}); len(lacks) != 1 {
		t.Error("it does not ask for it anew")
	}
	if kept, err := s.Quarantined(found.Digest); len(kept) != 1 || err != nil {
		t.Errorf("kept are %v, %v", kept, err)
	}
	if err := s.Receive(t.Context(), found.Digest, found.Bytes, bytes.NewReader(car)); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), found.Digest, found.Tree()); err != nil {
		t.Error(err)
	}
}

// TestWhatIsPutInQuarantineStays: it was put here to be installed again.
func TestWhatIsPutInQuarantineStays(t *testing.T) {
	s := open(t, t.TempDir())
	car := pack(t, "one")
	found, err := s.Put(t.Context(), bytes.NewReader(car), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Quarantine(found.Digest, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), bytes.NewReader(car), ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Pardon(t.Context(), found.Digest, found.Tree()); err != nil {
		t.Fatal(err)
	}
	if lacks := s.Lacks([]string{found.Digest}); len(lacks) > 0 {
		t.Error("it is asked for again")
	}
}
