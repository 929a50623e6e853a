package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// logDir, in the folder of a generation, holds the log of the keys that only grow.
const logDir = "log"

// markKey is where Badger keeps what is committed of the log. It sorts behind all tagged keys.
var markKey = []byte("log")

// logged are the keys with a prefix that are in a log, not in Badger: see doc.go. Those from before the log was begun
// stay in Badger until they are deleted.
type logged struct {
	prefix []byte // tagged
	log    *keylog.Log
	mark   mark // of what is in Updates that are done

	mu     sync.Mutex
	stored []byte // first of the mark that Badger has
	gone   []byte // keys before it are deleted durably
}

// committed notes that Badger has a mark.
func (l *logged) committed(m mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = m.first
}

// durable notes that what Badger has is durable.
func (l *logged) durable() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = l.stored
}

// drop removes what is deleted durably. The caller holds updating.
func (l *logged) drop() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	gone := l.gone
	l.gone = nil
	l.mu.Unlock()
	return l.log.Drop(gone)
}

// mark says what is committed of a log. It is written to Badger together with the rest of the Update that appended.
type mark struct {
	end   int64  // where the log ends
	from  []byte // the first key that ever was in the log; keys before it are in Badger
	first []byte // keys before it were deleted
	last  []byte // the last key that was put
}

func (m mark) encode() []byte {
	data := binary.AppendUvarint(nil, uint64(m.end))
	for _, key := range [][]byte{m.from, m.first, m.last} {
		data = append(binary.AppendUvarint(data, uint64(len(key))), key...)
	}
	return data
}

func decodeMark(data []byte) (m mark, err error) {
	number := func() uint64 {
		n, size := binary.Uvarint(data)
		if size <= 0 {
			err, size = persistence.ErrCorrupt, len(data)
		}
		data = data[size:]
		return n
	}
	m.end = int64(number())
	for _, key := range []*[]byte{&m.from, &m.first, &m.last} {
		n := number()
		if n > uint64(len(data)) {
			err = persistence.ErrCorrupt
			break
		}
		if n > 0 {
			*key = bytes.Clone(data[:n])
		}
		data = data[n:]
	}
	if err != nil || len(data) > 0 || m.end < 0 {
		return mark{}, fmt.Errorf("what is committed of the log: %w", persistence.ErrCorrupt)
	}
	return m, nil
}

// mayBegin reports whether what comes before a key, nil if there is none, was deleted.
func (m mark) mayBegin(first []byte) bool {
	if first == nil {
		return bytes.Compare(m.first, m.last) > 0
	}
	return bytes.Compare(first, m.first) <= 0
}

// KeepLog has keys with a prefix kept in a log from now on, also after the store is opened again: keys that only grow,
// and are deleted from the first on. An Update that puts one before the last, or deletes one that is not the first,
// fails. Programs from before there were logs do not open the store any more.
func (s *Store) KeepLog(prefix []byte) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	n, err := s.begin()
	if err != nil {
		return err
	}
	defer n.release()
	if len(prefix) == 0 {
		return fmt.Errorf("keeping a log in the store %s: no prefix given", s.opts.Dir)
	}
	if err := s.opts.apart(prefix); err != nil {
		return fmt.Errorf("keeping a log in the store %s: %w", s.opts.Dir, err)
	}
	if n.g.logged != nil {
		if bytes.Equal(n.g.logged.prefix, tagged(prefix)) {
			return nil
		}
		return fmt.Errorf("the store %s keeps %q in a log, and %q is asked for", s.opts.Dir, n.g.logged.prefix[1:], prefix)
	}
	var l *logged
	if err = s.drain(); err == nil {
		l, err = s.newLog(n.g, tagged(prefix))
	}
	if err == nil {
		if err = s.setCurrent(filepath.Base(n.g.dir), prefix); err != nil {
			l.log.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("beginning a log in the store %s: %w", s.opts.Dir, classify(err))
	}
	s.mu.Lock()
	n.g.logged = l
	s.mu.Unlock()
	s.show(newSnapshot(n.g))
	return nil
}

// openLogged opens the log of a generation, if it has one. It may end behind what is committed.
func (s *Store) openLogged(dir string) (*logged, error) {
	if s.prefix == nil {
		return nil, nil
	}
	log, err := keylog.Open(filepath.Join(dir, logDir), s.opts.segmentBytes)
	if err != nil {
		return nil, err
	}
	return &logged{prefix: tagged(s.prefix), log: log}, nil
}

// newLog makes an empty log.
func (s *Store) newLog(g *generation, prefix []byte) (*logged, error) {
	dir := filepath.Join(g.dir, logDir)
	if err := os.RemoveAll(dir); err != nil { // of an attempt that was interrupted
		return nil, err
	}
	log, err := keylog.Open(dir, s.opts.segmentBytes)
	if err != nil {
		return nil, err
	}
	l := &logged{prefix: prefix, log: log}
	if err := errors.Join(l.settle(g.db), disk.Sync(g.dir)); err != nil {
		log.Close()
		return nil, err
	}
	return l, nil
}

