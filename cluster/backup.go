package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// Backup writes the state as it is now, while the node goes on. The node does not have to lead. What it wrote is whole
// only if the error is nil; RestoreBackup and ReadBackup find out.
func (n *Node) Backup(w io.Writer) (Manifest, error) {
	if err := n.stoppedError(); err != nil {
		return Manifest{}, fmt.Errorf("backing up: %w", err)
	}
	f, err := n.fsm.freeze()
	if err != nil {
		return Manifest{}, fmt.Errorf("backing up: %w", err)
	}
	defer f.state.Release()
	m := n.manifest(kindBackup, f)
	if _, err := n.writeState(w, f.state, m); err != nil {
		return Manifest{}, fmt.Errorf("backing up: %w", err)
	}
	return m, nil
}

// writeState writes an envelope with what s holds.
func (n *Node) writeState(w io.Writer, s Snapshot, m Manifest) (written int64, err error) {
	e, err := newEnvelopeWriter(w, m, n.stopping)
	if err != nil {
		return 0, err
	}
	if err := s.Persist(e); err != nil {
		return e.written, fmt.Errorf("writing the state: %w", err)
	}
	return e.written, e.close()
}

// manifest says what f is, and where and when.
func (n *Node) manifest(kind string, f frozen) Manifest {
	return Manifest{
		Kind: kind, ClusterID: n.id.ClusterID, NodeID: n.id.NodeID,
		Index: f.index, Term: n.raft.CurrentTerm(), LastTime: f.last, Created: time.Now().UTC(), Level: f.level,
	}
}

// ReadBackup reads a backup to its end and says what it holds, or ErrCorrupt or ErrVersion.
func ReadBackup(r io.Reader) (Manifest, error) {
	e, err := newEnvelopeReader(r)
	if err == nil {
		_, err = io.Copy(io.Discard, e)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("reading a backup: %w", err)
	}
	return e.manifest, nil
}

// OpenBackup returns a reader of the state that a backup holds, as it was written; it fails at the end if the backup is
// not whole. Errors, also of the reader: ErrCorrupt, ErrVersion.
func OpenBackup(r io.Reader) (io.Reader, Manifest, error) {
	e, err := newEnvelopeReader(r)
	if err != nil {
		return nil, Manifest{}, fmt.Errorf("reading a backup: %w", err)
	}
	return e, e.manifest, nil
}

// RestoreTarget says where a backup goes.
type RestoreTarget struct {
	// Dir becomes the directory of a node. It must be empty, or not there. Required.
	Dir string
	// NodeID is the node that will open Dir. Empty means the one that made the backup.
	NodeID string
	// ClusterID names the new cluster. Empty means a new random id. It must not be the one of the backup: nodes of the
	// old cluster must never take the restored one for theirs.
	ClusterID string
	// Levels of zones that the program can work with which will open Dir: a backup of another one is refused.
	Levels Levels
}

// restoringFile is in a directory while a backup is restored into it.
const restoringFile = "RESTORING"

// RestoreBackup makes target.Dir the directory of a node that is the only one of a new cluster and has the state of a
// backup, which the node's state machine is given when it is opened. No node may have the directory open. If the
// backup is not whole nothing is left in the directory. Errors: ErrCorrupt, ErrVersion, ErrNotEmpty, ErrForeign.
func RestoreBackup(r io.Reader, target RestoreTarget) (Manifest, error) {
	m, err := restoreBackup(r, target)
	if err != nil {
		return Manifest{}, fmt.Errorf("restoring a backup into %s: %w", target.Dir, err)
	}
	return m, nil
}

func restoreBackup(r io.Reader, target RestoreTarget) (m Manifest, err error) {
	e, err := newEnvelopeReader(r)
	if err != nil {
		return m, err
	}
	if e.manifest.ClusterID == target.ClusterID {
		return m, fmt.Errorf("%w: the new cluster must not have the id %q of the old", ErrForeign, target.ClusterID)
	}
	if err := target.Levels.check(e.manifest.Level); err != nil {
		return m, fmt.Errorf("the backup was %w", err)
	}
	id := identity{ClusterID: target.ClusterID, NodeID: orElse(target.NodeID, e.manifest.NodeID)}
	if id, err = id.complete(); err != nil {
		return m, err
	}
	made, err := emptyDir(target.Dir)
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clearDir(target.Dir, made))
		}
	}()
	if err := durable.ReplaceFile(filepath.Join(target.Dir, restoringFile), []byte("interrupted\n")); err != nil {
		return m, err
	}
	if m, err = fillDir(target.Dir, id, e); err != nil {
		return m, err
	}
	if err := id.write(target.Dir); err != nil {
		return m, err
	}
	if err := os.Remove(filepath.Join(target.Dir, restoringFile)); err != nil {
		return m, err
	}
	return m, durable.Sync(target.Dir)
}

// fillDir makes the snapshot and the log of a node that has the state in e. Terms begin again: no other node may know
// the ones of the backup. Indexes leap, as what was done after the backup may be remembered by drivers and callers.
func fillDir(dir string, id identity, e *envelopeReader) (Manifest, error) {
	m := e.manifest
	if m.Index == 0 {
		return m, fmt.Errorf("%w: the backup says that nothing was ever applied", ErrCorrupt)
	}
	return m, beginning{
		id: id, address: raft.ServerAddress(id.NodeID), index: m.Index + indexLeap, term: 1, manifest: m,
		write: func(w io.Writer) error {
			_, err := io.Copy(w, e)
			return err
		},
	}.fill(dir)
}

// soleVoter is the configuration of a cluster of one.
func soleVoter(nodeID string, address raft.ServerAddress) raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: raft.ServerID(nodeID), Address: address},
	}}
}

// emptyDir makes dir, or finds it empty. Made says that it was not there.
func emptyDir(dir string) (made bool, err error) {
	files, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, os.MkdirAll(dir, 0o700)
	case err != nil:
		return false, err
	case len(files) > 0:
		return false, fmt.Errorf("%w: it has %q", ErrNotEmpty, files[0].Name())
	}
	return false, nil
}

// clearDir removes what a failed restore left in dir, and dir itself if it was made for it.
func clearDir(dir string, made bool) error {
	if made {
		return os.RemoveAll(dir)
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
	}
	return err
}
