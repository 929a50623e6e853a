package badgerstore

import (
	"fmt"
	"iter"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

const (
	// gatherBytes is how much is gathered before it is written to Badger, and gatherFor how long at most. Most keys are
	// written several times within an instant: in an operation of 5 ms, each of its records three to four times.
	gatherBytes = 512 << 10
	gatherFor   = time.Second
)

// layers are writes that Badger does not have yet, on top of each other: those that are being written to it, and those
// gathered since.
type layers struct{ flushing, gathered keymap.Map[write] }

// get returns what is to become of a key, tagged.
func (l layers) get(key []byte) (w write, ok bool) {
	if w, ok = l.gathered.Get(key); ok {
		return w, true
	}
	return l.flushing.Get(key)
}

// batch is what whole Updates wrote, to become one Badger transaction.
type batch struct {
	writes keymap.Map[write]
	size   extent
	mark   mark // of the log, if any of them changed it
	logs   bool
}

// add is the batch with another Update in it.
func (b batch) add(c change) batch {
	edit := b.writes.Edit()
	for key, w := range c.kept() {
		if was, replaced := edit.Put(key, w); replaced {
			b.size.remove(key, was)
		}
		b.size.add(key, w)
	}
	b.writes = edit.Map()
	if c.logs {
		b.mark, b.logs = c.mark, true
	}
	return b
}

// gather adds an Update that fits into one Badger transaction to what Badger is to have, and shows it. The caller
// holds updating.
func (s *Store) gather(g *generation, c change, size extent) error {
	if !g.fits(s.gathered.size.plus(size)) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if s.gathered.writes.Len() == 0 {
		s.late.Reset(gatherFor)
	}
	s.gathered = s.gathered.add(c)
	if c.logs {
		g.logged.mark = c.mark
	}
	s.change(func(next *snapshot) {
		next.layers.gathered = s.gathered.writes
		if c.logs {
			next.readLog()
		}
	})
	if s.gathered.size.bytes >= s.opts.gatherBytes && s.flushed() {
		return s.flush()
	}
	return nil
}

// flush begins to write what was gathered to Badger, once that has the batch before. The caller holds updating.
func (s *Store) flush() error {
	s.wait()
	s.mu.RLock()
	err := s.usable()
	s.mu.RUnlock()
	if err != nil || s.gathered.writes.Len() == 0 {
		return err
	}
	b, g, done := s.gathered, s.live, make(chan struct{})
	s.gathered, s.flushing = batch{}, done
	s.late.Stop()
	s.change(func(next *snapshot) { next.layers = layers{flushing: b.writes} })
	go func() {
		defer close(done)
		if err := g.take(b); err != nil {
			_ = s.fail(fmt.Errorf("writing to the store %s: %w", s.opts.Dir, err))
			return
		}
		txn := g.begin() // which may take a while
		s.change(func(next *snapshot) {
			next.begin(txn)
			next.resident = g.resident
			next.layers.flushing = keymap.Map[write]{}
		})
	}()
	return nil
}

// take writes a batch to Badger.
func (g *generation) take(b batch) error {
	if err := g.prepare(); err != nil {
		return err
	}
	parts := g.parts(all(b.writes), b.writes.Len())
	if len(parts) != 1 {
		return fmt.Errorf("%d keys and %d bytes are %d transactions of Badger, not one",
			b.size.keys, b.size.bytes, len(parts))
	}
	if err := g.commit(parts[0]); err != nil {
		return err
	}
	if b.logs {
		g.logged.committed(b.mark)
	}
	g.resident = g.resident.with(b.writes)
	return nil
}

func all(writes keymap.Map[write]) iter.Seq2[[]byte, write] {
	return func(yield func([]byte, write) bool) {
		for w := writes.Ascend(nil); w.Valid() && yield(w.Key(), w.Value()); w.Next() {
		}
	}
}

// flushed says whether nothing is being written to Badger. The caller holds updating.
func (s *Store) flushed() bool {
	select {
	case <-s.flushing:
		return true
	default:
		return s.flushing == nil
	}
}

// wait waits until nothing is being written to Badger. The caller holds updating.
func (s *Store) wait() {
	if s.flushing != nil {
		<-s.flushing
	}
}

// drain returns when Badger has all Updates. The caller holds updating.
func (s *Store) drain() error {
	if err := s.flush(); err != nil {
		return err
	}
	s.wait()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.usable()
}

// settle is drain for whoever does not hold updating.
func (s *Store) settle() error {
	s.updating.Lock()
	defer s.updating.Unlock()
	return s.drain()
}

// flushLate writes what was gathered for long.
func (s *Store) flushLate() {
	s.updating.Lock()
	defer s.updating.Unlock()
	_ = s.flush() // the next Update says why it failed
}

// extent is what writes take in a Badger transaction.
type extent struct{ keys, bytes int64 }

// entryMargin is what Badger counts for an entry on top of key and value: up to 20 bytes.
const entryMargin = 32

func (e *extent) add(key []byte, w write) {
	e.keys++
	e.bytes += int64(len(key) + len(w.value) + entryMargin)
}

func (e *extent) remove(key []byte, w write) {
	e.keys--
	e.bytes -= int64(len(key) + len(w.value) + entryMargin)
}

func (e extent) plus(other extent) extent { return extent{e.keys + other.keys, e.bytes + other.bytes} }

// extentOf is what an Update takes.
func extentOf(writes iter.Seq2[[]byte, write]) (e extent) {
	for key, w := range writes {
		e.add(key, w)
	}
	return e
}

// fits says whether one Badger transaction takes as much. Badger counts one entry of its own.
func (g *generation) fits(e extent) bool {
	return e.bytes <= g.db.MaxBatchSize()-1024 && e.keys <= g.db.MaxBatchCount()-8
}
