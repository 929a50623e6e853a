package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// Node is this process's part of a cluster. Its methods may be called by many goroutines.
type Node struct {
	cfg     Config
	log     *slog.Logger
	id      identity
	lock    *os.File
	storage storage
	store   *guardedStore
	disk    *diskGuard

	raft       *raft.Raft
	transport  raft.Transport
	fsm        *fsm
	watch      *watch
	usage      *logUsage
	calmly     atomic.Bool // snapshots are written by and by
	leadership *leadership
	reads      *reads
	heard      *heard
	links      *calls.Links // to other nodes, nil without a network
	peers      *forwarder   // nil without a network
	word       *word        // nil without a network
	answers    *grpc.Server // to what other nodes ask, nil without a network

	clock    *clock
	queue    *queue
	room     *semaphore.Weighted // bytes of commands that wait or are under way
	slots    chan struct{}       // frames under way
	inFlight sync.WaitGroup      // goroutines that wait for a frame
	loops    sync.WaitGroup
	serving  sync.WaitGroup

	leaving    atomic.Bool
	running    atomic.Pointer[raft.Raft] // raft, for what its own goroutines call while it starts
	succession succession
	handing    atomic.Bool // the lead is about to go to another node
	alone      bool        // the only node, and no other can reach it
	failure    atomic.Pointer[error]
	failed     chan error
	stopping   chan struct{} // closed when the node takes nothing more
	stopOnce   sync.Once
	dead       chan struct{} // closed when raft has stopped: what was not answered will not be
	shutdown   sync.Once
	closed     sync.Once
	closeErr   error
}

// founding is how a node reaches others, and which nodes there are in the beginning.
type founding struct {
	transport raft.Transport
	servers   raft.Configuration
	alone     bool
}

// Open opens the node in cfg.Dir. A directory that is new becomes the only voter of a new cluster, unless cfg.Join.
// The node is not ready at once, see Ready. Errors: ErrForeign, ErrLocked, ErrCorrupt, ErrVersion, ErrDiskLow.
func Open(cfg Config) (*Node, error) {
	if cfg.Network == nil {
		_, transport := raft.NewInmemTransport(raft.ServerAddress(cfg.NodeID))
		return open(cfg, founding{
			transport: transport, servers: soleVoter(cfg.NodeID, transport.LocalAddr()), alone: true,
		})
	}
	f := founding{}
	if !cfg.Join {
		f.servers = soleVoter(cfg.NodeID, raft.ServerAddress(cfg.Network.Address()))
	}
	return open(cfg, f)
}

func open(cfg Config, p founding) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Log.With(slog.String("node_id", cfg.NodeID)),
		transport: p.transport, alone: p.alone, disk: &diskGuard{},
		clock: &clock{now: time.Now}, queue: newQueue(), reads: newReads(), heard: newHeard(),
		room: semaphore.NewWeighted(cfg.QueueBytes), slots: make(chan struct{}, cfg.InFlight),
		usage:  newLogUsage(cfg.SnapshotBytes, cfg.SnapshotEntries),
		failed: make(chan error, 1), stopping: make(chan struct{}), dead: make(chan struct{}),
	}
	if err := n.openStorage(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening node %s in %q: %w", cfg.NodeID, cfg.Dir, err), n.release())
	}
	if err := n.start(p.servers); err != nil {
		return nil, errors.Join(fmt.Errorf("opening node %s in %q: %w", cfg.NodeID, cfg.Dir, err), n.release())
	}
	return n, nil
}

// openStorage opens what is in the directory.
func (n *Node) openStorage() (err error) {
	want := identity{ClusterID: n.cfg.ClusterID, NodeID: n.cfg.NodeID}
	if n.cfg.InMemory {
		n.storage = n.cfg.Memory.open()
		n.id, err = want.complete()
		return err
	}
	dir := n.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := durable.Sync(filepath.Dir(dir)); err != nil && !errors.Is(err, os.ErrPermission) { // dir may be new
		return err
	}
	if n.lock, err = lockDir(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, restoringFile)); err == nil {
		return fmt.Errorf("%w: restoring a backup was interrupted; empty the directory and restore again", ErrCorrupt)
	}
	if n.disk, err = newDiskGuard(dir, n.cfg.DiskLowBytes, n.cfg.DiskFloorBytes); err != nil {
		return err
	}
	if err := n.disk.fits(int64(2 * n.cfg.SegmentBytes)); err != nil {
		return err
	}
	if n.id, err = loadIdentity(dir, want); err != nil {
		return err
	}
	n.storage, err = openDisk(dir, n.cfg, newRaftLogger(n.log))
	return err
}

