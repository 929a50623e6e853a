package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// State is what a server that does not run has of the zone's state: that of its store and, applied to it, what is in
// its log behind that, as when it starts. It is a copy, which Close removes.
type State struct {
	Store   *badgerstore.Store
	Machine *persistence.Machine
	dir     string
}

// ReadState reads the state in a data directory.
func ReadState(dataDir string) (*State, error) {
	s := &State{dir: filepath.Join(dataDir, "state-copy")}
	if err := s.read(dataDir); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the state in %s: %w", dataDir, err), s.Close())
	}
	return s, nil
}

func (s *State) read(dataDir string) error {
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	err := os.CopyFS(s.dir, os.DirFS(filepath.Join(dataDir, "state")))
	if err != nil {
		return err
	}
	if s.Store, err = badgerstore.Open(badgerstore.Options{Dir: s.dir}); err != nil {
		return err
	}
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		return err
	}
	if s.Machine, err = persistence.Open(s.Store, codec); err != nil {
		return err
	}
	log, err := cluster.OpenSurvivor(filepath.Join(dataDir, "raft"))
	if err != nil {
		return err
	}
	levels := cluster.Levels(persistence.ProgramLevels())
	return errors.Join(log.Replay(node.StateMachine(s.Machine), levels, s.Machine.Level), log.Close())
}

// Close removes the copy.
func (s *State) Close() error {
	if s.Store == nil {
		return os.RemoveAll(s.dir)
	}
	return errors.Join(s.Store.Close(), os.RemoveAll(s.dir))
}
