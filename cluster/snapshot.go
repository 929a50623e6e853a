package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// logUsage counts the log since the last snapshot, and says when the next is due.
type logUsage struct {
	bytesLimit   int64
	entriesLimit uint64
	due          chan struct{} // has a token when a snapshot is due

	mu      sync.Mutex
	total   usageMark // since the start
	base    usageMark // what of it the last snapshot covers
	size    int64     // of the last snapshot
	waiting int64     // bytes that must come before the next attempt, after one that failed
}

// usageMark is a point in the log.
type usageMark struct {
	bytes   int64
	entries uint64
}

func newLogUsage(bytes int64, entries uint64) *logUsage {
	return &logUsage{bytesLimit: bytes, entriesLimit: entries, due: make(chan struct{}, 1)}
}

func (u *logUsage) add(bytes int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.total.bytes += int64(bytes)
	u.total.entries++
	since := u.total.bytes - u.base.bytes
	if since < u.waiting || since < max(u.bytesLimit, u.size) && u.total.entries-u.base.entries < u.entriesLimit {
		return
	}
	select {
	case u.due <- struct{}{}:
	default:
	}
}

func (u *logUsage) mark() usageMark {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.total
}

// covered says that a snapshot of so many bytes covers the log up to m.
func (u *logUsage) covered(m usageMark, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.base, u.size, u.waiting = m, size, 0
	select {
	case <-u.due:
	default:
	}
}

// postpone puts the next attempt off until there is an eighth more log than the limit.
func (u *logUsage) postpone() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waiting = u.total.bytes - u.base.bytes + u.bytesLimit/8
}

// urgent reports whether twice the log has gathered that makes a snapshot due.
func (u *logUsage) urgent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.total.bytes-u.base.bytes > 2*max(u.bytesLimit, u.size)
}

// trailing returns how many entries take about so many bytes, judged by those since the last snapshot.
func (u *logUsage) trailing(bytes int64) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	entries := max(u.total.entries-u.base.entries, 1)
	average := max((u.total.bytes-u.base.bytes)/int64(min(entries, math.MaxInt64)), 1)
	return uint64(max(bytes/average, 1))
}

// lastSize returns the bytes of the last snapshot.
func (u *logUsage) lastSize() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.size
}

// bytes returns the log since the last snapshot.
func (u *logUsage) bytes() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.total.bytes - u.base.bytes
}

// snapshotLoop takes snapshots when they are due, so that the log does not grow without end.
func (n *Node) snapshotLoop() {
	for {
		select {
		case <-n.usage.due:
			n.calmly.Store(true)
			err := n.snapshot()
			n.calmly.Store(false)
			if err != nil {
				n.usage.postpone()
				n.log.Warn("no snapshot was taken, the log grows", slog.Any("error", err))
			}
		case <-n.stopping:
			return
		}
	}
}

// Snapshot takes a snapshot now and removes the log that it makes superfluous. The node does so by itself when enough
// log has gathered. Having nothing new to take is no error.
func (n *Node) Snapshot() error {
	if err := n.stoppedError(); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	return n.snapshot()
}

func (n *Node) snapshot() error {
	if err := n.disk.fits(n.usage.lastSize()); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	reload := n.raft.ReloadableConfig()
	reload.TrailingLogs = n.usage.trailing(n.cfg.TrailingBytes)
	if err := n.raft.ReloadConfig(reload); err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	err := n.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	return nil
}

// pinned is a state on its way into raft's snapshot store.
type pinned struct {
	node *Node
	frozen
}

// Persist implements raft.FSMSnapshot.
func (p *pinned) Persist(sink raft.SnapshotSink) error {
	start := time.Now()
	size, err := p.persist(sink)
	if err == nil {
		err = sink.Close()
	} else {
		err = errors.Join(err, sink.Cancel())
	}
	if err == nil {
		p.node.usage.covered(p.usage, size)
	}
	p.node.cfg.Metrics.snapshotted(size, start, err)
	return err
}

func (p *pinned) persist(sink raft.SnapshotSink) (int64, error) {
	early := p.node.early(sink)
	defer early.close()
	var w io.Writer = early
	if p.node.calmly.Load() {
		w = &calmWriter{to: early, resumed: time.Now(), hurry: p.node.usage.urgent, stopping: p.node.stopping}
	}
	size, err := p.node.writeState(w, p.state, p.node.manifest(kindSnapshot, p.frozen))
	if err != nil {
		return size, err
	}
	if err := p.state.Sync(); err != nil {
		return size, fmt.Errorf("syncing the state: %w", err)
	}
	return size, nil
}

// Release implements raft.FSMSnapshot.
func (p *pinned) Release() { p.state.Release() }
