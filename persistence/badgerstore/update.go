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

// Update implements persistence.Store. What it writes is gathered with what others do, and goes to Badger within a
// second (gather.go). An Update that Badger does not take in one transaction (about 1.2 MiB or 13,000 keys with the
// default options) is written twice and synced.
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
	return nil
}

// commit takes all of writes, and shows them, or nothing. If it fails half-way the store is broken until it is
// reopened: what Badger has in memory is not known then.
func (s *Store) commit(n *snapshot, writes keymap.Map[write]) error {
	g := n.g
	c, err := g.logged.plan(n.log, writes)
	if err != nil {
		return err
	}
	if err := g.logged.drop(); err != nil {
		return classify(err)
	}
	if err := c.append(); err != nil {
		return s.failBroken(err)
	}
	size := extentOf(c.kept())
	switch {
	case size.keys == 0:
		return nil // deleted was what is not there
	case g.fits(size):
		return s.gather(g, c, size)
	default:
		return s.commitLarge(g, &c)
	}
}

// commitLarge writes an Update that is too large for one Badger transaction, after all before it.
func (s *Store) commitLarge(g *generation, c *change) error {
	if err := s.drain(); err != nil {
		return err
	}
	if err := s.commitParts(g, c, g.parts(c.kept(), c.writes.Len())); err != nil {
		return err
	}
	if c.logs {
		g.logged.mark = c.mark
		g.logged.committed(c.mark)
	}
	g.resident = g.resident.with(c.writes)
	s.show(newSnapshot(g))
	return nil
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
	var parts []part
	var current part
	var taken extent
	for key, w := range writes {
		before := taken
		if taken.add(key, w); before.keys > 0 && !g.fits(taken) {
			parts = append(parts, current)
			current, taken = part{}, extent{}
			taken.add(key, w)
		}
		if current.entries == nil {
			current.entries = make([]badger.Entry, 0, max(min(left, int(g.db.MaxBatchCount())), 1))
		}
		left--
		current.entries = append(current.entries, badger.Entry{Key: key, Value: w.value})
		current.size.add(len(key), len(w.value))
	}
	return append(parts, current)
}

// prepare syncs the write-ahead file if the next transaction may make Badger leave it, and the log before it. What was
// deleted from the log until then may be removed.
func (g *generation) prepare() error {
	if !g.rotation.due() {
		return nil
	}
	if err := g.sync(g.logged); err != nil {
		return fmt.Errorf("syncing a full write-ahead file: %w", err)
	}
	g.rotation.synced = true
	g.logged.durable()
	return nil
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
