package badgerstore

import (
	"bytes"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/budget"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// write is what an Update did to a key. The value is not nil, unless the key was deleted.
type write struct {
	value   []byte
	deleted bool
}

// copied is what Get answers for a key that this was done to.
func (w write) copied() (value []byte, ok bool, err error) {
	if w.deleted {
		return nil, false, nil
	}
	return append([]byte{}, w.value...), true, nil
}

// writer is the state in the middle of an Update: what Badger had at its beginning, and what was written since, which
// Badger gets to know only when all of it is there. (Badger's own transactions allow one scan at a time, and sort all
// their writes for each.)
type writer struct {
	base   reader
	writes *keymap.Edit[write] // keys are tagged
	budget budget.Budget
}

// Get implements persistence.Reader.
func (w *writer) Get(key []byte) (value []byte, ok bool, err error) {
	key = tagged(key)
	if written, ok := w.writes.Get(key); ok {
		return written.copied()
	}
	return w.base.get(key)
}

// Put implements persistence.Writer.
func (w *writer) Put(key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	return w.budget.Put(key, value, w.write(key, write{value: value}))
}

// Delete implements persistence.Writer.
func (w *writer) Delete(key []byte) error {
	return w.budget.Delete(key, w.write(key, write{deleted: true}))
}

// write notes what becomes of a key, and returns the size of what was to become of it before.
func (w *writer) write(key []byte, what write) (before int) {
	was, replaced := w.writes.Put(tagged(key), what)
	if !replaced {
		return 0
	}
	return budget.Size(key, was.value)
}

// Scan implements persistence.Reader.
func (w *writer) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	base := w.base.ascend(prefix, from)
	if w.writes.Len() == 0 {
		return scan(base, fn)
	}
	start := tagged(from)
	if bytes.Compare(start, tagged(prefix)) < 0 {
		start = tagged(prefix)
	}
	return scan(merge(base, tagged(prefix), w.writes.Map().Ascend(start), false), fn)
}

// ScanReverse implements persistence.Reader.
func (w *writer) ScanReverse(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	base := w.base.descend(prefix, from)
	if w.writes.Len() == 0 {
		return scan(base, fn)
	}
	start := keymap.After(tagged(prefix))
	if from != nil && bytes.Compare(tagged(from), start) < 0 {
		start = tagged(from)
	}
	return scan(merge(base, tagged(prefix), descend(w.writes.Map(), tagged(prefix), start), true), fn)
}

// descend returns a cursor on the last key with a prefix, at or before start.
func descend(m keymap.Map[write], prefix, start []byte) *keymap.Cursor[write] {
	c := m.Descend(start)
	if c.Valid() && bytes.Equal(c.Key(), start) && !bytes.HasPrefix(start, prefix) {
		c.Next()
	}
	return c
}

// merged is a cursor over what there was and, on top of it, what was written.
type merged struct {
	base    cursor
	prefix  []byte // tagged
	top     *keymap.Cursor[write]
	reverse bool
}

func merge(base cursor, prefix []byte, top *keymap.Cursor[write], reverse bool) *merged {
	m := &merged{base: base, prefix: prefix, top: top, reverse: reverse}
	m.skipDeleted()
	return m
}

func (m *merged) topValid() bool {
	return m.top.Valid() && bytes.HasPrefix(m.top.Key(), m.prefix)
}

// order says which cursor comes first: the base (-1), the top (1), or both stand on the same key (0). At least one of
// them is valid.
func (m *merged) order() int {
	switch {
	case !m.topValid():
		return -1
	case !m.base.valid():
		return 1
	}
	c := bytes.Compare(m.base.key(), m.top.Key())
	if m.reverse {
		return -c
	}
	return c
}

// skipDeleted moves on while the next key is one that was deleted.
func (m *merged) skipDeleted() {
	for m.valid() && m.order() >= 0 && m.top.Value().deleted {
		m.advance()
	}
}

func (m *merged) advance() {
	c := m.order()
	if c <= 0 {
		m.base.next()
	}
	if c >= 0 {
		m.top.Next()
	}
}

func (m *merged) valid() bool { return m.base.valid() || m.topValid() }
func (m *merged) close()      { m.base.close() }

func (m *merged) next() {
	m.advance()
	m.skipDeleted()
}

func (m *merged) key() []byte {
	if m.order() < 0 {
		return m.base.key()
	}
	return m.top.Key()
}

func (m *merged) value(fn func(value []byte) error) error {
	if m.order() < 0 {
		return m.base.value(fn)
	}
	return fn(m.top.Value().value)
}
