package cluster

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// fsm is the state machine as raft knows it.
type fsm struct {
	machine StateMachine
	metrics Metrics
	fail    func(error)
	watch   *watch
	usage   *logUsage
	persist func(frozen) raft.FSMSnapshot
	accept  func(m Manifest) error // says whether a snapshot may be restored
	levels  Levels                 // that may be applied
	level   func() uint32          // of the machine
	// deliver is told the result of each command that a node sent to its leader, before applied says so.
	deliver func(t tag, r Result)
	// replaced is told how far the state is after it was replaced by a snapshot.
	replaced func(applied uint64)
	// agreed is told the last of entries that are agreed on, before they are applied.
	agreed func(index, term uint64)

	applied atomic.Uint64 // of the machine
	mu      sync.Mutex    // held while the machine is called; guards what follows
	last    time.Time     // the greatest time of all entries so far, also of those that the machine had already
	broken  error
	refused error // why the last Restore failed, which raft tells nobody
}

// outcome is what raft carries from the state machine to the proposer of a frame.
type outcome struct {
	results Results
	err     error
}

// Apply implements raft.FSM.
func (f *fsm) Apply(log *raft.Log) any { return f.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	if len(logs) == 0 {
		return nil
	}
	f.agreed(logs[len(logs)-1].Index, logs[len(logs)-1].Term)
	f.mu.Lock()
	defer f.mu.Unlock()
	responses := make([]any, len(logs))
	batch, err := f.decode(logs)
	for len(batch) > 0 && err == nil {
		n := chunk(batch)
		if err = f.apply(batch[:n], responses); err == nil {
			batch = batch[n:]
		}
	}
	if err != nil {
		f.giveUp(err)
		for i, r := range responses {
			if r == nil {
				responses[i] = outcome{err: f.broken}
			}
		}
	}
	return responses
}

// due is an entry that the machine does not have yet.
type due struct {
	Entry
	place int // among what raft handed over
	tags  []tag
}

// decode returns the entries that the machine does not have yet.
func (f *fsm) decode(logs []*raft.Log) (batch []due, err error) {
	if f.broken != nil {
		return nil, f.broken
	}
	for i, log := range logs {
		if log.Type != raft.LogCommand {
			continue
		}
		frame, err := decodeFrame(log.Data)
		if err != nil {
			return nil, fmt.Errorf("reading entry %d: %w", log.Index, err)
		}
		if err := f.levels.check(frame.level); frame.level > f.levels.Newest {
			return nil, fmt.Errorf("entry %d: %w", log.Index, err)
		}
		if frame.at.After(f.last) {
			f.last = frame.at
		}
		f.usage.add(len(log.Data))
		if log.Index <= f.applied.Load() {
			continue
		}
		e := Entry{Index: log.Index, Term: log.Term, AppendedAt: f.last, Data: log.Data}
		batch = append(batch, due{Entry: e, place: i, tags: frame.tags})
	}
	return batch, nil
}

// chunk returns how many of batch go into one Apply.
func chunk(batch []due) int {
	bytes := 0
	for i, e := range batch {
		if bytes += len(e.Data); bytes > maxApplyBytes && i > 0 {
			return i
		}
	}
	return len(batch)
}

// apply hands entries to the machine and puts their results into responses.
func (f *fsm) apply(batch []due, responses []any) error {
	start := time.Now()
	entries := make([]Entry, len(batch))
	for i, e := range batch {
		entries[i] = e.Entry
	}
	results, err := f.call(entries)
	first, last := entries[0].Index, entries[len(entries)-1].Index
	if err != nil {
		return fmt.Errorf("applying entries %d to %d: %w", first, last, err)
	}
	if len(results) != len(entries) {
		return fmt.Errorf("applying entries %d to %d: %d results for %d entries", first, last, len(results), len(entries))
	}
	commands := 0
	for i, r := range results {
		commands += len(r)
		responses[batch[i].place] = outcome{results: r}
		f.answer(batch[i], r)
	}
	f.applied.Store(last)
	f.metrics.applied(len(entries), commands, start)
	f.watch.advance(last)
	return nil
}

// answer hands out the results of what was sent to a leader.
func (f *fsm) answer(e due, results Results) {
	if len(e.tags) != len(results) {
		return
	}
	for i, t := range e.tags {
		if t != (tag{}) {
			f.deliver(t, results[i])
		}
	}
}

// call calls the machine. A machine that panics is not to be called again.
func (f *fsm) call(entries []Entry) (results []Results, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the state machine panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return f.machine.Apply(entries)
}

// giveUp ends the node because of err. The caller holds mu.
func (f *fsm) giveUp(err error) {
	if f.broken == nil {
		f.broken = err
		f.fail(err)
	}
}

// frozen is a pinned state, and where in the log it is.
type frozen struct {
	state Snapshot
	index uint64
	last  time.Time
	usage usageMark
	level uint32
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	s, err := f.freeze()
	if err != nil {
		return nil, err
	}
	return f.persist(s), nil
}

// freeze pins the state. A state of which it is not known what was applied is not pinned.
func (f *fsm) freeze() (frozen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return frozen{}, f.broken
	}
	s, err := f.machine.Snapshot()
	if err != nil {
		return frozen{}, fmt.Errorf("pinning the state: %w", err)
	}
	return frozen{state: s, index: f.applied.Load(), last: f.last, usage: f.usage.mark(), level: f.level()}, nil
}

// lastTime returns the greatest time of all entries so far.
func (f *fsm) lastTime() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *fsm) restoreError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused
}

// Restore implements raft.FSM. Raft has closed r's source when this returns.
func (f *fsm) Restore(source io.ReadCloser) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return f.broken
	}
	m, err := f.restore(source)
	if err != nil {
		f.refused = fmt.Errorf("restoring a snapshot: %w", err)
		return f.refused
	}
	f.refused = nil
	f.last = m.LastTime
	f.applied.Store(f.machine.AppliedIndex())
	f.watch.advance(f.applied.Load())
	f.replaced(f.applied.Load())
	return nil
}

func (f *fsm) restore(source io.Reader) (Manifest, error) {
	r, err := newEnvelopeReader(source)
	if err != nil {
		return Manifest{}, err
	}
	m := r.manifest
	if err := f.accept(m); err != nil {
		return m, err
	}
	if err := f.machine.Restore(r); err != nil {
		return m, err
	}
	if err := r.finished(); err != nil {
		return m, err
	}
	if got := f.machine.AppliedIndex(); got != m.Index {
		return m, fmt.Errorf("%w: the state is at index %d, its snapshot says %d", ErrCorrupt, got, m.Index)
	}
	return m, nil
}
