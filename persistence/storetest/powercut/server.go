package powercut

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// serverEnv has, for the process that is a disk, the image, the file to serve it at, the folder to mount it on, and how
// long a flush takes.
const serverEnv = "POWERCUT_SERVER"

// Main is for TestMain, or the beginning of main: it serves a disk if this process was started for that, and answers
// whether it was.
func Main() bool {
	args := strings.Split(os.Getenv(serverEnv), "\n")
	if len(args) != 4 {
		return false
	}
	flush, err := time.ParseDuration(args[3])
	if err == nil {
		err = serve(args[0], args[1], args[2], flush, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "powercut:", err)
	}
	return true
}

// serve mounts a disk until commands end. At a line of commands it cuts the power and says so with a line in out.
func serve(image, at, dir string, flush time.Duration, commands io.Reader, out io.Writer) error {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f, err := mountFuse(at, &device{image: file, size: info.Size(), delay: flush})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- f.serve() }()
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
	if err := run("mount", "-o", "loop", at, dir); err != nil {
		return err
	}
	fmt.Fprintln(out, "mounted")
	if !bufio.NewScanner(commands).Scan() {
		return errors.Join(unmount(at, dir), f.device.flush())
	}
	shares := []float64{0, 0.1, 0.5, 0.9, 1}
	if err := f.cut(shares[rand.IntN(len(shares))]); err != nil {
		return err
	}
	fmt.Fprintln(out, "dark")
	_, err = io.Copy(io.Discard, commands) // until what waits for the disk is dead
	return errors.Join(err, abort(at, dir))
}

// unmount unmounts the file system, also one that a test which failed left in use.
func unmount(at, dir string) error {
	err := run("umount", dir)
	if err != nil {
		err = errors.Join(err, abort(at, dir))
	}
	return err
}

// abort gives errors to whoever still waits for the disk, and unmounts the file system without it.
func abort(at, dir string) error {
	_ = unix.Unmount(at, unix.MNT_FORCE) // it is in use and stays mounted, but nothing waits for it any more
	return unix.Unmount(dir, unix.MNT_DETACH)
}

func run(name string, args ...string) error {
	out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
