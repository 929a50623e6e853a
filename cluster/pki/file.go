package pki

import (
	"errors"
	"os"
	"path/filepath"
)

// makeDir makes a directory that only its owner may look into, durably. What is above it must be there.
func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// Also if it is there: a call that was interrupted may have made it.
	return syncDir(filepath.Dir(dir))
}

// replaceFile replaces a file that only its owner may read, durably and atomically.
func replaceFile(path string, content []byte) error {
	// One of an interrupted call may have been made by somebody else, or be open.
	temporary := path + ".tmp"
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
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
