package archive_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// TestTwoAtOnceAndManyTimes: all unpack the same, and open the store while others do.
func TestTwoAtOnceAndManyTimes(t *testing.T) {
	car, packing := pack(t, tree(t, content(t)))
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			store, err := archive.OpenStore(dir, archive.DefaultLimits()) // sweeps while others unpack
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = store.Close() }()
			for range 5 {
				if _, err := store.Unpack(t.Context(), bytes.NewReader(car), packing.Digest); err != nil {
					t.Error(err)
				}
				if err := store.Verify(t.Context(), packing.Digest, packing.Tree()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	onlyWhole(t, dir, packing)
}

// onlyWhole checks that a store holds at most the one archive, whole, and nothing else once it was swept.
func onlyWhole(t *testing.T, dir string, packing *archive.Packing) (there bool) {
	t.Helper()
	store := openStore(t, dir)
	err := store.Verify(t.Context(), packing.Digest, packing.Tree())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what has the name is not whole: %v", err)
	}
	entries, readErr := os.ReadDir(filepath.Join(dir, "sha256"))
	if readErr != nil {
		t.Fatal(readErr)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(packing.Digest, entry.Name()) {
			t.Errorf("%s was left", entry.Name())
		}
	}
	return err == nil
}

// TestKilledAtEachMoment traces a child that unpacks and kills it at its n-th call that changes files, for all n.
func TestKilledAtEachMoment(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("this test kills a program at chosen system calls with strace: install strace")
	}
	car, packing := pack(t, tree(t, content(t)))
	file := filepath.Join(t.TempDir(), "my.car")
	if err := os.WriteFile(file, car, 0o644); err != nil {
		t.Fatal(err)
	}
	moments := 0
	for _, call := range []string{"mkdirat", "openat", "write", "fchmod", "fsync", "renameat", "flock", "unlinkat"} {
		for n := 1; ; n += 1 + n/8 {
			dir := t.TempDir()
			killed := child(t, file, dir, call, n)
			moments++
			if there := onlyWhole(t, dir, packing); !there && !killed {
				t.Errorf("%s %d: it ended and nothing is there", call, n)
			}
			store := openStore(t, dir)
			if _, err := store.Unpack(t.Context(), bytes.NewReader(car), packing.Digest); err != nil {
				t.Errorf("%s %d: the next one can't: %v", call, n, err)
			}
			if err := store.Verify(t.Context(), packing.Digest, packing.Tree()); err != nil {
				t.Errorf("%s %d: %v", call, n, err)
			}
			if !killed {
				break
			}
		}
	}
	t.Logf("killed or let live at %d moments", moments)
}

// child unpacks in a process of its own that is killed at the n-th of a system call; false when it lived.
func child(t *testing.T, file, dir, call string, n int) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	command := exec.CommandContext(ctx, "strace", "-f", "-o", os.DevNull, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), self, "unpack", file, dir)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	err = command.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s %d: it does not end: %s", call, n, said.String())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		t.Fatalf("%s %d: %s", call, n, said.String())
	}
	return err != nil
}

// unpack is the child.
func unpack(file, dir string) error {
	store, err := archive.OpenStore(dir, archive.DefaultLimits())
	if err != nil {
		return err
	}
	car, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = store.Unpack(context.Background(), car, "")
	return err
}

