package badgerstore

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// Update implements persistence.Store. An Update that Badger takes in one transaction (about 1.2 MiB or 13,000 keys
// with the default options) costs one pass through its write-ahead file; a larger one is written twice and synced.
// Errors: what fn returned, persistence.ErrDiskFull, ErrClosed, and what Put and Delete refused.
func (s *Store) Update(fn func(w persistence.Writer) error) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	n, err := s.begin()
	if err != nil {
		return err
	}
	defer n.release()
	if err := s.room(); err != nil {
		return err
	}
	w := &writer{base: n.reader(), writes: keymap.Map[write]{}.Edit()}
	if err := fn(w); err != nil {
		return err
	}
	if err := w.budget.Err(); err != nil {
		return err
	}
	if w.writes.Len() == 0 {
		return nil
	}
	if err := s.commit(n, w.writes.Map()); err != nil {
		return fmt.Errorf("writing to the store %s: %w", s.opts.Dir, err)
	}
	s.show(n.g)
	return nil
}

// commit writes all of writes or nothing. If it fails half-way the store is broken until it is reopened: what Badger
// has in memory is not known then.
func (s *Store) commit(n *snapshot, writes keymap.Map[write]) error {
	g := n.g
	c, err := g.logged.plan(n.log, writes)
	if err != nil {
		return err
	}
	if err := c.append(); err != nil {
		return s.failBroken(err)
	}
	parts := g.parts(c.kept(), writes.Len())
	switch {
	case len(parts[0].entries) == 0:
		return nil // deleted was what is not there
	case len(parts) > 1:
		err = s.commitParts(g, &c, parts)
	default:
		if err = g.prepare(); err == nil {
			err = g.commit(parts[0])
		}
		if err != nil {
			err = s.fail(err)
		}
	}
	if err == nil && c.logs {
		g.logged.mark = c.mark
	}
	return err
}

// failBroken is classify, and fail if err says that it is not known what is in the log.
func (s *Store) failBroken(err error) error {
	if errors.Is(err, keylog.ErrBroken) {
		return s.fail(err)
	}
	return classify(err)
}

// part is what goes into one Badger transaction.
type part struct {
	entries []badger.Entry // without value = to be deleted
	size    footprint
}

// parts cuts writes, some of about so many, into as many Badger transactions as it takes.
func (g *generation) parts(writes iter.Seq2[[]byte, write], left int) []part {
	const entryMargin = 32 // Badger counts up to 20 bytes on top of key and value, and one entry of its own
	maxEntries, maxBytes := g.db.MaxBatchCount()-8, g.db.MaxBatchSize()-1024
	var parts []part
	var current part
	var bytes int64
	for key, w := range writes {
		e := badger.Entry{Key: key, Value: w.value}
		size := int64(len(e.Key) + len(e.Value) + entryMargin)
		if len(current.entries) > 0 && (bytes+size > maxBytes || int64(len(current.entries)) >= maxEntries) {
			parts = append(parts, current)
			current, bytes = part{}, 0
		}
		if current.entries == nil {
			current.entries = make([]badger.Entry, 0, max(min(left, int(maxEntries)), 1))
		}
		left--
		current.entries = append(current.entries, e)
		current.size.add(len(e.Key), len(e.Value))
		bytes += size
	}
	return append(parts, current)
}

// prepare syncs the write-ahead file if the next transaction may make Badger leave it, and the log before it. What was
// deleted from the log until then is removed.
func (g *generation) prepare() error {
	if !g.rotation.due() {
		return nil
	}
	if err := g.sync(g.logged); err != nil {
		return fmt.Errorf("syncing a full write-ahead file: %w", err)
	}
	g.rotation.synced = true
	if g.logged == nil {
		return nil
	}
	return classify(g.logged.log.Drop(g.logged.mark.first))
}

// commit writes one Badger transaction.
func (g *generation) commit(p part) error {
	txn := g.db.NewTransaction(true)
	defer txn.Discard()
	for i := range p.entries {
		e, err := &p.entries[i], error(nil)
		if e.Value == nil {
			err = txn.Delete(e.Key)
		} else {
			err = txn.SetEntry(e)
		}
		if err != nil {
			return classify(err)
		}
	}
	if err := txn.Commit(); err != nil {
		return classify(err)
	}
	rotated, err := g.rotation.wrote(p.size)
	if err != nil {
		return err
	}
	g.rotation.ahead()
	if !rotated {
		return nil
	}
	if !g.rotation.synced {
		// The count was wrong. Nothing is lost if the power stays on until the next line is done.
		g.log.Error("badger left a write-ahead file before it was expected to", slog.String("dir", g.dir))
		if g.logged != nil {
			err = g.logged.log.Sync()
		}
		err = errors.Join(err, g.rotation.syncPrevious())
	}
	g.rotation.synced = false
	return err
}
