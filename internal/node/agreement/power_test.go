//go:build powerloss

package agreement_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestPowerLoss takes the disk away under a node, with all that was not yet written to it, again and again. The log is
// synced and the store is not: together they must have everything that was answered, once.
func TestPowerLoss(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root")
	}
	image, mount := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	run(t, "truncate", "-s", "1G", image)
	run(t, "mkfs.ext4", "-q", "-m", "0", image) // from e2fsprogs
	run(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() { run(t, "umount", mount) })
	answered := map[string]bool{}
	for range 8 {
		for _, name := range runChild(t, mount, func(cmd *exec.Cmd) { cutPower(t, cmd, mount) }) {
			answered[name] = true
		}
		run(t, "umount", mount)
		run(t, "mount", "-o", "loop", image, mount)
		c, n, err := counterNode(mount)
		if err != nil {
			t.Fatalf("opening after a power loss: %v", err)
		}
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkCounters(t, c, answered)
		stop(t, n, c)
	}
	t.Logf("%d commands answered", len(answered))
	checkReplay(t, mount)
}

// cutPower makes the file system forget what is not yet on its disk and refuse everything after, then ends the child.
func cutPower(t *testing.T, cmd *exec.Cmd, mount string) {
	t.Helper()
	const shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	f, err := os.Open(mount)
	if err != nil {
		t.Error(err)
		return
	}
	flag := uint32(2) // without flushing the journal
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		t.Errorf("shutting the file system down: %v", errno)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}
