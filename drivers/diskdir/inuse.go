package diskdir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// QEMU marks the images it has open by shared locks on bytes 100 to 163 (what it does) and 200 to 263 (what it does
// not let others do) of the file. The locks belong to the open file, so they also tell of other users' processes.
const (
	qemuLocksAt   = 100
	qemuLockBytes = 164
)

// InUse tells whether a QEMU process on this host has the disk open: a guest, or qemu-img at work.
func InUse(file *os.File) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET, Start: qemuLocksAt, Len: qemuLockBytes}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("asking for locks of %s: %w", file.Name(), err)
	}
	return lock.Type != unix.F_UNLCK, nil
}
