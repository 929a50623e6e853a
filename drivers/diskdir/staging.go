package diskdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockSuffix = ".lock"
	dataSuffix = ".data"
)

// Staged is a file in the making. It is nobody's until Publish. While its process lives a lock file beside it is
// locked; the kernel unlocks it when the process ends in whatever way, and then Sweep removes both. The lock file
// exists before the data file does and until that is gone.
type Staged struct {
	dir  *Dir
	name string // without suffix
	lock *os.File
	data *os.File
}

// Stage begins a file. The label shows in its name, for people. Discard it in the end, in any case.
func (d *Dir) Stage(label string) (*Staged, error) {
	staging := d.folders[stagingFolder]
	for {
		name := label + "." + randomName()
		lock, err := createAt(staging, name+lockSuffix)
		if err != nil {
			return nil, fmt.Errorf("staging %s: %w", label, err)
		}
		held, err := holdLock(lock)
		if err == nil && !held {
			// Looked at by a sweep between its creation and its locking.
			_ = unix.Unlinkat(int(staging.Fd()), name+lockSuffix, 0)
			_ = lock.Close()
			continue
		}
		staged := &Staged{dir: d, name: name, lock: lock}
		if err == nil {
			staged.data, err = createAt(staging, name+dataSuffix)
		}
		if err != nil {
			staged.Discard()
			return nil, fmt.Errorf("staging %s: %w", label, err)
		}
		return staged, nil
	}
}

// holdLock locks a lock file; false when somebody else has it or it has lost its name.
func holdLock(lock *os.File) (bool, error) {
	err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &stat); err != nil {
		return false, fmt.Errorf("looking at %s: %w", lock.Name(), err)
	}
	return stat.Nlink > 0, nil
}

// File is the staged file, open for reading and writing.
func (s *Staged) File() *os.File {
	return s.data
}

// Publish gives the file its name in a folder, durably: after a crash the name stands for the whole content or for
// nothing. It fails with fs.ErrExist when the name is taken, and leaves the file staged.
func (s *Staged) Publish(folder, name string) error {
	if err := syncFile(s.data); err != nil {
		return err
	}
	return s.dir.Move(stagingFolder, s.name+dataSuffix, folder, name)
}

// Replace is Publish over whatever has the name: who opens it sees the old content or the new, never a mixture.
func (s *Staged) Replace(folder, name string) error {
	to, err := s.dir.folder(folder)
	if err != nil {
		return err
	}
	if err := syncFile(s.data); err != nil {
		return err
	}
	from := s.dir.folders[stagingFolder]
	if err := unix.Renameat(int(from.Fd()), s.name+dataSuffix, int(to.Fd()), name); err != nil {
		return fmt.Errorf("replacing %s: %w", name, err)
	}
	return errors.Join(syncFile(to), syncFile(from))
}

// Discard removes what was not published and gives the descriptors back. Repeatable.
func (s *Staged) Discard() {
	if s.lock == nil {
		return
	}
	staging := int(s.dir.folders[stagingFolder].Fd())
	if s.data != nil {
		_ = s.data.Close()
	}
	_ = unix.Unlinkat(staging, s.name+dataSuffix, 0)
	_ = unix.Unlinkat(staging, s.name+lockSuffix, 0)
	_ = s.lock.Close()
	s.lock = nil
}

// Sweep removes the staged files of processes that are no more, and returns their names.
func (d *Dir) Sweep() ([]string, error) {
	swept, err := d.sweepMarks()
	if err != nil {
		return nil, err
	}
	leftovers, err := d.staged()
	if err != nil {
		return nil, err
	}
	for name := range leftovers {
		removed, err := d.sweep(name)
		if err != nil {
			return swept, err
		}
		if removed {
			swept = append(swept, name)
		}
	}
	return swept, nil
}

// Leftovers lists the staged files whose process is no more. It changes nothing.
func (d *Dir) Leftovers() ([]Entry, error) {
	names, err := d.staged()
	if err != nil {
		return nil, err
	}
	staging := d.folders[stagingFolder]
	var dead []Entry
	for name := range names {
		free, lock, err := d.lockDead(name)
		if err != nil {
			return nil, err
		}
		if lock != nil {
			_ = lock.Close()
		}
		if !free {
			continue
		}
		if entry, err := statAt(staging, name+dataSuffix); err == nil {
			dead = append(dead, entry)
		}
	}
	return dead, nil
}

// staged lists the names in staging, without suffix.
func (d *Dir) staged() (map[string]bool, error) {
	names, err := namesIn(d.folders[stagingFolder])
	if err != nil {
		return nil, err
	}
	staged := map[string]bool{}
	for _, name := range names {
		base, _ := strings.CutSuffix(name, lockSuffix)
		base, _ = strings.CutSuffix(base, dataSuffix)
		staged[base] = true
	}
	return staged, nil
}

// lockDead tells whether nobody holds the lock of a staged file, and holds it then; nil when there is no lock file.
func (d *Dir) lockDead(name string) (bool, *os.File, error) {
	lock, err := openAt(d.folders[stagingFolder], name+lockSuffix, unix.O_RDWR|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	free, err := holdLock(lock)
	if err != nil || !free {
		_ = lock.Close()
		return false, nil, err
	}
	return true, lock, nil
}

func (d *Dir) sweep(name string) (bool, error) {
	dead, lock, err := d.lockDead(name)
	if err != nil || !dead {
		return false, err
	}
	if lock != nil {
		defer func() { _ = lock.Close() }()
	}
	staging := int(d.folders[stagingFolder].Fd())
	for _, file := range []string{name + dataSuffix, name, name + lockSuffix} {
		if err := unix.Unlinkat(staging, file, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("sweeping %s: %w", file, err)
		}
	}
	return true, nil
}

// sweepMarks removes marks that were never finished; the directory has its mark, so nobody needs them.
func (d *Dir) sweepMarks() ([]string, error) {
	names, err := namesIn(d.root)
	if err != nil {
		return nil, err
	}
	var swept []string
	for _, name := range names {
		if !strings.HasPrefix(name, markName+".") {
			continue
		}
		if err := unix.Unlinkat(int(d.root.Fd()), name, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return swept, fmt.Errorf("sweeping %s: %w", name, err)
		}
		swept = append(swept, name)
	}
	return swept, nil
}
