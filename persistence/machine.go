package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Entry is a committed entry of the log: commands that were proposed together.
type Entry struct {
	Index    uint64
	At       time.Time
	Commands [][]byte
}

// Machine is the replicated state machine: it applies entries to a store and
// answers questions about the state.
type Machine struct {
	store   Store
	codec   *Codec
	applied atomic.Uint64
}

// Open takes up a store where it was left.
func Open(store Store, codec *Codec) (*Machine, error) {
	m := &Machine{store: store, codec: codec}
	return m, m.resume()
}

func (m *Machine) resume() error {
	return m.View(func(v *View) error {
		index, err := v.Applied()
		m.applied.Store(index)
		return err
	})
}

// AppliedIndex is the index of the last entry in the state.
func (m *Machine) AppliedIndex() uint64 { return m.applied.Load() }

// View reads the state at one point in time.
func (m *Machine) View(fn func(v *View) error) error {
	return m.store.View(func(r Reader) error { return fn(&View{r: r, codec: m.codec}) })
}

// Codec returns the codec the state is kept with.
func (m *Machine) Codec() *Codec { return m.codec }

// Apply applies entries, in order, in one atomic write. It returns one result
// for each command of each entry. Entries that were applied before are skipped
// and have no results. An error is fatal: nothing was applied and nothing may
// be applied any more.
func (m *Machine) Apply(entries []Entry) ([][]Result, error) {
	results := make([][]Result, len(entries))
	last := m.applied.Load()
	err := m.store.Update(func(w Writer) error {
		for i, e := range entries {
			if e.Index <= last {
				continue
			}
			var err error
			if results[i], err = m.applyEntry(w, e); err != nil {
				return fmt.Errorf("applying entry %d: %w", e.Index, err)
			}
			last = e.Index
		}
		return w.Put(key(familyMeta, "applied"), binary.BigEndian.AppendUint64(nil, last))
	})
	if err != nil {
		return nil, err
	}
	m.applied.Store(last)
	return results, nil
}

func (m *Machine) applyEntry(w Writer, e Entry) ([]Result, error) {
	results := make([]Result, len(e.Commands))
	var event uint32
	for i, data := range e.Commands {
		cmd, err := m.codec.DecodeCommand(data)
		if err != nil {
			return nil, err
		}
		before := event
		t := newTx(w, m.codec, e.Index, e.At.UTC(), &event)
		results[i], err = cmd.apply(t)
		if refusal, ok := errors.AsType[*resources.Error](err); ok {
			results[i], event = Result{Err: refusal}, before
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmd.commandName(), err)
		}
		if err := t.flush(w); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// Sync makes everything applied so far durable.
func (m *Machine) Sync() error { return m.store.Sync() }

// Freeze pins the state as it is, for a snapshot.
func (m *Machine) Freeze() (Frozen, error) {
	s, ok := m.store.(Snapshotter)
	if !ok {
		return nil, errors.New("taking a snapshot: the store can't")
	}
	return s.Freeze()
}

// Load replaces the state by that of a stream that Freeze's result wrote.
func (m *Machine) Load(r io.Reader) error {
	s, ok := m.store.(Snapshotter)
	if !ok {
		return errors.New("loading a snapshot: the store can't")
	}
	if err := s.Load(r); err != nil {
		return err
	}
	return m.resume()
}
