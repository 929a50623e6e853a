package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own, in a file, that can be filled, break and be slow.
type Disk struct {
	// Path is where it is mounted.
	Path   string
	device string
	group  string // of the processes that are slowed down
}

// ballast is the file that fills a disk.
const ballast = "ballast"

// NewDisk makes a disk of so many bytes in the file image, which must not be there yet, and mounts it at path. It is
// gone, but for the file, with the last process of the lab.
func NewDisk(ctx context.Context, image, path string, size int64) (*Disk, error) {
	file, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a disk: %w", err)
	}
	if err := errors.Join(file.Truncate(size), file.Close(), os.MkdirAll(path, 0o711)); err != nil {
		return nil, fmt.Errorf("making a disk: %w", err)
	}
	d := &Disk{Path: path}
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil {
		return nil, err
	}
	device, err := run(ctx, "losetup", "--find", "--show", "--direct-io=on", image)
	if err != nil {
		return nil, err
	}
	d.device = strings.TrimSpace(device)
	err = d.mount(ctx)
	// From here on the device is gone when nobody has it mounted or open any more.
	_, detached := run(ctx, "losetup", "--detach", d.device)
	return d, errors.Join(err, detached)
}

func (d *Disk) mount(ctx context.Context) error {
	_, err := run(ctx, "mount", "-t", "ext4", d.device, d.Path)
	return err
}

func run(ctx context.Context, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("running %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Fill leaves no byte free, until heal is called.
func (d *Disk) Fill() (heal func(context.Context) error, err error) {
	path := filepath.Join(d.Path, ballast)
	heal = func(context.Context) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("freeing a disk: %w", err)
		}
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return heal, fmt.Errorf("filling a disk: %w", err)
	}
	defer file.Close()
	// In ever smaller pieces: what others write meanwhile does not matter.
	for piece, at := int64(256<<20), int64(0); piece >= 4096; {
		err := unix.Fallocate(int(file.Fd()), 0, at, piece)
		switch {
		case err == nil:
			at += piece
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			return heal, fmt.Errorf("filling a disk: %w", err)
		}
	}
	return heal, nil
}

// Break has the file system be read-only at once, as it is when its device fails: what was not synced is lost. Heal,
// to be called when no process has files of it open any more, checks it and mounts it again.
func (d *Disk) Break(ctx context.Context) (heal func(context.Context) error, err error) {
	if _, err := run(ctx, "mount", "-o", "remount,abort", d.Path); err != nil {
		return nil, err
	}
	return d.repair, nil
}

func (d *Disk) repair(ctx context.Context) error {
	// Mounted or not, the device must be kept while nobody has it mounted.
	keep, err := os.Open(d.device)
	if err != nil {
		return fmt.Errorf("repairing a disk: %w", err)
	}
	defer keep.Close()
	if err := unix.Unmount(d.Path, 0); err != nil {
		return fmt.Errorf("unmounting %s: %w", d.Path, err)
	}
	_, err = run(ctx, "e2fsck", "-f", "-y", d.device)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() <= 1 { // it mended something
		err = nil
	}
	return errors.Join(err, d.mount(ctx))
}

// ErrNoThrottle says that this machine can't slow a disk down.
var ErrNoThrottle = errors.New("there is no control group of block devices that can be limited (blkio of version 1)")

// Slow has a process do so few operations a second on the disk, until heal is called.
func (d *Disk) Slow(pid, operations int) (heal func(context.Context) error, err error) {
	dir, err := d.throttle()
	if err != nil {
		return nil, err
	}
	limit := func(n int) error {
		var info unix.Stat_t
		if err := unix.Stat(d.device, &info); err != nil {
			return fmt.Errorf("looking at %s: %w", d.device, err)
		}
		line := fmt.Sprintf("%d:%d %d", unix.Major(info.Rdev), unix.Minor(info.Rdev), n)
		path := filepath.Join(dir, "blkio.throttle.write_iops_device")
		if err := os.WriteFile(path, []byte(line), 0); err != nil {
			return fmt.Errorf("limiting %s: %w", d.device, err)
		}
		return nil
	}
	heal = func(context.Context) error { return limit(0) }
	return heal, errors.Join(limit(operations), enterGroup(dir, pid))
}

// throttle is the group of those that are slow on this disk.
func (d *Disk) throttle() (string, error) {
	if d.group != "" {
		return d.group, nil
	}
	mine := filepath.Join(os.Getenv(groupVariable), "slow-"+filepath.Base(d.device))
	for _, dir := range hierarchies() { // this process is in a group of the run by now
		if !strings.HasPrefix(dir, filepath.Join(cgroupRoot, "blkio")) {
			continue
		}
		dir = filepath.Join(dir, filepath.Base(mine))
		if err := os.Mkdir(dir, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			d.group = dir
			return dir, nil
		}
	}
	return "", ErrNoThrottle
}

// Close unmounts the disk. Nobody may have files of it open.
func (d *Disk) Close() error {
	if err := unix.Unmount(d.Path, 0); err != nil {
		return fmt.Errorf("unmounting %s: %w", d.Path, err)
	}
	return nil
}
