package badgerstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

// sealFile exists while a database is closed and says what its manifest was then. Badger takes a manifest that lost its
// end for one that was being written when the process died, and removes the tables that it does not name any more.
const sealFile = "SEAL"

func seal(dir string) error {
	text, err := sealOf(dir)
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	return writeFile(dir, sealFile, []byte(text))
}

// leaveSeal checks the manifest of a database that was closed, and removes the seal, because the database is about to
// be opened.
func leaveSeal(dir string) error {
	path := filepath.Join(dir, sealFile)
	sealed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it is new, or its process was killed
	}
	if err != nil {
		return err
	}
	text, err := sealOf(dir)
	if err != nil {
		return err
	}
	if text != string(sealed) {
		return fmt.Errorf("the manifest is %q, when it was closed it was %.40q: %w", text, sealed, persistence.ErrCorrupt)
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return disk.Sync(dir)
}

func sealOf(dir string) (string, error) {
	manifest, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return "", err
	}
	sum := crc32.Checksum(manifest, crc32.MakeTable(crc32.Castagnoli))
	return fmt.Sprintf("%d bytes, CRC-32C %08x", len(manifest), sum), nil
}
