package membership

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const temporary = ".tmp"

// makeDir makes a directory that only its owner may look into, durably. One that is there is closed to others.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// replaceFile replaces a file that only its owner may read, durably and atomically.
func replaceFile(path string, content []byte) error {
	// One of an interrupted call may have been made by somebody else, or be open.
	if err := remove(path + temporary); err != nil {
		return err
	}
	f, err := os.OpenFile(path+temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path+temporary))
	}
	return syncDir(filepath.Dir(path))
}

// removeFile removes a file, and what an interrupted replaceFile left of it.
func removeFile(path string) error { return errors.Join(remove(path), remove(path+temporary)) }

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
