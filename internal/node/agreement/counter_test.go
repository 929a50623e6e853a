package agreement_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

// counter is a state machine on a persistence.Store. A command is the name of a counter, which it raises by one; the
// result is the new count. A second key is the sum of all.
type counter struct {
	store interface {
		persistence.Store
		persistence.Snapshotter
	}
	applied uint64
}

var indexKey, sumKey = []byte("index"), []byte("sum")

func openCounter(dir string) (*counter, error) {
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir, MemTableBytes: 8 << 20})
	if err != nil {
		return nil, err
	}
	c := &counter{store: s}
	return c, c.load()
}

func (c *counter) load() error {
	return c.store.View(func(r persistence.Reader) (err error) {
		c.applied, err = number(r, indexKey)
		return err
	})
}

func number(r persistence.Reader, key []byte) (uint64, error) {
	value, ok, err := r.Get(key)
	if !ok || err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}

func raise(w persistence.Writer, key []byte) (uint64, error) {
	n, err := number(w, key)
	if err != nil {
		return 0, err
	}
	return n + 1, w.Put(key, binary.BigEndian.AppendUint64(nil, n+1))
}

// Apply implements cluster.StateMachine.
func (c *counter) Apply(entries []cluster.Entry) (all []cluster.Results, err error) {
	err = c.store.Update(func(w persistence.Writer) error {
		for _, e := range entries {
			var results cluster.Results
			for command := range e.Commands() {
				name, _, _ := bytes.Cut(command, []byte(" "))
				n, err := raise(w, append([]byte("c/"), name...))
				if err != nil {
					return err
				}
				if _, err := raise(w, sumKey); err != nil {
					return err
				}
				results = append(results, n)
			}
			all = append(all, results)
		}
		return w.Put(indexKey, binary.BigEndian.AppendUint64(nil, entries[len(entries)-1].Index))
	})
	return all, err
}

// AppliedIndex implements cluster.StateMachine.
func (c *counter) AppliedIndex() uint64 {
	if err := c.load(); err != nil {
		return 0
	}
	return c.applied
}

// Snapshot implements cluster.StateMachine.
func (c *counter) Snapshot() (cluster.Snapshot, error) {
	f, err := c.store.Freeze()
	return counterSnapshot{f, c}, err
}

// Restore implements cluster.StateMachine.
func (c *counter) Restore(r io.Reader) error { return c.store.Load(r) }

type counterSnapshot struct {
	persistence.Frozen
	c *counter
}

// Persist implements cluster.Snapshot.
func (s counterSnapshot) Persist(w io.Writer) error {
	_, err := s.WriteTo(w)
	return err
}

// Sync implements cluster.Snapshot.
func (s counterSnapshot) Sync() error { return s.c.store.Sync() }

func (c *counter) stream(t *testing.T) []byte {
	t.Helper()
	f, err := c.store.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
