package membership

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// makeDir makes a directory that only its owner may look into, durably. One that is there is closed to others.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(dir))
}

// removeFile removes a file, and what was left of it when its replacement was interrupted.
func removeFile(path string) error { return errors.Join(remove(path), remove(path+durable.Temporary)) }

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
