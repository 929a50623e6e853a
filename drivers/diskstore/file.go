package diskstore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Room refuses to use more of the file system than the settings allow.
func (s *Store) Room(needed int64) error {
	space, err := s.Dir.Space()
	if err != nil {
		return diskdir.Fault(err, "reading the "+s.kind.Called+"'s space")
	}
	if space.Available < s.minimumFree || space.Available-s.minimumFree < uint64(max(needed, 0)) {
		return diskdir.NoSpaceFault(fmt.Sprintf("%d bytes are needed, %d are available and %d of them must stay free",
			needed, space.Available, s.minimumFree))
	}
	return nil
}

// Copy makes a file of the store a copy of another: sharing its blocks, which takes one moment and no space, or else
// holes and all, as far as there is room. It tells which. The call has come percent far when it is done.
func (s *Store) Copy(ctx context.Context, into, from *os.File, percent int64) (shared bool, err error) {
	shared, err = diskdir.Share(into, from)
	if err != nil || shared {
		return shared, err
	}
	needed, err := diskdir.Allocated(from)
	if err != nil {
		return false, err
	}
	if err := s.Room(needed); err != nil {
		return false, err
	}
	return false, diskdir.Copy(ctx, into, from, func(done, total int64) {
		sdk.Progress(ctx, int(done*percent/max(total, 1)), fmt.Sprintf("copied %d of %d MiB", done>>20, total>>20))
	})
}

// Stat looks at a plain file of a folder; fs.ErrNotExist when there is none. What is no plain file was put there by
// somebody else: a fault of class CONFLICT, "not-a-file".
func (s *Store) Stat(folder, name string) (diskdir.Entry, error) {
	entry, err := s.Dir.Stat(folder, name)
	if err == nil && !entry.Regular {
		err = s.notAFile(name)
	}
	return entry, err
}

// OpenFile opens a plain file of a folder, with the errors of Stat.
func (s *Store) OpenFile(folder, name string, flags int) (*os.File, error) {
	file, err := s.Dir.OpenFile(folder, name, flags)
	if errors.Is(err, diskdir.ErrNotRegular) {
		return nil, s.notAFile(name)
	}
	return file, err
}

func (s *Store) notAFile(name string) error {
	return sdk.Conflict("not-a-file", fmt.Sprintf("%s is in the %s but no plain file", name, s.kind.Called),
		"remove it from the "+s.kind.Called+"'s directory")
}
