package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sync/errgroup"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

const (
	tableSuffix   = ".sst"
	verifyWorkers = 2 // tables that are read at a time
)

// tables are the tables of a database before Badger opens it.
type tables struct {
	dir   string
	named map[uint64]badger.TableManifest // by the manifest
}

// verifyTables checks every byte of the tables that the manifest of the database in dir names. Badger itself goes on
// without a table whose checksum is wrong, and ends the process on other damage.
func verifyTables(dir string, opts badger.Options) error {
	t := &tables{dir: dir}
	if err := t.readManifest(opts); err != nil {
		return err
	}
	ids := make(chan uint64, len(t.named))
	for id := range t.named {
		ids <- id
	}
	close(ids)
	var workers errgroup.Group
	for range verifyWorkers {
		workers.Go(func() error { return t.verify(ids) })
	}
	return workers.Wait()
}

// readManifest finds out which tables there should be.
func (t *tables) readManifest(opts badger.Options) error {
	files, err := filepath.Glob(filepath.Join(t.dir, "*"+tableSuffix))
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(t.dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) && len(files) == 0 {
		return nil // a new database
	}
	if err != nil {
		return fmt.Errorf("opening the manifest of %d tables: %w", len(files), err)
	}
	manifest, _, err := badger.ReplayManifestFile(f, opts.ExternalMagicVersion, opts)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	t.named = manifest.Tables
	return nil
}

// verify checks the tables with the given ids.
func (t *tables) verify(ids <-chan uint64) error {
	for id := range ids {
		path := table.NewFilename(id, t.dir)
		data, unmap, err := disk.MapPath(path)
		if err != nil {
			return fmt.Errorf("verifying: %w", err)
		}
		err = verifyTable(data, id, t.named[id].Compression)
		if err != nil {
			err = fmt.Errorf("verifying %s: %w: %w", path, persistence.ErrCorrupt, err)
		}
		if err := errors.Join(err, unmap()); err != nil {
			return err
		}
	}
	return nil
}

// verifyTable checks the index and all blocks of a table. Badger panics on some damage, and what the disk cannot read
// is a fault.
func verifyTable(data []byte, id uint64, compression options.CompressionType) (err error) {
	defer recoverAs(&err, "badger gave up")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if err := verifyFooter(data); err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{
		ReadOnly: true, ChkMode: options.NoVerification, BlockSize: blockBytes, Compression: compression,
	})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}

// verifyFooter checks the lengths at the end of a table, which Badger trusts: ... index, length of the index, checksum
// of the index, length of the checksum; lengths are 4 bytes, big endian.
func verifyFooter(data []byte) error {
	rest := data
	for _, what := range []string{"checksum", "index"} {
		if len(rest) < 4 {
			return fmt.Errorf("too short for the length of its %s", what)
		}
		n := uint64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
		rest = rest[:len(rest)-4]
		if n > uint64(len(rest)) {
			return fmt.Errorf("the length of its %s is %d, more than there is", what, n)
		}
		rest = rest[:uint64(len(rest))-n]
	}
	return nil
}
