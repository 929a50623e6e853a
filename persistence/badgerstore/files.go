package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

// openBadger opens a database. Badger panics on some damage.
func openBadger(opts badger.Options) (db *badger.DB, err error) {
	defer recoverAs(&err, "badger gave up")
	return badger.Open(opts)
}

// flushLarger has what a killed process left of memtables larger than these written into tables. Badger reads each into
// one memtable, and ends the process if it does not fit.
func flushLarger(opts badger.Options) error {
	files, err := filepath.Glob(filepath.Join(opts.Dir, "*"+writeAheadSuffix))
	if err != nil {
		return err
	}
	larger := opts.MemTableSize
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		larger = max(larger, info.Size()/2) // Badger makes them that long
	}
	if larger == opts.MemTableSize {
		return nil
	}
	db, err := openBadger(opts.WithMemTableSize(larger))
	if err != nil {
		return err
	}
	return db.Close()
}

// removeEmptyFiles removes write-ahead and value log files without a byte. A process that is killed while Badger makes
// or removes one leaves it so, and Badger does not open a database that has one.
func removeEmptyFiles(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		suffix := filepath.Ext(f.Name())
		if suffix != writeAheadSuffix && suffix != valueLogSuffix {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return err
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// recoverAs turns a panic into an error; it must be deferred.
func recoverAs(err *error, what string) {
	r := recover()
	if r == nil {
		return
	}
	if e, ok := r.(runtime.Error); ok {
		*err = fmt.Errorf("%s: %w", what, e)
		return
	}
	*err = fmt.Errorf("%s: %.300v", what, r)
}

// errReplaced says that a file was replaced, but perhaps not durably.
var errReplaced = errors.New("it is not known which will be found after a power loss")

// writeFile replaces a file durably and atomically. The error is errReplaced if it may or may not have been replaced.
func writeFile(dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return classify(err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		_ = os.Remove(path + ".tmp")
		return fmt.Errorf("writing %s: %w", path, classify(err))
	}
	if err := disk.Sync(dir); err != nil {
		return fmt.Errorf("writing %s: %w: %w", path, errReplaced, err)
	}
	return nil
}

// beginWriting is disk.Begin for a file that is not open.
func beginWriting(path string, from, to int64) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	disk.Begin(f, from, to)
	_ = f.Close()
}
