package diskdirtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is a kind of file system.
type Kind string

// The kinds. XFS and Btrfs share blocks between copies, Ext4 does not.
const (
	Ext4  Kind = "ext4"
	XFS   Kind = "xfs"
	Btrfs Kind = "btrfs"
)

// Smallest sizes that the mkfs programs accept, in MiB.
const (
	SmallestExt4  = 8
	SmallestXFS   = 304
	SmallestBtrfs = 128
)

// Mount makes a file system of a kind and a size and returns where it is mounted. The image behind it is sparse.
func Mount(t testing.TB, kind Kind, mebibytes int64) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	file, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(mebibytes << 20); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(t.TempDir(), string(kind))
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, makers()[kind], image)
	mountLoop(t, image, point)
	return point
}

func makers() map[Kind][]string {
	return map[Kind][]string{
		Ext4:  {"mkfs.ext4", "-q", "-F", "-m", "0"},
		XFS:   {"mkfs.xfs", "-q", "-m", "reflink=1"},
		Btrfs: {"mkfs.btrfs", "-q", "-M"},
	}
}

// mountLoop waits for a loop device: the machine has few, and others use them too.
func mountLoop(t testing.TB, image, point string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, point).CombinedOutput()
		if err == nil {
			break
		}
		if !strings.Contains(string(out), "loop") || time.Now().After(deadline) {
			t.Fatalf("mounting %s: %v: %s (tests of file systems need root and loop devices)", image, err, out)
		}
		<-time.After(100 * time.Millisecond)
	}
	t.Cleanup(func() { unmount(t, point) })
}

// unmount waits for programs that were started beside the test: until they are executed they hold what it had open.
func unmount(t testing.TB, point string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	err := unix.Unmount(point, 0)
	for errors.Is(err, unix.EBUSY) && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond)
		err = unix.Unmount(point, 0)
	}
	if err != nil {
		t.Errorf("unmounting %s: %v", point, err)
		_ = unix.Unmount(point, unix.MNT_DETACH)
	}
}

// Remount mounts what is at point again, read-only or not, until the test ends.
func Remount(t testing.TB, point string, readOnly bool) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("", point, "", flags, ""); err != nil {
		t.Fatalf("mounting %s again: %v", point, err)
	}
}

func run(t testing.TB, command []string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		t.Fatalf("%s is missing: install e2fsprogs, xfsprogs and btrfs-progs", command[0])
	}
	out, err := exec.CommandContext(t.Context(), path, append(command[1:], args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command[0], err, out)
	}
}

// Cover mounts an empty file system in memory over a directory, which is what a missing mount looks like from above,
// and returns what takes it away again.
func Cover(t testing.TB, path string) (uncover func()) {
	t.Helper()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("covering %s: %v", path, err)
	}
	covered := true
	uncover = func() {
		if covered {
			covered = false
			unmount(t, path)
		}
	}
	t.Cleanup(uncover)
	return uncover
}
