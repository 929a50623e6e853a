package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Temporary is what a file's name ends with while it is being replaced: what an interrupted call leaves has it.
const Temporary = ".tmp"

// ReplaceFile replaces a file, or makes it, for its owner alone to read. It may be repeated after it was interrupted.
// Callers that replace the same file take turns.
func ReplaceFile(path string, content []byte) error {
	if err := replace(path, content); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

func replace(path string, content []byte) error {
	temporary := path + Temporary
	// One of an interrupted call may have been made by somebody else, or be open.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return Sync(filepath.Dir(path))
}

// Sync makes durable what was written to a file, or the names in a directory, by whatever process.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Begin has the kernel begin to write what it holds of a file, and does not wait for it, so that syncing the file has
// little left to do: others that sync wait for that too. It is a favor, and no error if it is not done.
func Begin(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
