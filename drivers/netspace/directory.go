package netspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultDirectory is where ip-netns(8) looks for named namespaces.
const DefaultDirectory = "/run/netns"

// lockPause is how long a waiter for the lock of a directory sleeps between two tries: flock(2) knows no deadline.
const lockPause = 5 * time.Millisecond

// Directory holds named namespaces. It has no memory of its own: the names are the directory's entries.
type Directory struct {
	path string
}

// OpenDirectory returns the directory at path, which is made with the first namespace.
func OpenDirectory(path string) *Directory {
	return &Directory{path: path}
}

// Path returns where a namespace of this name is or would be.
func (d *Directory) Path(name string) string {
	return filepath.Join(d.path, name)
}

// Ensure makes the namespace unless it is there. It completes one that was half made when its maker was killed. The
// caller holds the lock of the directory if others may work on it.
func (d *Directory) Ensure(name string) error {
	if err := d.ensure(); err != nil {
		return err
	}
	path := d.Path(name)
	made, err := isNamespace(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at network namespace %s: %w", name, err)
	}
	if made {
		return nil
	}
	if err := d.share(); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return fmt.Errorf("making the mount point of network namespace %s: %w", name, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("making the mount point of network namespace %s: %w", name, err)
	}
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unsharing: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting on %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		_ = os.Remove(path) // or the next listing shows a namespace that is none
		return fmt.Errorf("making network namespace %s: %w", name, err)
	}
	return nil
}

// ensure makes the directory as ip-netns(8) would, whatever the umask is. One that is there stays as it is.
func (d *Directory) ensure() error {
	err := os.Mkdir(d.path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(d.path, 0o755)
	}
	if err != nil {
		return fmt.Errorf("making the directory of network namespaces: %w", err)
	}
	return nil
}

// share makes the directory a mount point that propagates, as ip-netns(8) and CNI do before their first namespace:
// mounts in it reach other mount namespaces. It has to come before ours, too, because whoever does it later mounts the
// directory over itself and so buries the mounts that are there, which then can't be removed any more.
func (d *Directory) share() error {
	err := unix.Mount("", d.path, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(d.path, d.path, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", d.path, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("sharing the directory of network namespaces: %w", err)
	}
	return nil
}

// Remove takes the name away; the namespace ends with its last process. Removing what is gone succeeds.
func (d *Directory) Remove(name string) error {
	path := d.Path(name)
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing network namespace %s: %w", name, err)
	}
	return nil
}

// RemoveVacant takes the name away if nothing is in the namespace; else whoever takes the last thing out of it does.
// It waits for the lock of the directory.
func (d *Directory) RemoveVacant(ctx context.Context, name string) error {
	unlock, err := d.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	space, err := d.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return d.Remove(name) // a mount point without a namespace may be left
	}
	if err != nil {
		return err
	}
	defer space.Close()
	if vacant, err := space.Vacant(); err != nil || !vacant {
		return err
	}
	return d.Remove(name)
}

// Open enters nothing yet: it returns the namespace to work in. The error wraps fs.ErrNotExist when there is none of
// this name, also when only its mount point is left.
func (d *Directory) Open(name string) (*Space, error) {
	path := d.Path(name)
	made, err := isNamespace(path)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", name, err)
	}
	if !made {
		return nil, fmt.Errorf("opening network namespace %s: not mounted: %w", name, fs.ErrNotExist)
	}
	return openSpace(name, path)
}

// List returns the names of all namespaces in the directory, whoever made them.
func (d *Directory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// Lock waits until nobody else on the machine holds the directory, in this process or another, and returns the
// unlock function. The lock ends with the process at the latest.
func (d *Directory) Lock(ctx context.Context) (unlock func(), err error) {
	if err := d.ensure(); err != nil {
		return nil, err
	}
	file, err := os.Open(d.path)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of network namespaces: %w", err)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, fmt.Errorf("locking the directory of network namespaces: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("waiting for the lock of the network namespaces: %w", ctx.Err())
		case <-time.After(lockPause):
		}
	}
}

// isNamespace tells whether path is a mounted namespace rather than an empty mount point.
func isNamespace(path string) (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return false, err
	}
	return stat.Type == unix.NSFS_MAGIC, nil
}
