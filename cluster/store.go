package cluster

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// guardedStore is raft's log and stable store. Any error of them is the end of the node: raft would go on as a
// follower after an error of the log, and end the process after one of the stable store, and the log library is known
// to keep failing after one.
type guardedStore struct {
	logs    raft.LogStore
	stable  raft.StableStore
	metrics Metrics
	fail    func(error)

	// running says that raft's goroutines are at work. A goroutine of raft that would end the process is ended itself
	// then: raft's own clean-up runs, and nothing is sent or answered any more.
	running atomic.Bool
	broken  atomic.Pointer[error]

	// stall, if set, is called before each append: a disk that hangs, for tests.
	stall atomic.Pointer[func()]

	lately lately

	mu sync.Mutex
	// others are the indexes of entries that hold no commands, of those appended by this process: elections and changes of
	// members, so few.
	others map[uint64]bool
}

// note takes down which entries hold no commands.
func (s *guardedStore) note(logs []*raft.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			delete(s.others, l.Index)
			continue
		}
		if s.others == nil {
			s.others = map[uint64]bool{}
		}
		s.others[l.Index] = true
	}
}

// lastCommand returns the last entry up to index that holds commands; above says that there is one behind floor.
func (s *guardedStore) lastCommand(index, floor uint64) (last uint64, above bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for index > floor && s.others[index] {
		index--
	}
	return index, index > floor
}

// FirstIndex implements raft.LogStore.
func (s *guardedStore) FirstIndex() (uint64, error) { return guarded(s, s.logs.FirstIndex) }

// LastIndex implements raft.LogStore.
func (s *guardedStore) LastIndex() (uint64, error) { return guarded(s, s.logs.LastIndex) }

// GetLog implements raft.LogStore. The caller in raft that applies entries ends the process on an error.
func (s *guardedStore) GetLog(index uint64, log *raft.Log) error {
	err := s.check("reading the log", func() error {
		if s.lately.get(index, log) {
			return nil
		}
		return s.logs.GetLog(index, log)
	})
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		s.endGoroutine()
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *guardedStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (s *guardedStore) StoreLogs(logs []*raft.Log) error {
	start := time.Now()
	if stall := s.stall.Load(); stall != nil {
		(*stall)()
	}
	err := s.check("appending to the log", func() error { return s.logs.StoreLogs(logs) })
	if err == nil {
		s.note(logs)
		s.lately.add(logs)
		s.metrics.stored(len(logs), start)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (s *guardedStore) DeleteRange(first, last uint64) error {
	s.lately.forget()
	return s.check("truncating the log", func() error { return s.logs.DeleteRange(first, last) })
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *guardedStore) IsMonotonic() bool {
	m, ok := s.logs.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// Set implements raft.StableStore.
func (s *guardedStore) Set(key, value []byte) error {
	return s.vital(func() error { return s.stable.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (s *guardedStore) SetUint64(key []byte, value uint64) error {
	return s.vital(func() error { return s.stable.SetUint64(key, value) })
}

// Get implements raft.StableStore.
func (s *guardedStore) Get(key []byte) ([]byte, error) {
	return guarded(s, func() ([]byte, error) { return s.stable.Get(key) })
}

// GetUint64 implements raft.StableStore.
func (s *guardedStore) GetUint64(key []byte) (uint64, error) {
	return guarded(s, func() (uint64, error) { return s.stable.GetUint64(key) })
}

// guarded is check for a call with a result.
func guarded[T any](s *guardedStore, call func() (T, error)) (result T, err error) {
	err = s.check("reading the log", func() error {
		result, err = call()
		return err
	})
	return result, err
}

// vital is check for a call after whose failure raft would end the process.
func (s *guardedStore) vital(call func() error) error {
	err := s.check("writing term and vote", call)
	if err != nil {
		s.endGoroutine()
	}
	return err
}

// check makes the call, unless one failed before.
func (s *guardedStore) check(what string, call func() error) error {
	if broken := s.broken.Load(); broken != nil {
		return *broken
	}
	err := call()
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || isNotFound(err) {
		return err
	}
	err = &storeError{what: what, err: err}
	if s.broken.CompareAndSwap(nil, &err) && s.running.Load() {
		s.fail(err)
	}
	return err
}

// isNotFound recognises the answer of a stable store that has no value, as raft does.
func isNotFound(err error) bool { return err.Error() == "not found" }

func (s *guardedStore) endGoroutine() {
	if s.running.Load() {
		runtime.Goexit()
	}
}

// storeError is an error of the log or the stable store.
type storeError struct {
	what string
	err  error
}

// Error implements error.
func (e *storeError) Error() string { return e.what + ": " + e.err.Error() }

// Unwrap gives the error of the store.
func (e *storeError) Unwrap() error { return e.err }