func TestCorruptionIsSeen(t *testing.T) {
	car, packing := pack(t, tree(t, content(t)))
	for name, change := range map[string]func(dir string) error{
		"content": func(dir string) error {
			path := filepath.Join(dir, "code", "driver.py")
			return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("print(1)"), 0o644), os.Chmod(path, 0o444))
		},
		"same length": func(dir string) error {
			path := filepath.Join(dir, "code", "driver.py")
			return errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("PRINT()\n"), 0o644), os.Chmod(path, 0o444))
		},
		"mode": func(dir string) error { return os.Chmod(filepath.Join(dir, "code", "driver.py"), 0o644) },
		"setuid": func(dir string) error {
			return os.Chmod(filepath.Join(dir, "code", "driver"), 0o555|fs.ModeSetuid)
		},
		"directory's mode": func(dir string) error { return os.Chmod(filepath.Join(dir, "code"), 0o755) },
		"added": func(dir string) error {
			return writeInto(filepath.Join(dir, "code"), "evil.py", []byte("x"))
		},
		"gone": func(dir string) error {
			code := filepath.Join(dir, "code")
			return errors.Join(os.Chmod(code, 0o755), os.Remove(filepath.Join(code, "tool")), os.Chmod(code, 0o555))
		},
		"link": func(dir string) error {
			code := filepath.Join(dir, "code")
			return errors.Join(os.Chmod(code, 0o755), os.Remove(filepath.Join(code, "tool")),
				os.Symlink("/bin/sh", filepath.Join(code, "tool")), os.Chmod(code, 0o555))
		},
		"list of files gone": func(dir string) error {
			return errors.Join(os.Chmod(dir, 0o755), os.Remove(filepath.Join(dir, "files.json")))
		},
		"list of files rewritten": func(dir string) error {
			path := filepath.Join(dir, "files.json")
			text, err := os.ReadFile(path)
			text = bytes.Replace(text, []byte("code/tool"), []byte("code/fool"), 1)
			return errors.Join(err, os.Chmod(path, 0o644), os.WriteFile(path, text, 0o644), os.Chmod(path, 0o444),
				os.Chmod(filepath.Join(dir, "code"), 0o755),
				os.Rename(filepath.Join(dir, "code", "tool"), filepath.Join(dir, "code", "fool")),
				os.Chmod(filepath.Join(dir, "code"), 0o555))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t, t.TempDir())
			unpack := func() {
				if _, err := store.Unpack(t.Context(), bytes.NewReader(car), packing.Digest); err != nil {
					t.Fatal(err)
				}
			}
			unpack()
			if err := change(store.Dir(packing.Digest)); err != nil {
				t.Fatal(err)
			}
			if err := store.Verify(t.Context(), packing.Digest, packing.Tree()); !errors.Is(err, archive.ErrCorrupt) {
				t.Fatalf("got %v, want that it was changed", err)
			}
			unpack() // puts it into quarantine, and makes it anew
			if err := store.Verify(t.Context(), packing.Digest, packing.Tree()); err != nil {
				t.Error(err)
			}
			if found, err := store.Quarantined(); err != nil || len(found) != 1 {
				t.Errorf("in quarantine are %v, %v", found, err)
			}
		})
	}
}

func writeInto(dir, name string, text []byte) error {
	path := filepath.Join(dir, name)
	return errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, text, 0o444), os.Chmod(dir, 0o555))
}

// TestReadingFailsMidway gives a reader that breaks after each number of bytes: nothing is left.
func TestReadingFailsMidway(t *testing.T) {
	car, _ := pack(t, tree(t, content(t)))
	dir := t.TempDir()
	store := openStore(t, dir)
	broken := errors.New("the line broke")
	for n := 0; n < len(car); n += 97 {
		from := io.MultiReader(bytes.NewReader(car[:n]), failing{broken})
		if _, err := store.Unpack(t.Context(), from, ""); !errors.Is(err, broken) {
			t.Fatalf("after %s bytes: got %v", strconv.Itoa(n), err)
		}
	}
	empty(t, filepath.Join(dir, "sha256"))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzUnpack(f *testing.F) {
	car, _ := pack(f, tree(f, content(f)))
	text, err := gzip.NewReader(bytes.NewReader(car))
	if err != nil {
		f.Fatal(err)
	}
	entries, err := io.ReadAll(text)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(car, false)
	f.Add(car[:len(car)/2], false)
	f.Add(entries, true)
	f.Fuzz(func(t *testing.T, car []byte, compress bool) {
		if compress {
			car = zipped(t, car)
		}
		dir := t.TempDir()
		store, err := archive.OpenStore(filepath.Join(dir, "store"), small())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = store.Close() }()
		made, err := store.Unpack(t.Context(), bytes.NewReader(car), "")
		if err == nil {
			err = store.Verify(t.Context(), made.Digest, made.Tree())
			if err != nil {
				t.Error(err)
			}
			if err := store.Remove(made.Digest); err != nil {
				t.Error(err)
			}
		}
		empty(t, filepath.Join(dir, "store", "sha256"))
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("there is more than the store: %v, %v", entries, err)
		}
	})
}
