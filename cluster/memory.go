package cluster

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// memorySnapshots keeps the last snapshot that was finished, as a disk does. (Raft's own store in memory has it from
// the moment on in which it is begun.)
type memorySnapshots struct {
	mu   sync.Mutex
	made int
	last *memorySnapshot // nil if there is none
}

// memorySnapshot is a snapshot, and what it is written to.
type memorySnapshot struct {
	store   *memorySnapshots
	meta    raft.SnapshotMeta
	content bytes.Buffer
}

// Create implements raft.SnapshotStore.
func (s *memorySnapshots) Create(
	version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64,
	_ raft.Transport,
) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return &memorySnapshot{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, s.made), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// List implements raft.SnapshotStore.
func (s *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil, nil
	}
	meta := s.last.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements raft.SnapshotStore.
func (s *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || s.last.meta.ID != id {
		return nil, nil, fmt.Errorf("opening snapshot %s: there is no such", id)
	}
	meta := s.last.meta
	return &meta, io.NopCloser(bytes.NewReader(s.last.content.Bytes())), nil
}

// Write implements raft.SnapshotSink.
func (s *memorySnapshot) Write(p []byte) (int, error) { return s.content.Write(p) }

// Close implements raft.SnapshotSink: the snapshot is finished.
func (s *memorySnapshot) Close() error {
	s.meta.Size = int64(s.content.Len())
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.last = s
	return nil
}

// ID implements raft.SnapshotSink.
func (s *memorySnapshot) ID() string { return s.meta.ID }

// Cancel implements raft.SnapshotSink.
func (s *memorySnapshot) Cancel() error { return nil }