// start starts raft and the goroutines of the node.
func (n *Node) start(servers raft.Configuration) error {
	h, err := n.storage.history()
	if err != nil {
		return err
	}
	applied := n.cfg.Machine.AppliedIndex()
	restore, err := h.check(applied)
	if err != nil {
		return err
	}
	n.watch = newWatch(applied)
	if err := n.openPeers(); err != nil {
		return err
	}
	n.fsm = &fsm{
		machine: n.cfg.Machine, metrics: n.cfg.Metrics, fail: n.fail, watch: n.watch, usage: n.usage,
		accept: n.acceptSnapshot, levels: n.cfg.Levels, level: n.cfg.Level, last: h.manifest.LastTime,
		persist: func(f frozen) raft.FSMSnapshot { return &pinned{node: n, frozen: f} },
		deliver: func(tag, Result) {}, replaced: func(uint64) {}, agreed: func(uint64, uint64) {},
	}
	if n.peers != nil {
		n.fsm.agreed = n.word.on
		n.fsm.deliver, n.fsm.replaced = n.peers.deliver, n.peers.skipped
	}
	n.fsm.applied.Store(applied)
	n.usage.covered(usageMark{}, snapshotSize(h.snapshot))
	n.store = &guardedStore{
		logs: n.storage.logs, stable: n.storage.stable, metrics: n.cfg.Metrics, fail: n.fail,
	}
	if n.raft, err = n.newRaft(servers, !h.exists, restore); err != nil {
		return err
	}
	n.running.Store(n.raft)
	n.store.running.Store(true)
	n.leadership = newLeadership(n.raft)
	for _, loop := range []func(){n.proposeLoop, n.readLoop, n.snapshotLoop, n.watchLeadership} {
		n.loops.Go(loop)
	}
	if n.peers == nil {
		return nil
	}
	n.loops.Go(n.careLoop)
	return n.serve()
}

// openPeers makes what reaches the other nodes.
func (n *Node) openPeers() error {
	network := n.cfg.Network
	if network == nil {
		return nil
	}
	listener, err := network.Listener(PurposeRaft)
	if err != nil {
		return fmt.Errorf("listening for other nodes: %w", err)
	}
	n.word = newWord()
	n.transport = steady{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  &raftLayer{Listener: listener, network: network, name: n.nameOf, lost: n.lost},
		Logger:  newRaftLogger(n.log),
		MaxPool: raftIdle, Timeout: raftTimeout, MaxRPCsInFlight: raftInFlight,
	}), n.word}
	n.links = calls.NewLinks(func(ctx context.Context, node, address string) (net.Conn, error) {
		return network.Dial(ctx, PurposePeer, node, address)
	})
	n.peers = newForwarder(n.leader)
	n.answers = grpc.NewServer(calls.ServerOptions()...)
	clusterpb.RegisterPeerServer(n.answers, &service{node: n})
	if n.cfg.Register != nil {
		n.cfg.Register(n.answers)
	}
	return nil
}

const (
	// raftTimeout bounds one message of Raft; snapshots get more, by their size.
	raftTimeout = 10 * time.Second
	// raftIdle is how many idle connections to a node are kept.
	raftIdle = 3
	// raftInFlight is how many messages to a follower may wait for their answers: entries, and word of what was agreed
	// on. How many entries are under way is limited by who proposes.
	raftInFlight = 8
)

// serve answers the other nodes.
func (n *Node) serve() error {
	listener, err := n.cfg.Network.Listener(PurposePeer)
	if err != nil {
		return fmt.Errorf("listening for other nodes: %w", err)
	}
	n.serving.Go(func() {
		if err := n.answers.Serve(listener); err != nil && n.stoppedError() == nil {
			n.fail(fmt.Errorf("answering other nodes: %w", err))
		}
	})
	return nil
}

func snapshotSize(m *raft.SnapshotMeta) int64 {
	if m == nil {
		return 0
	}
	return m.Size
}

// newRaft starts raft, which panics on some damage.
func (n *Node) newRaft(servers raft.Configuration, bootstrap, restore bool) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: starting raft: %v", ErrCorrupt, p)
		}
	}()
	cfg := raftConfig(n.id.NodeID, n.patience(servers))
	cfg.Logger = newRaftLogger(n.log)
	cfg.NoSnapshotRestoreOnStart = !restore
	if bootstrap && len(servers.Servers) > 0 {
		err := raft.BootstrapCluster(cfg, n.store, n.store, n.storage.snapshots, n.transport, servers)
		if err != nil {
			return nil, fmt.Errorf("beginning a cluster: %w", err)
		}
	}
	if r, err = raft.NewRaft(cfg, n.fsm, n.store, n.store, n.storage.snapshots, n.transport); err != nil {
		return nil, errors.Join(fmt.Errorf("starting raft: %w", err), n.fsm.restoreError())
	}
	return r, nil
}

// patience is how long the node waits for a leader before it wants to lead. One that is alone waits for nobody.
func (n *Node) patience(servers raft.Configuration) time.Duration {
	if n.cfg.Network == nil && len(servers.Servers) == 1 {
		return 20 * time.Millisecond
	}
	return n.cfg.ElectionTimeout
}

func raftConfig(nodeID string, patience time.Duration) *raft.Config {
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(nodeID)
	cfg.MaxAppendEntries = raftBatchEntries
	cfg.BatchApplyCh = false // raft never answers what is left in that channel when it stops
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = patience, patience, patience
	cfg.SnapshotInterval, cfg.SnapshotThreshold = 365*24*time.Hour, math.MaxUint64 // the node says when
	return cfg
}

// acceptSnapshot refuses the snapshot of another cluster, or one that this program can't work with.
func (n *Node) acceptSnapshot(m Manifest) error {
	if m.ClusterID != n.id.ClusterID {
		return fmt.Errorf("%w: the snapshot is of cluster %q, this is %q", ErrForeign, m.ClusterID, n.id.ClusterID)
	}
	if err := n.cfg.Levels.check(m.Level); err != nil {
		return fmt.Errorf("the snapshot was %w", err)
	}
	return nil
}

// ClusterID names the cluster.
func (n *Node) ClusterID() string { return n.id.ClusterID }

// NodeID names the node in the cluster.
func (n *Node) NodeID() string { return n.id.NodeID }

// Failed gives the error that ended the node, if one did, and is then closed. A node that failed refuses everything
// and must be closed. See the package comment.
func (n *Node) Failed() <-chan error { return n.failed }

// Status is what a node says of itself.
type Status struct {
	// ClusterID and NodeID name the cluster and the node.
	ClusterID, NodeID string
	// Leading says that the node takes proposals. Term is the one it knows of.
	Leading bool
	Term    uint64
	// Leader names the node that leads, as far as this one knows; empty if it knows of none.
	Leader string
	// AppliedIndex is how far the state machine is, LastIndex how far the log is.
	AppliedIndex, LastIndex uint64
	// LogBytes is the log since the last snapshot, SnapshotBytes the size of that one.
	LogBytes, SnapshotBytes int64
	// Err is what ended the node, or nil.
	Err error
}

// Status says how the node is.
func (n *Node) Status() Status {
	_, err := n.leadership.current()
	_, leader := n.raft.LeaderWithID()
	s := Status{
		Leader: string(leader), ClusterID: n.id.ClusterID, NodeID: n.id.NodeID, Leading: err == nil,
		Term: n.raft.CurrentTerm(), AppliedIndex: n.AppliedIndex(), LastIndex: n.raft.LastIndex(),
		SnapshotBytes: n.usage.lastSize(), LogBytes: n.usage.bytes(),
	}
	if p := n.failure.Load(); p != nil {
		s.Err = *p
	}
	return s
}

// fail ends the node because of err. It is called by raft's goroutines and must not wait for them.
func (n *Node) fail(err error) {
	if !n.failure.CompareAndSwap(nil, &err) {
		return
	}
	n.log.Error("node failed and takes nothing more", slog.Any("error", err))
	n.failed <- err
	close(n.failed)
	n.stop()
	go n.stopRaft()
}

func (n *Node) stop() { n.stopOnce.Do(func() { close(n.stopping) }) }

// stoppedError says why the node takes nothing, or nil if it does.
func (n *Node) stoppedError() error {
	if p := n.failure.Load(); p != nil {
		return fmt.Errorf("%w: %w", ErrStopped, *p)
	}
	select {
	case <-n.stopping:
		return ErrStopped
	default:
		return nil
	}
}

// stopRaft ends raft. Frames under way get some time to finish, because raft does not answer all of them after.
func (n *Node) stopRaft() {
	n.shutdown.Do(func() {
		idle := make(chan struct{})
		go func() {
			n.loops.Wait()
			n.inFlight.Wait()
			close(idle)
		}()
		timeout := time.NewTimer(n.cfg.StopTimeout)
		defer timeout.Stop()
		select {
		case <-idle:
		case <-timeout.C:
		}
		if n.peers != nil {
			n.peers.close()
			n.answers.Stop()
			n.serving.Wait()
		}
		if err := n.raft.Shutdown().Error(); err != nil {
			n.log.Warn("raft did not stop cleanly", slog.Any("error", err))
		}
		close(n.dead)
	})
}

// Close stops the node: nothing more is taken in, what is under way is finished if it can be, and files are closed. It
// is idempotent. The state machine is not called any more after Close returned; it is the caller's to close.
func (n *Node) Close() error {
	n.closed.Do(func() {
		n.stop()
		n.stopRaft()
		n.closeErr = n.release()
	})
	return n.closeErr
}

// release closes files.
func (n *Node) release() error {
	var errs []error
	if n.links != nil {
		errs = append(errs, n.links.Close())
	}
	if c, ok := n.transport.(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	if n.storage.close != nil {
		errs = append(errs, n.storage.close())
	}
	if n.lock != nil {
		errs = append(errs, unlockDir(n.lock))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing node %s: %w", n.cfg.NodeID, err)
	}
	return nil
}
