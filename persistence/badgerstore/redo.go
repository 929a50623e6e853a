package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

// redoFile, in the folder of a generation, holds an Update that is too large for one Badger transaction, from before
// the first of its transactions until the last is durable. It is a stream of tagged keys, with values where they are
// put.
const (
	redoFile  = "REDO"
	deleteTag = 'd' // instead of keyTag
)

// commitParts writes an Update in several Badger transactions. Nobody sees a part: all go on with
// the snapshot from before.
func (s *Store) commitParts(g *generation, c *change, parts []part) error {
	// What came before must be durable first: done again after a power loss, this Update must not be the only one left.
	if err := g.sync(g.logged); err != nil {
		return s.fail(fmt.Errorf("syncing: %w", err))
	}
	if there, err := g.writeRedo(c); err != nil {
		if there { // it may be durable: who opens the store finds out
			return s.fail(err)
		}
		if undone := c.takeBack(); undone != nil {
			return s.fail(fmt.Errorf("%w; then %w", err, undone))
		}
		return err
	}
	if err := g.commitAll(parts); err != nil {
		return s.fail(err)
	}
	return nil
}

// commitAll writes parts, makes them durable, and removes the REDO file.
func (g *generation) commitAll(parts []part) error {
	for _, p := range parts {
		if err := g.prepare(); err != nil {
			return err
		}
		if err := g.commit(p); err != nil {
			return err
		}
	}
	if err := g.db.Sync(); err != nil {
		return fmt.Errorf("syncing: %w", classify(err))
	}
	if err := os.Remove(filepath.Join(g.dir, redoFile)); err != nil {
		return err
	}
	return disk.Sync(g.dir)
}

// writeRedo writes the REDO file, durably and atomically. There says that the file may be there although it failed.
func (g *generation) writeRedo(c *change) (there bool, err error) {
	path := filepath.Join(g.dir, redoFile)
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return false, classify(err)
	}
	err = streamRedo(f, c)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		_ = os.Remove(path + ".tmp")
		return false, fmt.Errorf("writing %s: %w", path, classify(err))
	}
	return true, disk.Sync(g.dir)
}

func streamRedo(w io.Writer, c *change) error {
	out, err := kvstream.NewWriter(w)
	if err != nil {
		return err
	}
	for _, deletions := range []bool{true, false} { // in this order the keys of the stream ascend
		for key, is := range c.kept() {
			if is.deleted != deletions {
				continue
			}
			if deletions {
				key = append([]byte{deleteTag}, key[1:]...)
			}
			if err := out.Put(key, is.value); err != nil {
				return err
			}
		}
	}
	_, err = out.Close()
	return err
}

// redo finishes an Update that was interrupted in the middle of its transactions.
func (g *generation) redo() error {
	_ = os.Remove(filepath.Join(g.dir, redoFile+".tmp")) // of an Update that never began
	f, err := os.Open(filepath.Join(g.dir, redoFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	writes, err := readRedo(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading %s: %w", redoFile, err)
	}
	parts := g.parts((&change{writes: writes}).kept(), writes.Len())
	return g.commitAll(parts)
}

func readRedo(r io.Reader) (keymap.Map[write], error) {
	writes := keymap.Map[write]{}.Edit()
	in, err := kvstream.NewReader(r)
	if err != nil {
		return writes.Map(), err
	}
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			return writes.Map(), nil
		}
		if err != nil {
			return writes.Map(), err
		}
		if key[0] == deleteTag {
			writes.Put(tagged(key[1:]), write{deleted: true})
			continue
		}
		writes.Put(bytes.Clone(key), write{value: append([]byte{}, value...)})
	}
}
