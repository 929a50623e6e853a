package diskdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	markName    = ".bulkhead.json"
	markVersion = 1
	maxMark     = 4 << 10
)

// mark is the file that says whose a directory is.
type mark struct {
	Version int `json:"version"`
	Owner
}

var (
	errNoMark      = errors.New("the directory has no mark")
	errBadMark     = errors.New("the mark of the directory can't be read")
	errNotEmpty    = errors.New("the directory is not empty")
	errNotAbsolute = errors.New("the path is not absolute and clean")
)

// ownedError says that a directory belongs to somebody else.
type ownedError struct{ owner Owner }

// Error implements error.
func (e *ownedError) Error() string {
	return fmt.Sprintf("the directory belongs to %s %s", e.owner.Kind, e.owner.ID)
}

// OwnerOf reads whose the directory at path is.
func OwnerOf(path string) (Owner, error) {
	d, err := openRoot(path, Owner{})
	if err != nil {
		return Owner{}, openFault(err, path)
	}
	defer d.Close()
	owner, err := d.readMark()
	if err != nil {
		return Owner{}, openFault(err, path)
	}
	return owner, nil
}

func (d *Dir) checkOwner(found Owner) error {
	if found != d.owner {
		return &ownedError{owner: found}
	}
	return nil
}

func (d *Dir) readMark() (Owner, error) {
	file, err := openAt(d.root, markName, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return Owner{}, errNoMark
	}
	if err != nil {
		return Owner{}, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxMark))
	if err != nil {
		return Owner{}, fmt.Errorf("reading mark: %w", err)
	}
	var found mark
	if err := json.Unmarshal(content, &found); err != nil || found.Version != markVersion {
		return Owner{}, errBadMark
	}
	return found.Owner, nil
}

// writeMark marks an empty directory and returns whose it is then: when two claim it at once, one of them loses. The
// mark is complete whenever it has its name.
func (d *Dir) writeMark() (Owner, error) {
	if err := d.checkEmpty(); err != nil {
		return Owner{}, err
	}
	content, err := json.Marshal(mark{Version: markVersion, Owner: d.owner})
	if err != nil {
		return Owner{}, fmt.Errorf("encoding mark: %w", err)
	}
	temporary := markName + "." + randomName()
	file, err := createAt(d.root, temporary)
	if err != nil {
		return Owner{}, err
	}
	defer func() {
		_ = file.Close()
		_ = unix.Unlinkat(int(d.root.Fd()), temporary, 0)
	}()
	if _, err := file.Write(content); err != nil {
		return Owner{}, fmt.Errorf("writing mark: %w", err)
	}
	if err := syncFile(file); err != nil {
		return Owner{}, err
	}
	err = moveNew(d.root, temporary, d.root, markName)
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return Owner{}, fmt.Errorf("publishing mark: %w", err)
	}
	if err := syncFile(d.root); err != nil {
		return Owner{}, err
	}
	return d.readMark()
}

// checkEmpty disregards what mkfs leaves behind, and marks that were never finished.
func (d *Dir) checkEmpty() error {
	names, err := namesIn(d.root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != "lost+found" && !strings.HasPrefix(name, markName) {
			return errNotEmpty
		}
	}
	return nil
}

func (d *Dir) removeMark() error {
	err := unix.Unlinkat(int(d.root.Fd()), markName, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing mark: %w", err)
	}
	return syncFile(d.root)
}
