package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// keyTag comes before every key in Badger, which keeps keys of its own for itself.
const keyTag = 'k'

func tagged(key []byte) []byte {
	return append(append(make([]byte, 0, len(key)+1), keyTag), key...)
}

// reader reads the state as of one Badger transaction and what is on top of it, and the log as it was then, if there is
// one.
type reader struct {
	txn      *badger.Txn
	resident resident // what the transaction has of some keys
	log      *keylog.View
	prefix   []byte // of the keys in the log, tagged
	layers   layers
}

// Get implements persistence.Reader.
func (r reader) Get(key []byte) (value []byte, ok bool, err error) { return r.get(tagged(key)) }

// get is Get for a tagged key.
func (r reader) get(key []byte) (value []byte, ok bool, err error) {
	if w, ok := r.layers.get(key); ok {
		return w.copied()
	}
	if r.resident.has(key) {
		w, ok := r.resident.keys.Get(key)
		w.deleted = !ok
		return w.copied()
	}
	if r.log != nil && bytes.HasPrefix(key, r.prefix) {
		if value, ok, err = r.log.Get(key); ok || err != nil {
			return value, ok, err
		}
	}
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading %.64q: %w", key[1:], classify(err))
	}
	err = item.Value(func(own []byte) error { // Badger made a copy for this item
		value = own
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading %.64q: %w", key[1:], classify(err))
	}
	if value == nil {
		value = []byte{}
	}
	return value, true, nil
}

// Scan implements persistence.Reader.
func (r reader) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	return scan(r.ascend(prefix, from), fn)
}

// ScanReverse implements persistence.Reader.
func (r reader) ScanReverse(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	return scan(r.descend(prefix, from), fn)
}

// cursor walks over keys, tagged, in one direction. It must be closed.
type cursor interface {
	valid() bool
	key() []byte
	value(fn func(value []byte) error) error
	next()
	close()
}

// scan hands what is under c to fn and closes c.
func scan(c cursor, fn func(key, value []byte) (bool, error)) error {
	defer c.close()
	for ; c.valid(); c.next() {
		key, more := c.key()[1:], false
		err := c.value(func(value []byte) (err error) {
			more, err = fn(key, value)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// stored is a cursor over what Badger has.
type stored struct {
	it     *badger.Iterator
	prefix []byte // tagged
}

func (r reader) ascend(prefix, from []byte) cursor {
	prefix, from = tagged(prefix), tagged(from)
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	c := r.ascendStored(prefix, from)
	for top := range r.over(prefix, func(m keymap.Map[write]) *keymap.Cursor[write] { return m.Ascend(from) }) {
		c = merge(c, prefix, top, false)
	}
	return c
}

// ascendStored is ascend in Badger and the log; what is resident is over it.
func (r reader) ascendStored(prefix, from []byte) cursor {
	if r.resident.has(prefix) {
		return nothing{}
	}
	it := r.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	it.Seek(from)
	c := &stored{it: it, prefix: prefix}
	if !r.logs(prefix) {
		return c
	}
	return &joined{a: c, b: &grown{c: r.log.Ascend(from), prefix: prefix}}
}

// over are cursors over what is on top of what is stored and may have keys with a prefix, tagged, the lowest first.
func (r reader) over(
	prefix []byte, cursor func(m keymap.Map[write]) *keymap.Cursor[write],
) iter.Seq[*keymap.Cursor[write]] {
	return func(yield func(*keymap.Cursor[write]) bool) {
		if r.resident.has(prefix) && !yield(cursor(r.resident.keys)) {
			return
		}
		for _, m := range []keymap.Map[write]{r.layers.flushing, r.layers.gathered} {
			if m.Len() > 0 && !yield(cursor(m)) {
				return
			}
		}
	}
}

// logs reports whether the log may have keys with a prefix, tagged.
func (r reader) logs(prefix []byte) bool {
	return r.log != nil && (bytes.HasPrefix(prefix, r.prefix) || bytes.HasPrefix(r.prefix, prefix))
}

// descend gives Badger no prefix: in reverse, Badger would end at the first key it meets that does not have it.
func (r reader) descend(prefix, from []byte) cursor {
	start := keymap.After(tagged(prefix))
	if from != nil && bytes.Compare(tagged(from), start) < 0 {
		start = tagged(from)
	}
	prefix = tagged(prefix)
	c := r.descendStored(prefix, start)
	for top := range r.over(prefix, func(m keymap.Map[write]) *keymap.Cursor[write] { return descend(m, prefix, start) }) {
		c = merge(c, prefix, top, true)
	}
	return c
}

// descendStored is descend in Badger and the log; what is resident is over it.
func (r reader) descendStored(prefix, start []byte) cursor {
	if r.resident.has(prefix) {
		return nothing{}
	}
	c := &stored{it: r.txn.NewIterator(badger.IteratorOptions{Reverse: true}), prefix: prefix}
	c.it.Seek(start)
	if c.it.Valid() && !c.valid() && bytes.Compare(c.key(), c.prefix) > 0 {
		c.it.Next() // it stands on the first key after those with the prefix
	}
	if !r.logs(c.prefix) {
		return c
	}
	g := &grown{c: r.log.Descend(start), prefix: c.prefix}
	if g.c.Valid() && !g.valid() && bytes.Compare(g.key(), c.prefix) > 0 {
		g.c.Next() // the same
	}
	return &joined{a: c, b: g, reverse: true}
}

func (c *stored) valid() bool { return c.it.ValidForPrefix(c.prefix) }
func (c *stored) key() []byte { return c.it.Item().Key() }
func (c *stored) next()       { c.it.Next() }
func (c *stored) close()      { c.it.Close() }

func (c *stored) value(fn func(value []byte) error) error {
	var inner error
	err := c.it.Item().Value(func(value []byte) error {
		inner = fn(value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading %.64q: %w", c.key()[1:], classify(err))
	}
	return inner
}

// grown is a cursor over what the log has.
type grown struct {
	c      *keylog.Cursor
	prefix []byte // tagged
}

// valid is true also before what can't be read: its value is the error then.
func (g *grown) valid() bool {
	return g.c.Valid() && (bytes.HasPrefix(g.c.Key(), g.prefix) || g.c.Err() != nil)
}
func (g *grown) key() []byte { return g.c.Key() }
func (g *grown) next()       { g.c.Next() }
func (g *grown) close()      {}

func (g *grown) value(fn func(value []byte) error) error {
	value, err := g.c.Value()
	if err != nil {
		return fmt.Errorf("reading %.64q: %w", g.key()[1:], err)
	}
	return fn(value)
}

// joined is a cursor over two that have no key in common.
type joined struct {
	a, b    cursor
	reverse bool
}

// front is the one whose key comes next.
func (j *joined) front() cursor {
	switch {
	case !j.b.valid():
		return j.a
	case !j.a.valid(), (bytes.Compare(j.b.key(), j.a.key()) < 0) != j.reverse:
		return j.b
	default:
		return j.a
	}
}

func (j *joined) valid() bool                             { return j.a.valid() || j.b.valid() }
func (j *joined) key() []byte                             { return j.front().key() }
func (j *joined) value(fn func(value []byte) error) error { return j.front().value(fn) }
func (j *joined) next()                                   { j.front().next() }

func (j *joined) close() {
	j.a.close()
	j.b.close()
}
