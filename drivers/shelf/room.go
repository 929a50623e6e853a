package shelf

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrNoRoom says that an archive was not kept since too little would be left free on the file system.
var ErrNoRoom = errors.New("there is no room for the archive")

const (
	// reserveBytes and reserveShare hundredths of the file system, the larger, are left free by archives: they must
	// never be what stops everything else that is kept there.
	reserveBytes = 1 << 30
	reserveShare = 2
)

// reserveOf is how many bytes of the file system of a directory archives leave free.
func reserveOf(dir string) (uint64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("asking for the size of %s: %w", dir, err)
	}
	return max(reserveBytes, disk.Blocks/100*uint64(disk.Bsize)*reserveShare), nil
}

// KeepFree sets how many bytes of the file system archives leave free, instead of a share of it. It must be called
// before anything is put.
func (s *Shelf) KeepFree(bytes uint64) { s.reserve = bytes }

// room refuses when so many bytes more would take of what is left free.
func (s *Shelf) room(bytes uint64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir, &disk); err != nil {
		return fmt.Errorf("asking for free space: %w", err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < s.reserve+bytes {
		return fmt.Errorf("%w: %s has %d MiB free, of which archives leave %d MiB to the rest of the program",
			ErrNoRoom, s.dir, free>>20, s.reserve>>20)
	}
	return nil
}

// asRoom makes the file system's word that it is full ErrNoRoom.
func asRoom(err error) error {
	if errors.Is(err, ErrNoRoom) || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoRoom, err)
}