// settle reads what is committed, cuts off what is not, and removes what was deleted.
func (l *logged) settle(db *badger.DB) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	data, ok, err := reader{txn: txn}.get(markKey)
	if err != nil {
		return err
	}
	if ok {
		if l.mark, err = decodeMark(data); err != nil {
			return err
		}
	} else {
		l.mark.last = lastOf(reader{txn: txn}, l.prefix[1:])
	}
	if at, first := l.log.Begin(); at > 0 && !l.mark.mayBegin(first) {
		return fmt.Errorf("the log begins at %d with %.64q, and what is before was not deleted: %w",
			at, first, persistence.ErrCorrupt)
	}
	if err := l.log.Cut(l.mark.end, l.mark.last); err != nil {
		return err
	}
	return l.log.Drop(l.mark.first)
}

// lastOf is the last key with a prefix, tagged; nil if there is none.
func lastOf(r reader, prefix []byte) []byte {
	c := r.descend(prefix, nil)
	defer c.close()
	if !c.valid() {
		return nil
	}
	return bytes.Clone(c.key())
}

// has reports whether a key, tagged, is one that grows.
func (l *logged) has(key []byte) bool { return l != nil && bytes.HasPrefix(key, l.prefix) }

// inBadger reports whether such a key is from before there was the log.
func (l *logged) inBadger(key []byte) bool {
	return l.mark.from == nil || bytes.Compare(key, l.mark.from) < 0
}

// change is what an Update does to a store: to the log, and to Badger.
type change struct {
	of     *logged
	writes keymap.Map[write]
	mark   mark // once it is committed
	logs   bool // the mark is another one then
}

// plan says what an Update changes, given what it writes and the log as it was before.
func (l *logged) plan(view *keylog.View, writes keymap.Map[write]) (change, error) {
	c := change{of: l, writes: writes}
	if l == nil {
		return c, nil
	}
	c.mark = l.mark
	var oldest *keylog.Cursor // most Updates delete nothing
	for w := writes.Ascend(l.prefix); w.Valid() && l.has(w.Key()); w.Next() {
		if !w.Value().deleted {
			c.put(w.Key())
			continue
		}
		if oldest == nil {
			oldest = view.Ascend(nil)
		}
		if err := c.remove(w.Key(), view, oldest); err != nil {
			return change{}, err
		}
	}
	return c, nil
}

// put adds a key, of which the log looks that it comes after all others.
func (c *change) put(key []byte) {
	if c.mark.from == nil {
		c.mark.from = bytes.Clone(key)
	}
	c.mark.last, c.logs = bytes.Clone(key), true
}

// remove deletes a key, which must be the oldest that is left in the log; nothing if it is not there.
func (c *change) remove(key []byte, view *keylog.View, oldest *keylog.Cursor) error {
	if c.of.inBadger(key) {
		return nil
	}
	if err := oldest.Err(); err != nil {
		return fmt.Errorf("deleting %.64q: %w", key[1:], err)
	}
	if oldest.Valid() && bytes.Equal(oldest.Key(), key) {
		c.mark.first, c.logs = append(bytes.Clone(key), 0), true // the least key after it
		oldest.Next()
		return nil
	}
	_, there, err := view.Get(key)
	if there {
		err = keylog.ErrOrder
	}
	if err != nil {
		return fmt.Errorf("deleting %.64q: %w", key[1:], err)
	}
	return nil
}

// records are what is appended to the log.
func (c *change) records() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for w := c.writes.Ascend(c.of.prefix); w.Valid() && c.of.has(w.Key()); w.Next() {
			if !w.Value().deleted && !yield(w.Key(), w.Value().value) {
				return
			}
		}
	}
}

// kept is what is written to Badger, in the order of the keys, with what is committed of the log then.
func (c *change) kept() iter.Seq2[[]byte, write] {
	return func(yield func(key []byte, w write) bool) {
		for w := c.writes.Ascend(nil); w.Valid(); w.Next() {
			if c.of.has(w.Key()) && (!w.Value().deleted || !c.of.inBadger(w.Key())) {
				continue
			}
			if !yield(w.Key(), w.Value()) {
				return
			}
		}
		if c.logs {
			yield(markKey, write{value: c.mark.encode()})
		}
	}
}

// append appends what a change adds to the log, which is to be committed then, or taken back.
func (c *change) append() error {
	if !c.logs {
		return nil
	}
	if err := c.of.log.Append(c.records()); err != nil {
		return err
	}
	c.mark.end = c.of.log.End()
	return nil
}

// takeBack cuts off what was appended and is not committed.
func (c *change) takeBack() error {
	if !c.logs {
		return nil
	}
	return c.of.log.Cut(c.of.mark.end, c.of.mark.last)
}
