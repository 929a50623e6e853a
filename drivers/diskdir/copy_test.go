package diskdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
)

func create(t testing.TB, path string) *os.File {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// put writes at a place.
func put(t testing.TB, file *os.File, at int64, content []byte) {
	t.Helper()
	if _, err := file.WriteAt(content, at); err != nil {
		t.Fatal(err)
	}
}

// kinds runs a test on every kind of file system.
func kinds(t *testing.T, test func(t *testing.T, dir string, shares bool)) {
	for kind, size := range map[diskdirtest.Kind]int64{
		diskdirtest.Ext4: 64, diskdirtest.XFS: diskdirtest.SmallestXFS, diskdirtest.Btrfs: diskdirtest.SmallestBtrfs,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, diskdirtest.Mount(t, kind, size), kind != diskdirtest.Ext4)
		})
	}
}

func TestCopyKeepsContentAndHoles(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, dir string, _ bool) {
		source := create(t, filepath.Join(dir, "source"))
		put(t, source, 0, []byte("begin"))
		put(t, source, 5<<20, bytes.Repeat([]byte("middle "), 100_000))
		put(t, source, 40<<30, []byte("far"))
		if err := source.Truncate(50 << 30); err != nil {
			t.Fatal(err)
		}
		copied := create(t, filepath.Join(dir, "copy"))
		var last int64
		err := diskdir.Copy(t.Context(), copied, source, func(done, total int64) {
			if done < last || done > total || total != 50<<30 {
				t.Errorf("progress went from %d to %d of %d", last, done, total)
			}
			last = done
		})
		if err != nil {
			t.Fatal(err)
		}
		info, err := copied.Stat()
		if err != nil || info.Size() != 50<<30 {
			t.Fatalf("the copy has %d bytes, %v; want %d", info.Size(), err, int64(50<<30))
		}
		for at, want := range map[int64]string{
			0: "begin\x00", 5 << 20: "middle ", 40 << 30: "far\x00", 30 << 30: "\x00\x00",
		} {
			got := make([]byte, len(want))
			if _, err := copied.ReadAt(got, at); err != nil || string(got) != want {
				t.Errorf("at %d the copy holds %q, %v; want %q", at, got, err, want)
			}
		}
		if taken, err := diskdir.Allocated(copied); err != nil || taken > 4<<20 {
			t.Errorf("the copy takes %d bytes, %v; holes were filled", taken, err)
		}
	})
}

func TestShareWhereTheFileSystemCan(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, dir string, shares bool) {
		source, copied := create(t, filepath.Join(dir, "source")), create(t, filepath.Join(dir, "copy"))
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		put(t, source, 0, content)
		shared, err := diskdir.Share(copied, source)
		if err != nil || shared != shares {
			t.Fatalf("shared = %v, %v; want %v", shared, err, shares)
		}
		if !shared {
			return
		}
		put(t, source, 0, []byte("changed later"))
		got := make([]byte, len(content))
		if _, err := copied.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
			t.Error("writing to the source changed the copy")
		}
	})
}

func TestShareAcrossFileSystemsIsNoError(t *testing.T) {
	t.Parallel()
	one := diskdirtest.Mount(t, diskdirtest.XFS, diskdirtest.SmallestXFS)
	source, copied := create(t, filepath.Join(t.TempDir(), "source")), create(t, filepath.Join(one, "copy"))
	put(t, source, 0, []byte("content"))
	if shared, err := diskdir.Share(copied, source); shared || err != nil {
		t.Errorf("shared = %v, %v; want false and no error", shared, err)
	}
	if err := diskdir.Copy(t.Context(), copied, source, nil); err != nil {
		t.Errorf("copying across file systems: %v", err)
	}
}

