package diskdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	stagingFolder = "staging"
	folderMode    = 0o2770
	fileMode      = 0o660
)

// Owner is the resource a directory belongs to.
type Owner struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Dir is the open directory of an owner, with a fixed set of folders. Safe for concurrent use. Close it after use:
// it is cheap to open, and opening it anew for each call is what notices that a file system was unmounted.
type Dir struct {
	path    string
	owner   Owner
	root    *os.File
	folders map[string]*os.File
}

// Claim opens the directory at path for owner. A directory that is empty and belongs to nobody becomes the owner's;
// one with the owner's mark is opened again. The faults name property, a JSON pointer.
func Claim(path string, owner Owner, property string, folders ...string) (*Dir, error) {
	d, err := openRoot(path, owner)
	if err != nil {
		return nil, claimFault(err, path, property)
	}
	if err := d.claim(folders); err != nil {
		d.Close()
		return nil, claimFault(err, path, property)
	}
	return d, nil
}

// Open opens a directory that was claimed before. What is missing now is taken for a file system that is not mounted:
// a transient fault.
func Open(path string, owner Owner, folders ...string) (*Dir, error) {
	d, err := openRoot(path, owner)
	if err != nil {
		return nil, openFault(err, path)
	}
	found, err := d.readMark()
	if err == nil {
		err = d.checkOwner(found)
	}
	if err == nil {
		err = d.openFolders(append(slices.Clone(folders), stagingFolder))
	}
	if err != nil {
		d.Close()
		return nil, openFault(err, path)
	}
	return d, nil
}

func openRoot(path string, owner Owner) (*Dir, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return nil, errNotAbsolute
	}
	root, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening directory: %w", err)
	}
	return &Dir{path: path, owner: owner, root: root, folders: map[string]*os.File{}}, nil
}

// Close gives the descriptors back.
func (d *Dir) Close() {
	for _, folder := range d.folders {
		_ = folder.Close()
	}
	_ = d.root.Close()
}

// Inode tells one directory from another that is mounted over it.
func (d *Dir) Inode() (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(d.root.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("reading %s: %w", d.path, err)
	}
	return stat.Ino, nil
}

// Path is where a file is, for programs that are given names.
func (d *Dir) Path(folder, name string) string {
	return filepath.Join(d.path, folder, name)
}

func (d *Dir) claim(folders []string) error {
	found, err := d.readMark()
	if errors.Is(err, errNoMark) {
		found, err = d.writeMark()
	}
	if err != nil {
		return err
	}
	if err := d.checkOwner(found); err != nil {
		return err
	}
	if err := d.openFolders(append(slices.Clone(folders), stagingFolder)); err != nil {
		return err
	}
	return d.tryWriting()
}

// tryWriting makes and removes a staged file, for there is no other honest answer to whether one can be made.
func (d *Dir) tryWriting() error {
	staged, err := d.Stage("probe")
	if err != nil {
		return err
	}
	staged.Discard()
	return nil
}

// openFolders opens the folders and makes those that are missing, as after a crash in the middle of Claim or Unclaim.
func (d *Dir) openFolders(names []string) error {
	for _, name := range names {
		folder, err := openAt(d.root, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, fs.ErrNotExist) {
			folder, err = d.makeFolder(name)
		}
		if err != nil {
			return fmt.Errorf("opening folder %s: %w", name, err)
		}
		d.folders[name] = folder
	}
	return nil
}

func (d *Dir) makeFolder(name string) (*os.File, error) {
	err := unix.Mkdirat(int(d.root.Fd()), name, 0o770)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making folder: %w", err)
	}
	folder, err := openAt(d.root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(setMode(folder, folderMode), syncFile(d.root)); err != nil {
		_ = folder.Close()
		return nil, err
	}
	return folder, nil
}

// setMode sets a mode whatever the umask. A file of another instance's user keeps the one it was given by that.
func setMode(file *os.File, mode uint32) error {
	err := unix.Fchmod(int(file.Fd()), mode)
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("setting mode of %s: %w", filepath.Base(file.Name()), err)
	}
	return nil
}

// Unclaim makes the directory nobody's again: folders and mark are removed. A folder that is not empty is a fault of
// class CONFLICT, "not-empty", and everything stays. Staged leftovers of dead processes do not count.
func (d *Dir) Unclaim() error {
	if _, err := d.Sweep(); err != nil {
		return err
	}
	for name, folder := range d.folders {
		names, err := namesIn(folder)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return notEmptyFault(d.path, name, len(names))
		}
	}
	for name := range d.folders {
		err := unix.Unlinkat(int(d.root.Fd()), name, unix.AT_REMOVEDIR)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing folder %s: %w", name, err)
		}
	}
	return d.removeMark()
}

// openAt opens a direct child of a directory without following a link.
func openAt(parent *os.File, name string, flags int) (*os.File, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return nil, fmt.Errorf("opening %q: %w", name, fs.ErrInvalid)
	}
	for {
		fd, err := unix.Openat(int(parent.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, fileMode)
		if err == nil {
			return os.NewFile(uintptr(fd), filepath.Join(parent.Name(), name)), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
	}
}

func syncFile(file *os.File) error {
	if err := file.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", filepath.Base(file.Name()), err)
	}
	return nil
}

// Absent tells whether owner has nothing at path, so that there is nothing to unclaim. Inode is the directory that was
// claimed, 0 if none is known to have been. Of that very directory a missing mark is believed, of any other it is not:
// it may be what a file system that is not mounted leaves behind.
func Absent(path string, owner Owner, inode uint64) (bool, error) {
	d, err := openRoot(path, owner)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return inode == 0, nil // Open says what is wrong with it
	}
	defer d.Close()
	found, err := d.readMark()
	switch {
	case err == nil && found == owner:
		return false, nil
	case inode == 0:
		return true, nil
	case !errors.Is(err, errNoMark):
		return false, nil
	}
	now, err := d.Inode()
	return now == inode, err
}
