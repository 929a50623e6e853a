package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/frozen"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keymap"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

// Store is a persistence.Store and persistence.Snapshotter in memory.
type Store struct {
	updating sync.Mutex // held while an Update or a Load runs
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	live   keymap.Map[[]byte]
	closed bool
}

// New returns an empty Store.
func New() *Store { return &Store{} }

// View implements persistence.Store.
func (s *Store) View(fn func(r persistence.Reader) error) error {
	m, err := s.enter()
	if err != nil {
		return err
	}
	defer s.running.Done()
	return fn(reader{source: m})
}

// Update implements persistence.Store.
func (s *Store) Update(fn func(w persistence.Writer) error) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	m, err := s.enter()
	if err != nil {
		return err
	}
	defer s.running.Done()
	w := &writer{edit: m.Edit(), sizes: map[string]int{}}
	if err := fn(w); err != nil {
		return err
	}
	if err := w.budget.Err(); err != nil {
		return err
	}
	s.swap(w.edit.Map())
	return nil
}

// Sync implements persistence.Store: there is nothing more durable than memory here.
func (s *Store) Sync() error {
	if _, err := s.enter(); err != nil {
		return err
	}
	s.running.Done()
	return nil
}

// Close implements persistence.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// Freeze implements persistence.Snapshotter.
func (s *Store) Freeze() (persistence.Frozen, error) {
	m, err := s.enter()
	if err != nil {
		return nil, err
	}
	return frozen.New(reader{source: m}, nil, s.running.Done), nil
}

// Load implements persistence.Snapshotter.
func (s *Store) Load(r io.Reader) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	if _, err := s.enter(); err != nil {
		return err
	}
	defer s.running.Done()
	in, err := kvstream.NewReader(r)
	if err != nil {
		return fmt.Errorf("loading a store: %w", err)
	}
	edit := keymap.Map[[]byte]{}.Edit()
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			s.swap(edit.Map())
			return nil
		}
		if err != nil {
			return fmt.Errorf("loading a store: %w", err)
		}
		edit.Put(bytes.Clone(key), clone(value))
	}
}

// enter returns the state as it is now. The caller must call s.running.Done when it needs the store no more.
func (s *Store) enter() (keymap.Map[[]byte], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return keymap.Map[[]byte]{}, persistence.ErrClosed
	}
	s.running.Add(1)
	return s.live, nil
}

func (s *Store) swap(m keymap.Map[[]byte]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = m
}

// clone copies b and never returns nil, so that an empty value reads as an empty value.
func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }
