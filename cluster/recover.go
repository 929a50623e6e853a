package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// Survivor is the directory of a node of a cluster that lost its majority, while no server uses it. What it has can be
// made the beginning of a new cluster: see Replay and Succeed. The directory itself stays as it is.
type Survivor struct {
	lock    *os.File
	id      identity
	storage storage
	history history
	fsm     *fsm // after Replay
}

// Testimony is what a survivor knows of its cluster. It does not know what the others agreed on without it.
type Testimony struct {
	// ClusterID and NodeID say whose the directory is.
	ClusterID, NodeID string
	// Term and Index are those of the last entry of its log. Of several survivors the one with the highest term, and of
	// one term the highest index, has what all have.
	Term, Index uint64
	// LastTime is when the last commands in its log were taken in; zero if there are none.
	LastTime time.Time
	// Members are the nodes of the cluster, as far as it knows; of each its ID, Address and Voter.
	Members []Member
}

// OpenSurvivor opens the directory of a node. Errors: ErrLocked, ErrCorrupt, ErrVersion, fs.ErrNotExist.
func OpenSurvivor(dir string) (*Survivor, error) {
	s := &Survivor{}
	if err := s.open(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("opening what is left of a node in %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func (s *Survivor) open(dir string) (err error) {
	clusterID, nodeID, err := ReadIdentity(dir)
	if err != nil {
		return err
	}
	if s.lock, err = lockDir(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, restoringFile)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%w: restoring a backup was interrupted", ErrCorrupt), err)
	}
	if s.id, err = loadIdentity(dir, identity{ClusterID: clusterID, NodeID: nodeID}); err != nil {
		return err
	}
	cfg, err := Config{Dir: dir, NodeID: nodeID, Machine: nothing{}}.withDefaults()
	if err != nil {
		return err
	}
	if s.storage, err = openDisk(dir, cfg, newRaftLogger(discardLog())); err != nil {
		return err
	}
	s.history, err = s.storage.history()
	return err
}

// nothing stands for a state machine where none is called.
type nothing struct{ StateMachine }

// Close lets others open the directory.
func (s *Survivor) Close() error {
	var errs []error
	if s.storage.close != nil {
		errs = append(errs, s.storage.close())
	}
	if s.lock != nil {
		errs = append(errs, unlockDir(s.lock))
	}
	return errors.Join(errs...)
}

// Testify says what the survivor knows.
func (s *Survivor) Testify() (Testimony, error) {
	t := Testimony{ClusterID: s.id.ClusterID, NodeID: s.id.NodeID, LastTime: s.history.manifest.LastTime}
	var servers raft.Configuration
	if m := s.history.snapshot; m != nil {
		t.Term, t.Index, servers = m.Term, m.Index, m.Configuration
	}
	err := s.each(func(log *raft.Log) error {
		t.Term, t.Index = log.Term, log.Index
		switch log.Type {
		case raft.LogConfiguration:
			servers = raft.DecodeConfiguration(log.Data)
		case raft.LogCommand:
			frame, err := decodeFrame(log.Data)
			if err != nil {
				return fmt.Errorf("reading entry %d: %w", log.Index, err)
			}
			if frame.at.After(t.LastTime) {
				t.LastTime = frame.at
			}
		default: // elections
		}
		return nil
	})
	for _, server := range servers.Servers {
		t.Members = append(t.Members, Member{
			ID: string(server.ID), Address: string(server.Address), Voter: server.Suffrage == raft.Voter,
		})
	}
	return t, err
}

// each calls fn for every entry that the newest snapshot does not cover, in order.
func (s *Survivor) each(fn func(*raft.Log) error) error {
	next := s.history.first
	if m := s.history.snapshot; m != nil {
		next = max(next, m.Index+1)
	}
	for ; next > 0 && next <= s.history.last; next++ {
		log := &raft.Log{}
		if err := s.storage.logs.GetLog(next, log); err != nil {
			return fmt.Errorf("reading entry %d of the log: %w", next, logError(err))
		}
		if err := fn(log); err != nil {
			return err
		}
	}
	return nil
}

// Replay brings a state machine, which has the state of the node as far as that was applied, or nothing, to the end of
// the node's log. What nobody may have agreed on is applied too: so it must be given a copy of the state. The program
// knows zones of some levels; level is that of the machine's.
func (s *Survivor) Replay(machine StateMachine, levels Levels, level func() uint32) error {
	applied := machine.AppliedIndex()
	restore, err := s.history.check(applied)
	if err != nil {
		return fmt.Errorf("replaying the log: %w", err)
	}
	s.fsm = &fsm{
		machine: machine, fail: func(error) {}, watch: newWatch(applied), usage: newLogUsage(math.MaxInt64, math.MaxUint64),
		accept: func(Manifest) error { return nil }, last: s.history.manifest.LastTime,
		deliver: func(tag, Result) {}, replaced: func(uint64) {}, agreed: func(uint64, uint64) {},
		levels: levels, level: level,
	}
	s.fsm.applied.Store(applied)
	if restore {
		state, err := s.storage.state(s.history.snapshot.ID)
		if err != nil {
			return fmt.Errorf("opening a snapshot: %w", err)
		}
		if err := errors.Join(s.fsm.Restore(state), state.Close()); err != nil {
			return fmt.Errorf("replaying the log: %w", err)
		}
	}
	var batch []*raft.Log
	err = s.each(func(log *raft.Log) error {
		if batch = append(batch, log); len(batch) < raftBatchEntries {
			return nil
		}
		defer func() { batch = nil }()
		return s.apply(batch)
	})
	if err == nil {
		err = s.apply(batch)
	}
	if err != nil {
		return fmt.Errorf("replaying the log: %w", err)
	}
	return nil
}

func (s *Survivor) apply(batch []*raft.Log) error {
	for _, answer := range s.fsm.ApplyBatch(batch) {
		if o, ok := answer.(outcome); ok && o.err != nil {
			return o.err
		}
	}
	return nil
}

// Successor is a new cluster that goes on with the state of an old one.
type Successor struct {
	// Dir becomes the directory of its only node. It must not be there, or be empty. Required.
	Dir string
	// ClusterID names the new cluster. Required, and another one than that of the old.
	ClusterID string
	// Address is where its node is reached by others. Required.
	Address string
	// Commands are the first to be applied in it.
	Commands [][]byte
}

// Succeed makes the directory of a new cluster whose only node is called as the survivor and has the state of the
// machine that was given to Replay. Its log begins so far behind that of the old cluster that all indexes in it are
// greater than those which nodes of the old one may have seen. It is not atomic: a directory that it did not return
// nil for is of no use. Errors: ErrNotEmpty, ErrForeign.
func (s *Survivor) Succeed(to Successor) error {
	if err := s.succeed(to); err != nil {
		return fmt.Errorf("beginning a new cluster in %s: %w", to.Dir, err)
	}
	return nil
}

func (s *Survivor) succeed(to Successor) error {
	if to.ClusterID == "" || to.ClusterID == s.id.ClusterID {
		return fmt.Errorf("%w: the new cluster must have an id of its own, not %q", ErrForeign, to.ClusterID)
	}
	id, err := identity{ClusterID: to.ClusterID, NodeID: s.id.NodeID}.complete()
	if err != nil {
		return err
	}
	known, err := s.Testify()
	if err != nil {
		return err
	}
	state, err := s.fsm.freeze()
	if err != nil {
		return err
	}
	defer state.state.Release()
	if _, err := emptyDir(to.Dir); err != nil {
		return err
	}
	b := beginning{
		id: id, address: raft.ServerAddress(to.Address), index: known.Index + indexLeap, term: known.Term + 1,
		manifest: Manifest{Index: state.index, LastTime: state.last, Created: time.Now().UTC(), Level: state.level},
		write:    state.state.Persist, commands: to.Commands,
	}
	if err := b.fill(to.Dir); err != nil {
		return err
	}
	return id.write(to.Dir)
}

// indexLeap is how far behind the last known index of an old cluster the log of a new one begins that has its state:
// more entries than any cluster writes in years. Indexes are what revisions and epochs are made of, and what some node
// of the old cluster handed out after the state was taken must not be handed out again.
const indexLeap = 1 << 36

// beginning is what stands first in the directory of a new cluster that has the state of an old one.
type beginning struct {
	id      identity
	address raft.ServerAddress
	// index and term of the log up to here.
	index, term uint64
	// manifest of the state, of which the index and the times count.
	manifest Manifest
	write    func(io.Writer) error
	// commands are the first entries after it, each one of its own.
	commands [][]byte
}

// fill makes the snapshot and the log.
func (b beginning) fill(dir string) (err error) {
	disk, err := openDisk(dir, Config{SegmentBytes: 1 << 20}, newRaftLogger(discardLog()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.close()) }()
	if err := disk.stable.SetUint64([]byte("CurrentTerm"), b.term); err != nil {
		return fmt.Errorf("writing the term: %w", err)
	}
	if err := b.snapshot(disk.snapshots); err != nil {
		return fmt.Errorf("making a snapshot: %w", err)
	}
	if first := b.entries(); len(first) > 0 {
		if err := disk.logs.StoreLogs(first); err != nil {
			return fmt.Errorf("writing the log: %w", err)
		}
	}
	return durable.Sync(dir)
}

// entries are one for each command.
func (b beginning) entries() (list []*raft.Log) {
	at := time.Now().UTC()
	if b.manifest.LastTime.After(at) {
		at = b.manifest.LastTime
	}
	for i, c := range b.commands {
		list = append(list, &raft.Log{
			Index: b.index + 1 + uint64(i), Term: b.term, Type: raft.LogCommand, AppendedAt: at,
			Data: encodeFrame(frame{at: at, level: b.manifest.Level, commands: [][]byte{c}}),
		})
	}
	return list
}

func (b beginning) snapshot(store raft.SnapshotStore) error {
	_, transport := raft.NewInmemTransport(b.address) // only to say how addresses are written
	sink, err := store.Create(
		raft.SnapshotVersionMax, b.index, b.term, soleVoter(b.id.NodeID, b.address), b.index, transport)
	if err != nil {
		return err
	}
	m := b.manifest
	m.Kind, m.ClusterID, m.NodeID, m.Term = kindSnapshot, b.id.ClusterID, b.id.NodeID, b.term
	out, err := newEnvelopeWriter(sink, m, nil)
	if err == nil {
		err = b.write(out)
	}
	if err == nil {
		err = out.close()
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}
