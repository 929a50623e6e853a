package keyvalue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

// machine keeps the last value of each key, behind the index of the entry that put it there.
type machine struct {
	store   *badgerstore.Store
	applied atomic.Uint64
}

// Keys of puts begin with one byte, that of the last entry's index with another.
var (
	keyPrefix  = []byte("k")
	appliedKey = []byte("a")
)

func openMachine(dir string) (*machine, error) {
	store, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	m := &machine{store: store}
	return m, m.resume()
}

// resume reads how far the state is.
func (m *machine) resume() error {
	return m.store.View(func(r persistence.Reader) error {
		data, ok, err := r.Get(appliedKey)
		if err == nil && ok {
			m.applied.Store(binary.BigEndian.Uint64(data))
		}
		return err
	})
}

// encodePut is a command: the length of the key, the key, the value.
func encodePut(key string, value []byte) []byte {
	command := binary.AppendUvarint(make([]byte, 0, len(key)+len(value)+2), uint64(len(key)))
	return append(append(command, key...), value...)
}

func decodePut(command []byte) (key, value []byte, err error) {
	n, size := binary.Uvarint(command)
	if size <= 0 || n > uint64(len(command)-size) {
		return nil, nil, errors.New("the command is no put")
	}
	return command[size : size+int(n)], command[size+int(n):], nil
}

// Apply implements cluster.StateMachine. The result of a put is the index of its entry.
func (m *machine) Apply(entries []cluster.Entry) (all []cluster.Results, err error) {
	last := m.applied.Load()
	err = m.store.Update(func(w persistence.Writer) error {
		for _, e := range entries {
			results, err := apply(w, e, e.Index > last)
			if err != nil {
				return err
			}
			all = append(all, results)
			last = max(last, e.Index)
		}
		return w.Put(appliedKey, binary.BigEndian.AppendUint64(nil, last))
	})
	if err == nil {
		m.applied.Store(last)
	}
	return all, err
}

// apply puts what an entry says, unless the state has it already.
func apply(w persistence.Writer, e cluster.Entry, isNew bool) (results cluster.Results, err error) {
	for command := range e.Commands() {
		key, value, err := decodePut(command)
		if err != nil {
			return nil, err
		}
		results = append(results, e.Index)
		if !isNew {
			continue
		}
		record := append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(value)), e.Index), value...)
		if err := w.Put(append(append([]byte(nil), keyPrefix...), key...), record); err != nil {
			return nil, fmt.Errorf("putting %s: %w", key, err)
		}
	}
	return results, nil
}

// get returns the value of a key, and the index of the entry that put it there.
func (m *machine) get(key string) (value []byte, index uint64, err error) {
	err = m.store.View(func(r persistence.Reader) error {
		record, ok, err := r.Get(append(append([]byte(nil), keyPrefix...), key...))
		if err == nil && ok {
			index, value = binary.BigEndian.Uint64(record), record[8:]
		}
		return err
	})
	return value, index, err
}

// AppliedIndex implements cluster.StateMachine.
func (m *machine) AppliedIndex() uint64 { return m.applied.Load() }

// Snapshot implements cluster.StateMachine.
func (m *machine) Snapshot() (cluster.Snapshot, error) {
	frozen, err := m.store.Freeze()
	return snapshot{frozen, m.store}, err
}

// Restore implements cluster.StateMachine.
func (m *machine) Restore(r io.Reader) error {
	if err := m.store.Load(r); err != nil {
		return err
	}
	return m.resume()
}

type snapshot struct {
	persistence.Frozen
	store *badgerstore.Store
}

// Persist implements cluster.Snapshot.
func (s snapshot) Persist(w io.Writer) error {
	_, err := s.WriteTo(w)
	return err
}

// Sync implements cluster.Snapshot.
func (s snapshot) Sync() error { return s.store.Sync() }
