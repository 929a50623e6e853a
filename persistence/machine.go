package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Entry is a committed entry of the log: commands that were proposed together.
type Entry struct {
	Index uint64
	// Term of the leader that took the commands in.
	Term     uint64
	At       time.Time
	Commands [][]byte
}

// Machine is the replicated state machine: it applies entries to a store and
// answers questions about the state.
type Machine struct {
	store   Store
	codec   *Codec
	applied atomic.Uint64
	memory  *memory // of Apply alone, which never runs twice at a time, nor beside Load
	recent  recent
	changes map[resources.Kind]*atomic.Uint64
	// placements counts changes of the shard table.
	placements atomic.Uint64
	level      atomic.Uint32 // of the zone
}

// Open takes up a store where it was left.
func Open(store Store, codec *Codec) (*Machine, error) {
	m := &Machine{store: store, codec: codec, changes: map[resources.Kind]*atomic.Uint64{}}
	for kind := range codec.vocabulary {
		m.changes[kind] = &atomic.Uint64{}
	}
	return m, m.resume()
}

func (m *Machine) resume() error {
	m.memory = newMemory()
	for _, n := range m.changes {
		n.Add(1)
	}
	m.placements.Add(1)
	err := m.View(func(v *View) error {
		index, err := v.Applied()
		m.applied.Store(index)
		m.recent.begin(index)
		return err
	})
	if err != nil {
		return err
	}
	return m.readLevel()
}

// AppliedIndex is the index of the last entry in the state.
func (m *Machine) AppliedIndex() uint64 { return m.applied.Load() }

// View reads the state at one point in time.
func (m *Machine) View(fn func(v *View) error) error {
	return m.store.View(func(r Reader) error { return fn(&View{r: r, codec: m.codec}) })
}

// Codec returns the codec the state is kept with.
func (m *Machine) Codec() *Codec { return m.codec }

// Apply applies entries, in order, each in one atomic write that it may share with others. It returns one result for
// each command of each entry. Entries that were applied before are skipped and have no results. An error is fatal:
// nothing more may be applied.
func (m *Machine) Apply(entries []Entry) ([][]Result, error) {
	results, err := m.applyTogether(entries)
	if len(entries) == 1 || !errors.Is(err, ErrBatchTooLarge) {
		return results, err
	}
	half := len(entries) / 2
	first, err := m.Apply(entries[:half])
	if err != nil {
		return nil, err
	}
	second, err := m.Apply(entries[half:])
	return append(first, second...), err
}

func (m *Machine) applyTogether(entries []Entry) ([][]Result, error) {
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
		m.memory = newMemory() // it may hold what was not written
		return nil, err
	}
	m.count() // first: what AppliedIndex covers is counted
	m.applied.Store(last)
	m.recent.add(m.memory.events)
	clear(m.memory.events)
	m.memory.events = m.memory.events[:0]
	if m.memory.raised {
		m.memory.raised = false
		return results, m.readLevel()
	}
	return results, nil
}

// count notes which kinds the state has changes of by now.
func (m *Machine) count() {
	for kind := range m.memory.changed {
		if n := m.changes[kind]; n != nil {
			n.Add(1)
		}
	}
	clear(m.memory.changed)
	if m.memory.placed {
		m.placements.Add(1)
		m.memory.placed = false
	}
}

// Placements counts the changes of the shard table since this machine was opened: see Changes.
func (m *Machine) Placements() uint64 { return m.placements.Load() }

// Changes counts what was done to the resources of a kind since this machine was
// opened: what was read of them after one count holds as long as it stays.
func (m *Machine) Changes(kind resources.Kind) uint64 {
	if n := m.changes[kind]; n != nil {
		return n.Load()
	}
	return 0
}

func (m *Machine) applyEntry(w Writer, e Entry) ([]Result, error) {
	results := make([]Result, len(e.Commands))
	var event uint32
	written, p := 0, &pending{under: w}
	for i, data := range e.Commands {
		cmd, err := m.codec.DecodeCommand(data)
		if errors.Is(err, ErrNewer) {
			return nil, err // others may be able to apply it: this node must not go another way
		}
		if err != nil {
			results[i] = Result{Err: malformed(err)}
			continue
		}
		before := event
		t := newTx(p, m.codec, m.memory, e, &event)
		if results[i], err = perform(cmd, t); err == nil {
			written, err = t.fits(written)
		}
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

// perform applies a command to what is pending. A defect in the code of one command refuses that command, here and on
// every other node: it must not end the zone, again at each start.
func perform(cmd Command, t *tx) (result Result, err error) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		result, err = Result{}, fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		if _, ours := cause.(runtime.Error); ours { // another may be of the store, and not be met by all nodes
			err = malformed(fmt.Errorf("applying %s: %w", cmd.commandName(), err))
		}
	}()
	if err := t.has(cmd); err != nil {
		return Result{}, err
	}
	return cmd.apply(t)
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
