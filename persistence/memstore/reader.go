package memstore

import (
	"bytes"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/budget"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// reader reads one version of the state.
type reader struct{ source keymap.Map[[]byte] }

// Get implements persistence.Reader.
func (r reader) Get(key []byte) (value []byte, ok bool, err error) {
	value, ok = r.source.Get(key)
	if !ok {
		return nil, false, nil
	}
	return clone(value), true, nil
}

// Scan implements persistence.Reader.
func (r reader) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	return scan(r.source.Ascend(from), prefix, fn)
}

// ScanReverse implements persistence.Reader.
func (r reader) ScanReverse(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	end := keymap.After(prefix)
	if from != nil && (end == nil || bytes.Compare(from, end) < 0) {
		end = from
	}
	cursor := r.source.Descend(end)
	if cursor.Valid() && !bytes.HasPrefix(cursor.Key(), prefix) && bytes.Compare(cursor.Key(), prefix) > 0 {
		cursor.Next() // it stands on the first key after those with prefix
	}
	return scan(cursor, prefix, fn)
}

func scan(c *keymap.Cursor[[]byte], prefix []byte, fn func(key, value []byte) (bool, error)) error {
	for ; c.Valid() && bytes.HasPrefix(c.Key(), prefix); c.Next() {
		more, err := fn(c.Key(), c.Value())
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// writer is the state in the middle of an Update.
type writer struct {
	edit   *keymap.Edit[[]byte]
	budget budget.Budget
	sizes  map[string]int // of what was written so far, by key
}

// Get implements persistence.Reader.
func (w *writer) Get(key []byte) ([]byte, bool, error) {
	value, ok := w.edit.Get(key)
	if !ok {
		return nil, false, nil
	}
	return clone(value), true, nil
}

// Scan implements persistence.Reader.
func (w *writer) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	return reader{source: w.edit.Map()}.Scan(prefix, from, fn)
}

// ScanReverse implements persistence.Reader.
func (w *writer) ScanReverse(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	return reader{source: w.edit.Map()}.ScanReverse(prefix, from, fn)
}

// Put implements persistence.Writer.
func (w *writer) Put(key, value []byte) error {
	if err := w.budget.Put(key, value, w.sizes[string(key)]); err != nil {
		return err
	}
	w.sizes[string(key)] = budget.Size(key, value)
	if value == nil {
		value = []byte{}
	}
	w.edit.Put(bytes.Clone(key), value)
	return nil
}

// Delete implements persistence.Writer.
func (w *writer) Delete(key []byte) error {
	if err := w.budget.Delete(key, w.sizes[string(key)]); err != nil {
		return err
	}
	w.sizes[string(key)] = budget.Size(key, nil)
	w.edit.Delete(key)
	return nil
}
