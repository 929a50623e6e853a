package diskdir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that something has the name of a disk file but is a link, a folder or a device.
var ErrNotRegular = errors.New("not a regular file")

// Entry is a file in a folder.
type Entry struct {
	Name string
	// Bytes is the size of the file, Allocated the space it takes on the file system.
	Bytes, Allocated int64
	// Regular is false for links, folders, devices and the like.
	Regular bool
}

// OpenFile opens a file of a folder. It fails with fs.ErrNotExist, or with ErrNotRegular when the name is a link or
// something else that is no plain file.
func (d *Dir) OpenFile(folder, name string, flags int) (*os.File, error) {
	parent, err := d.folder(folder)
	if err != nil {
		return nil, err
	}
	file, err := openAt(parent, name, flags|unix.O_NONBLOCK)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("opening %s: %w", name, ErrNotRegular)
	}
	if err != nil {
		return nil, err
	}
	return regular(file)
}

// CreateFile opens a file of a folder for reading and writing, and makes it if it is missing.
func (d *Dir) CreateFile(folder, name string) (*os.File, error) {
	file, err := d.OpenFile(folder, name, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if err := setMode(file, fileMode); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Stat looks at a file of a folder without opening it; fs.ErrNotExist when there is none.
func (d *Dir) Stat(folder, name string) (Entry, error) {
	parent, err := d.folder(folder)
	if err != nil {
		return Entry{}, err
	}
	return statAt(parent, name)
}

// List lists a folder, in no order.
func (d *Dir) List(folder string) ([]Entry, error) {
	parent, err := d.folder(folder)
	if err != nil {
		return nil, err
	}
	names, err := namesIn(parent)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		entry, err := statAt(parent, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// Strangers lists what is in the directory itself and not ours.
func (d *Dir) Strangers() ([]Entry, error) {
	names, err := namesIn(d.root)
	if err != nil {
		return nil, err
	}
	var strangers []Entry
	for _, name := range names {
		if _, ours := d.folders[name]; ours || name == "lost+found" || strings.HasPrefix(name, markName) {
			continue
		}
		if entry, err := statAt(d.root, name); err == nil {
			strangers = append(strangers, entry)
		}
	}
	return strangers, nil
}

// Remove removes a file of a folder, durably. What is gone already is no error.
func (d *Dir) Remove(folder, name string) error {
	parent, err := d.folder(folder)
	if err != nil {
		return err
	}
	err = unix.Unlinkat(int(parent.Fd()), name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return syncFile(parent)
}

// Move gives a file of one folder a name in another, durably. It replaces nothing: fs.ErrExist when the name is taken.
func (d *Dir) Move(folder, name, toFolder, toName string) error {
	from, err := d.folder(folder)
	if err != nil {
		return err
	}
	to, err := d.folder(toFolder)
	if err != nil {
		return err
	}
	if err := moveNew(from, name, to, toName); err != nil {
		return err
	}
	return errors.Join(syncFile(to), syncFile(from))
}

func (d *Dir) folder(name string) (*os.File, error) {
	folder, ok := d.folders[name]
	if !ok {
		return nil, fmt.Errorf("folder %q: %w", name, fs.ErrInvalid)
	}
	return folder, nil
}

func statAt(parent *os.File, name string) (Entry, error) {
	var stat unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Entry{}, fmt.Errorf("looking at %s: %w", name, err)
	}
	return Entry{
		Name: name, Bytes: stat.Size, Allocated: stat.Blocks * 512,
		Regular: stat.Mode&unix.S_IFMT == unix.S_IFREG,
	}, nil
}

// namesIn lists a directory through a descriptor of its own, for a descriptor has only one position.
func namesIn(parent *os.File) ([]string, error) {
	fd, err := unix.Openat(int(parent.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s to list it: %w", parent.Name(), err)
	}
	listing := os.NewFile(uintptr(fd), parent.Name())
	defer func() { _ = listing.Close() }()
	names, err := listing.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", parent.Name(), err)
	}
	return names, nil
}

// moveNew renames without replacing. Where the file system can't, a second name and the removal of the first do.
func moveNew(from *os.File, name string, to *os.File, toName string) error {
	err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), toName, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if err = unix.Linkat(int(from.Fd()), name, int(to.Fd()), toName, 0); err == nil {
			err = unix.Unlinkat(int(from.Fd()), name, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("renaming %s to %s: %w", name, toName, err)
	}
	return nil
}

// createAt makes a new file.
func createAt(parent *os.File, name string) (*os.File, error) {
	file, err := openAt(parent, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, err
	}
	if err := setMode(file, fileMode); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func randomName() string {
	return strings.ToLower(rand.Text())
}

// OpenPath opens a plain file anywhere for reading; ErrNotRegular for links and whatever else is none.
func OpenPath(path string) (*os.File, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("opening a relative path: %w", ErrNotRegular)
	}
	file, err := os.OpenFile(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("opening %s: %w", path, ErrNotRegular)
	}
	if err != nil {
		return nil, fmt.Errorf("opening file: %w", err)
	}
	return regular(file)
}

// regular closes a file that is none.
func regular(file *os.File) (*os.File, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("opening %s: %w", filepath.Base(file.Name()), ErrNotRegular)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