func TestCopyOntoAFullFileSystem(t *testing.T) {
	t.Parallel()
	small := diskdirtest.Mount(t, diskdirtest.Ext4, diskdirtest.SmallestExt4)
	source, copied := create(t, filepath.Join(t.TempDir(), "source")), create(t, filepath.Join(small, "copy"))
	put(t, source, 0, bytes.Repeat([]byte("x"), 16<<20))
	err := diskdir.Copy(t.Context(), copied, source, nil)
	if !diskdir.NoSpace(err) {
		t.Errorf("error = %v, want that there is no space", err)
	}
}

func TestCopyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, copied := create(t, filepath.Join(dir, "source")), create(t, filepath.Join(dir, "copy"))
	put(t, source, 0, bytes.Repeat([]byte("x"), 32<<20))
	ctx, cancel := context.WithCancel(t.Context())
	err := diskdir.Copy(ctx, copied, source, func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	if info, _ := copied.Stat(); info.Size() > 8<<20 {
		t.Errorf("%d bytes were copied after the cancel", info.Size())
	}
}

// TestCopyOfAnyShape copies files of random extents.
func TestCopyOfAnyShape(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		source := create(t, filepath.Join(dir, fmt.Sprint("source", n)))
		copied := create(t, filepath.Join(dir, fmt.Sprint("copy", n)))
		defer func() { _, _ = source.Close(), copied.Close() }()
		for _, at := range rapid.SliceOfN(rapid.Int64Range(0, 20<<20), 0, 8).Draw(rt, "at") {
			size := rapid.IntRange(1, 300_000).Draw(rt, "size")
			if _, err := source.WriteAt(bytes.Repeat([]byte{byte(at | 1)}, size), at); err != nil {
				rt.Fatal(err)
			}
		}
		if err := source.Truncate(rapid.Int64Range(0, 24<<20).Draw(rt, "end")); err != nil {
			rt.Fatal(err)
		}
		if err := diskdir.Copy(t.Context(), copied, source, nil); err != nil {
			rt.Fatal(err)
		}
		if !same(source, copied) {
			rt.Fatal("the copy differs from the source")
		}
	})
}

func same(a, b *os.File) bool {
	one, err := io.ReadAll(io.NewSectionReader(a, 0, 1<<40))
	other, err2 := io.ReadAll(io.NewSectionReader(b, 0, 1<<40))
	return err == nil && err2 == nil && bytes.Equal(one, other)
}

func TestSpaceAndFileSystem(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, point string, shares bool) {
		dir := claim(t, point)
		space, err := dir.Space()
		if err != nil || space.FileSystem != filepath.Base(point) {
			t.Errorf("space = %+v, %v; want file system %s", space, err, filepath.Base(point))
		}
		if space.Total < 50<<20 || space.Available > space.Total || space.Used()+space.Available != space.Total {
			t.Errorf("space = %+v does not add up", space)
		}
		if can, err := dir.CanShare(); err != nil || can != shares {
			t.Errorf("can share = %v, %v; want %v", can, err, shares)
		}
	})
}

// TestInUseByARealProcess asks about a disk that qemu-io, which locks like a guest does, has open.
func TestInUseByARealProcess(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("qemu-io")
	if err != nil {
		t.Fatal("qemu-io is missing: install the package qemu-utils")
	}
	path := filepath.Join(t.TempDir(), "disk.raw")
	file := create(t, path)
	if err := file.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if used, err := diskdir.InUse(file); used || err != nil {
		t.Fatalf("in use before anybody opened it: %v, %v", used, err)
	}
	command := exec.CommandContext(t.Context(), tool, "-f", "raw", path)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := output.Read(make([]byte, 1)); err != nil { // its prompt: the disk is open
		t.Fatal(err)
	}
	if used, err := diskdir.InUse(file); !used || err != nil {
		t.Errorf("in use = %v, %v while qemu-io has it open", used, err)
	}
	_ = input.Close()
	_, _ = io.Copy(io.Discard, output)
	if err := command.Wait(); err != nil {
		t.Fatal(err)
	}
	if used, err := diskdir.InUse(file); used || err != nil {
		t.Errorf("in use = %v, %v after qemu-io ended", used, err)
	}
}
