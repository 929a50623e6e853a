package cluster_test

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// ledger is a state machine in memory that writes down every command. Its state outlives the node, like one on a disk.
type ledger struct {
	mu    sync.Mutex
	state ledgerState
	// before is called before each Apply, and may fail.
	before func(entries []cluster.Entry) error
	synced uint64 // the greatest index of a snapshot that was synced
	held   chan struct{}
	sizes  []int // of the entries of each Apply
}

type ledgerState struct {
	Applied  uint64
	Commands []string
	Times    []time.Time // of the entries
	Indexes  []uint64
}

// receipt is the result of a command.
type receipt struct {
	Command string
	Place   int // in the ledger, from 0
	Index   uint64
}

// Apply implements cluster.StateMachine.
func (l *ledger) Apply(entries []cluster.Entry) ([]cluster.Results, error) {
	if l.before != nil {
		if err := l.before(entries); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if held != nil {
		<-held
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []cluster.Results
	for _, e := range entries {
		if e.Index <= l.state.Applied {
			return nil, errors.New("an entry was applied twice")
		}
		var results cluster.Results
		for command := range e.Commands() {
			results = append(results, receipt{string(command), len(l.state.Commands), e.Index})
			l.state.Commands = append(l.state.Commands, string(command))
		}
		l.state.Times = append(l.state.Times, e.AppendedAt)
		l.state.Indexes = append(l.state.Indexes, e.Index)
		l.state.Applied = e.Index
		all = append(all, results)
	}
	l.sizes = append(l.sizes, len(entries))
	return all, nil
}

// AppliedIndex implements cluster.StateMachine.
func (l *ledger) AppliedIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Applied
}

// Snapshot implements cluster.StateMachine.
func (l *ledger) Snapshot() (cluster.Snapshot, error) { return &ledgerSnapshot{l, l.copy()}, nil }

// Restore implements cluster.StateMachine.
func (l *ledger) Restore(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var state ledgerState
	if err := json.Unmarshal(content, &state); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = state
	return nil
}

func (l *ledger) copy() ledgerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Commands, s.Times, s.Indexes = slices.Clone(s.Commands), slices.Clone(s.Times), slices.Clone(s.Indexes)
	return s
}

// hold has Apply wait until release.
func (l *ledger) hold() (release func()) {
	held := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held = nil
		close(held)
	}
}

func (l *ledger) commands() []string { return l.copy().Commands }

type ledgerSnapshot struct {
	l     *ledger
	state ledgerState
}

// Persist implements cluster.Snapshot.
func (s *ledgerSnapshot) Persist(w io.Writer) error { return json.NewEncoder(w).Encode(s.state) }

// Sync implements cluster.Snapshot.
func (s *ledgerSnapshot) Sync() error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.l.synced = max(s.l.synced, s.state.Applied)
	return nil
}

// Release implements cluster.Snapshot.
func (s *ledgerSnapshot) Release() {}

// start opens a node that must open, waits until it leads, and closes it at the end of the test.
func start(tb testing.TB, cfg cluster.Config) *cluster.Node {
	tb.Helper()
	n, err := cluster.Open(cfg)
	if err != nil {
		tb.Fatalf("Open() = %v", err)
	}
	tb.Cleanup(func() { stop(tb, n) })
	if err := n.Ready(tb.Context()); err != nil {
		tb.Fatalf("Ready() = %v", err)
	}
	return n
}

func stop(tb testing.TB, n *cluster.Node) {
	tb.Helper()
	if err := n.Close(); err != nil {
		tb.Errorf("Close() = %v", err)
	}
}

// inMemory is a configuration for a node in a synctest bubble.
func inMemory(l *ledger) cluster.Config {
	return cluster.Config{NodeID: "n1", Machine: l, InMemory: true}
}

// onDisk is a configuration for a node with small files, on a disk that is never too full.
func onDisk(dir string, machine cluster.StateMachine) cluster.Config {
	return cluster.Config{
		Dir: dir, NodeID: "n1", Machine: machine, SegmentBytes: 1 << 20, DiskLowBytes: 2, DiskFloorBytes: 1,
	}
}

func propose(tb testing.TB, n *cluster.Node, command string) receipt {
	tb.Helper()
	result, err := n.Propose(tb.Context(), []byte(command))
	if err != nil {
		tb.Fatalf("Propose(%q) = %v", command, err)
	}
	return result.(receipt)
}

// want fails the test if err is not target.
func want(tb testing.TB, what string, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Errorf("%s = %v, want %v", what, err, target)
	}
}
