package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
)

const (
	// MaxCommandBytes is the longest command that can be proposed.
	MaxCommandBytes = maxFrameBytes - frameOverhead - 5 - tagOverhead

	maxFrameBytes     = 512 << 10
	maxFrameCommands  = 4096
	maxApplyBytes     = 256 << 10 // entries handed to one Apply, unless one entry is larger: their effects are larger
	raftBatchEntries  = 64        // entries that raft hands over, stores and sends at a time
	commandQueueCost  = 512       // bytes counted for a waiting command besides its own
	retainedSnapshots = 1         // older ones are of no use: the log before the last one is gone
)

// Config says what a Node is. The zero value of every field without "required" is a sensible default.
type Config struct {
	// Dir is the directory of the node, made if it does not exist. Required unless InMemory.
	Dir string
	// NodeID names this node in the cluster. Required; it must be the same each time Dir is opened.
	NodeID string
	// ClusterID names the cluster. Empty means the one of Dir, or a new random one if Dir is new.
	ClusterID string
	// Machine is what the log is applied to. Required.
	Machine StateMachine
	// Log takes what the node reports. Nil means that nobody wants to know.
	Log *slog.Logger
	// Metrics is told what happens.
	Metrics Metrics
	// Network connects the node to others; nil means that it stays the only one.
	Network Network
	// Join says that Dir, if it is new, is of a node that an existing cluster takes in: see Node.Add. It waits to be
	// reached. Without it, it becomes the only voter of a new cluster.
	Join bool
	// Register adds services to the gRPC server that the other nodes reach: see Node.Conn and PeerOf.
	Register func(grpc.ServiceRegistrar)
	// Version of the program, for the others to know.
	Version string
	// Levels of zones that the program can work with. It ends when it meets what was written in a newer one.
	Levels Levels
	// Level tells that of the state, as far as it was applied: what is written is as that has it. Nil means that it is 1.
	Level func() uint32
	// InMemory keeps log and snapshots in memory, for tests. Such a node works in a synctest bubble.
	InMemory bool
	// Memory is what such a node finds when it is opened, and leaves when it is closed; nil = nothing.
	Memory *Memory

	// InFlight is how many frames may be under way at a time; default 2: one is stored while another is applied. With a
	// Network it is 8: one that was stored also waits for other nodes. Raft stores together what came meanwhile.
	InFlight int
	// QueueBytes is how much may wait to be proposed and be under way together; default 16 MiB.
	QueueBytes int64
	// SnapshotBytes and SnapshotEntries say how much log makes a snapshot due; default 64 MiB and 1,000,000 entries.
	// No snapshot is due before the log since the last one is as large as that one was.
	SnapshotBytes   int64
	SnapshotEntries uint64
	// TrailingBytes is how much log is kept behind a snapshot, for nodes that are a little behind; default 8 MiB.
	TrailingBytes int64
	// SegmentBytes is the size of the preallocated files of the log; default 16 MiB.
	SegmentBytes int
	// DiskLowBytes is how much of the file system of Dir must be free for Propose; default 512 MiB or a hundredth of the
	// file system, whichever is more. DiskFloorBytes is the same for ProposeReserved; default half of DiskLowBytes.
	DiskLowBytes, DiskFloorBytes uint64
	// ElectionTimeout is how long a node with a Network hears nothing of a leader until it wants to lead; default 600 ms.
	// A leader whose program has ended is succeeded at once.
	ElectionTimeout time.Duration
	// LeaderPatience is how long questions wait for a node to lead; default 5 s.
	LeaderPatience time.Duration
	// Silence is how long a node may be silent and count as well; default 2 s.
	Silence time.Duration
	// RemoveSilentAfter is how long a node may be silent until it is removed, if that leaves enough; default 72 h.
	RemoveSilentAfter time.Duration
	// StopTimeout is how long Close waits for commands under way; default 5 s.
	StopTimeout time.Duration
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.NodeID == "":
		return c, errors.New("opening a node: no node id given")
	case c.Machine == nil:
		return c, errors.New("opening a node: no state machine given")
	case c.Join && c.Network == nil:
		return c, errors.New("opening a node: one that joins a cluster needs a network")
	case c.Dir == "" && !c.InMemory:
		return c, errors.New("opening a node: no directory given")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Levels = c.Levels.orFirst()
	if c.Level == nil {
		c.Level = func() uint32 { return 1 }
	}
	if c.Network != nil {
		c.InFlight = orElse(c.InFlight, 8)
	}
	c.InFlight = orElse(c.InFlight, 2)
	c.QueueBytes = orElse(c.QueueBytes, 16<<20)
	c.SnapshotBytes = orElse(c.SnapshotBytes, 64<<20)
	c.SnapshotEntries = orElse(c.SnapshotEntries, 1_000_000)
	c.TrailingBytes = orElse(c.TrailingBytes, 8<<20)
	c.SegmentBytes = orElse(c.SegmentBytes, 16<<20)
	c.ElectionTimeout = orElse(c.ElectionTimeout, 600*time.Millisecond)
	c.LeaderPatience = orElse(c.LeaderPatience, 5*time.Second)
	c.Silence = orElse(c.Silence, 2*time.Second)
	c.RemoveSilentAfter = orElse(c.RemoveSilentAfter, 72*time.Hour)
	c.StopTimeout = orElse(c.StopTimeout, 5*time.Second)
	if c.InFlight < 1 || c.QueueBytes < 2*maxFrameBytes {
		return c, fmt.Errorf("opening a node: %d frames in flight and a queue of %d bytes are too little",
			c.InFlight, c.QueueBytes)
	}
	return c, nil
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Metrics are functions called when something happened. Any of them may be nil. They must be quick.
type Metrics struct {
	// Proposed is told how long a command took from Propose to its answer, and the error of the answer.
	Proposed func(took time.Duration, err error)
	// Framed is told the commands and bytes of each frame that is proposed.
	Framed func(commands, bytes int)
	// Stored is told how long it took to append entries to the log durably.
	Stored func(entries int, took time.Duration)
	// Applied is told how long the state machine took for a batch of entries.
	Applied func(entries, commands int, took time.Duration)
	// Snapshotted is told of each attempt to take a snapshot, with the bytes it wrote.
	Snapshotted func(bytes int64, took time.Duration, err error)
	// Led is told when the node becomes ready to lead, and when it stops leading.
	Led func(leading bool)
}

func (m Metrics) proposed(start time.Time, err error) {
	if m.Proposed != nil {
		m.Proposed(time.Since(start), err)
	}
}

func (m Metrics) framed(commands, bytes int) {
	if m.Framed != nil {
		m.Framed(commands, bytes)
	}
}

func (m Metrics) stored(entries int, start time.Time) {
	if m.Stored != nil {
		m.Stored(entries, time.Since(start))
	}
}

func (m Metrics) applied(entries, commands int, start time.Time) {
	if m.Applied != nil {
		m.Applied(entries, commands, time.Since(start))
	}
}

func (m Metrics) snapshotted(bytes int64, start time.Time, err error) {
	if m.Snapshotted != nil {
		m.Snapshotted(bytes, time.Since(start), err)
	}
}

func (m Metrics) led(leading bool) {
	if m.Led != nil {
		m.Led(leading)
	}
}
