package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// storage is where raft keeps log, term and snapshots.
type storage struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	// state opens the content of a snapshot without verifying all of it, as the snapshot store does.
	state func(id string) (io.ReadCloser, error)
	// unfinished opens the content of a snapshot that is being written, if it is a file.
	unfinished func(id string) (*os.File, error)
	close      func() error
}

// unfinishedSuffix is what raft's snapshot store has at the end of the name of a snapshot that is being written.
const unfinishedSuffix = ".tmp"

// Memory keeps what a node in memory wrote, as a disk does: for tests that open the node again. One node at a time uses
// it.
type Memory struct{ storage *storage }

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openMemory opens a storage for tests.
func openMemory() storage {
	s, snapshots := raft.NewInmemStore(), &memorySnapshots{}
	return storage{
		logs: s, stable: s, snapshots: snapshots,
		state: func(id string) (io.ReadCloser, error) {
			_, source, err := snapshots.Open(id)
			return source, err
		},
		close: func() error { return nil },
	}
}

// open returns what was kept.
func (m *Memory) open() storage {
	if m == nil {
		return openMemory()
	}
	if m.storage == nil {
		s := openMemory()
		m.storage = &s
	}
	return *m.storage
}

// openDisk opens the storage in dir, and makes it if there is none.
func openDisk(dir string, cfg Config, log hclog.Logger) (storage, error) {
	logDir := filepath.Join(dir, "log")
	if err := os.MkdirAll(logDir, 0o700); err != nil {
		return storage{}, err
	}
	list := &segments{segmentBytes: cfg.SegmentBytes}
	logs, err := wal.Open(logDir,
		wal.WithSegmentSize(cfg.SegmentBytes), wal.WithLogger(log), wal.WithMetaStore(list))
	if err != nil {
		return storage{}, errors.Join(fmt.Errorf("opening the log: %w", logError(err)), list.Close())
	}
	snapshots, err := openSnapshots(dir, log)
	if err == nil {
		err = durable.Sync(dir) // the folders of log and snapshots are new at times
	}
	if err != nil {
		return storage{}, errors.Join(err, logs.Close())
	}
	state := func(id string) (io.ReadCloser, error) {
		return os.Open(filepath.Join(dir, "snapshots", id, "state.bin"))
	}
	unfinished := func(id string) (*os.File, error) {
		return os.Open(filepath.Join(dir, "snapshots", id+unfinishedSuffix, "state.bin"))
	}
	return storage{
		logs: logs, stable: logs, snapshots: snapshots, state: state, unfinished: unfinished, close: logs.Close,
	}, nil
}

// logError marks what the log library takes for damage.
func logError(err error) error {
	if errors.Is(err, wal.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// openSnapshots opens the snapshots in dir, and removes those that a killed process did not finish, which raft leaves.
func openSnapshots(dir string, log hclog.Logger) (raft.SnapshotStore, error) {
	unfinished, err := filepath.Glob(filepath.Join(dir, "snapshots", "*"+unfinishedSuffix))
	if err != nil {
		return nil, err
	}
	for _, path := range unfinished {
		if err := os.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("removing an unfinished snapshot: %w", err)
		}
	}
	s, err := raft.NewFileSnapshotStoreWithLogger(dir, retainedSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	return s, nil
}

// history is what the storage holds when a node is opened.
type history struct {
	first, last uint64             // indexes of the log, 0 if it is empty
	snapshot    *raft.SnapshotMeta // the newest, or nil
	manifest    Manifest           // of it
	exists      bool
}

func (s storage) history() (h history, err error) {
	if h.exists, err = raft.HasExistingState(s.logs, s.stable, s.snapshots); err != nil {
		return h, fmt.Errorf("looking at the log: %w", logError(err))
	}
	if h.first, err = s.logs.FirstIndex(); err != nil {
		return h, fmt.Errorf("looking at the log: %w", logError(err))
	}
	if h.last, err = s.logs.LastIndex(); err != nil {
		return h, fmt.Errorf("looking at the log: %w", logError(err))
	}
	all, err := s.snapshots.List()
	if err != nil || len(all) == 0 {
		return h, err
	}
	h.snapshot = all[0]
	source, err := s.state(h.snapshot.ID)
	if err != nil {
		return h, fmt.Errorf("%w: opening snapshot %s: %w", ErrCorrupt, h.snapshot.ID, err)
	}
	e, err := newEnvelopeReader(source)
	if err := errors.Join(err, source.Close()); err != nil {
		return h, fmt.Errorf("opening snapshot %s: %w", h.snapshot.ID, err)
	}
	h.manifest = e.manifest
	return h, nil
}

// check compares the history with a state machine that has applied entries up to applied. Restore says that the
// snapshot must be given to it.
func (h history) check(applied uint64) (restore bool, err error) {
	covered := uint64(0) // by the snapshot
	if h.snapshot != nil {
		covered = h.snapshot.Index
	}
	switch {
	case h.first > covered+1:
		return false, fmt.Errorf("%w: the log begins at %d and the newest snapshot ends at %d", ErrCorrupt, h.first, covered)
	case applied > max(h.last, covered):
		return false, fmt.Errorf("%w: the state is at index %d, but the log ends at %d: they are not of the same node",
			ErrForeign, applied, max(h.last, covered))
	}
	// What the state lacks is in the log only behind the snapshot's index: raft hands over no entry before it.
	return h.snapshot != nil && applied < h.manifest.Index, nil
}
