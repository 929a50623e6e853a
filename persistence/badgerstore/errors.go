package badgerstore

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// classify gives err the persistence error that says what it means, if there is one.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", persistence.ErrDiskFull, err)
	case errors.Is(err, badger.ErrDBClosed), errors.Is(err, badger.ErrBlockedWrites):
		return fmt.Errorf("%w: %w", persistence.ErrClosed, err)
	default:
		return err
	}
}

// unreadable is classify for an error of Badger while it opened what is on disk: unless the operating system is to
// blame, the files are not what was written.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok && !errors.Is(err, syscall.ENOENT) {
		return classify(err)
	}
	if errors.Is(err, persistence.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", persistence.ErrCorrupt, err)
}
