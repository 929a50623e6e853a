package badgerstore

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
)

// resident are the keys with some prefixes as Badger has them, kept in memory, too: to look for a key in Badger, or to
// begin a scan, is to look into each of its newest tables, also where there is nothing to find. It never changes.
type resident struct {
	prefixes [][]byte // tagged, in order, none the beginning of another
	keys     keymap.Map[write]
}

// newResident reads what Badger has.
func newResident(db *badger.DB, prefixes [][]byte) (resident, error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	edit := keymap.Map[write]{}.Edit()
	r := resident{}
	for _, prefix := range slices.SortedFunc(slices.Values(prefixes), bytes.Compare) {
		if r.has(tagged(prefix)) {
			continue
		}
		r.prefixes = append(r.prefixes, tagged(prefix))
		err := reader{txn: txn}.Scan(prefix, nil, func(key, value []byte) (bool, error) {
			edit.Put(tagged(key), write{value: append([]byte{}, value...)})
			return true, nil
		})
		if err != nil {
			return r, err
		}
	}
	r.keys = edit.Map()
	return r, nil
}

// has reports whether all keys that begin with some bytes, tagged, are resident.
func (r resident) has(key []byte) bool {
	i, same := slices.BinarySearchFunc(r.prefixes, key, bytes.Compare)
	return same || i > 0 && bytes.HasPrefix(key, r.prefixes[i-1])
}

// with is what is resident once Badger has some more writes. None of them is of the log: see apart.
func (r resident) with(writes keymap.Map[write]) resident {
	edit := r.keys.Edit()
	for _, prefix := range r.prefixes {
		for w := writes.Ascend(prefix); w.Valid() && bytes.HasPrefix(w.Key(), prefix); w.Next() {
			if w.Value().deleted {
				edit.Delete(w.Key())
			} else {
				edit.Put(w.Key(), w.Value())
			}
		}
	}
	r.keys = edit.Map()
	return r
}

// apart refuses to have keys in a log that are resident, too: Badger does not have those of a log.
func (o Options) apart(logged []byte) error {
	if len(logged) == 0 {
		return nil
	}
	for _, prefix := range o.Resident {
		if bytes.HasPrefix(prefix, logged) || bytes.HasPrefix(logged, prefix) {
			return fmt.Errorf("keys with %q are in a log, and those with %q are asked for in memory", logged, prefix)
		}
	}
	return nil
}

// nothing is a cursor over no keys.
type nothing struct{}

func (nothing) valid() bool                    { return false }
func (nothing) key() []byte                    { return nil }
func (nothing) value(func([]byte) error) error { return nil }
func (nothing) next()                          {}
func (nothing) close()                         {}
