package pki

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// makeDir makes a directory that only its owner may look into, durably. What is above it must be there.
func makeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	// Also if it is there: a call that was interrupted may have made it.
	return durable.Sync(filepath.Dir(dir))
}
