package cluster

import (
	"io"
	"iter"
	"time"
)

// StateMachine is what the log is applied to. It keeps its state, together with the index of the last entry it
// applied, on storage that survives a restart, or starts from nothing. Apply, Snapshot and Restore are never called
// at the same time; what Snapshot returned is used while Apply goes on.
type StateMachine interface {
	// Apply applies committed entries, in order, in one atomic write together with the index of the last. It returns for
	// each entry the results of its commands, in order. A command that is refused has a result that says so: an error
	// means that the state machine cannot go on, and stops the node. Apply must come to the same state and results on
	// every node: no clock but the entries' time, no randomness, nothing but the state and the entries.
	Apply(entries []Entry) ([]Results, error)
	// AppliedIndex returns the index of the last entry applied, 0 if there is none. It is asked at Open and after
	// Restore.
	AppliedIndex() uint64
	// Snapshot pins the state as it is now. It must be cheap: nothing is applied meanwhile.
	Snapshot() (Snapshot, error)
	// Restore replaces the state by one that Persist wrote. It must read r to its end, because what is read is verified
	// only there, and replace the state only when the end came without an error; otherwise the state stays as it was.
	Restore(r io.Reader) error
}

// Snapshot is a state pinned at one point of the log.
type Snapshot interface {
	// Persist writes the state. It is called once, or not at all.
	Persist(w io.Writer) error
	// Sync returns when the state machine's own storage has this state durably. The log before it is removed after that.
	Sync() error
	// Release is called when the snapshot is not needed any more.
	Release()
}

// Entry is a committed entry of the log.
type Entry struct {
	// Index is its place in the log, counted from 1. Indexes of entries ascend; some are not handed to a state machine.
	Index uint64
	// Term is that of the leader which took the commands in; 0 in those made by NewEntry.
	Term uint64
	// AppendedAt is when the leader took the commands in, in UTC. It is the same on every node and never goes back from
	// one entry to the next, whatever the clocks of the nodes do.
	AppendedAt time.Time
	// Data holds the commands in a frame. It must not be changed.
	Data []byte
}

// Commands returns the commands of the entry, in order.
func (e Entry) Commands() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		f, err := decodeFrame(e.Data)
		if err != nil {
			return // entries are handed out only after they were decoded once
		}
		for _, command := range f.commands {
			if !yield(command) {
				return
			}
		}
	}
}

// NewEntry makes an entry that holds commands, as the log would, for tests of a state machine.
func NewEntry(index uint64, at time.Time, commands ...[]byte) Entry {
	return Entry{Index: index, AppendedAt: at.UTC(), Data: encodeFrame(frame{at: at, commands: commands})}
}

// Result is what became of one command, for its caller alone. It stays on the node that proposed.
type Result any

// Results are the results of the commands of one entry, in order.
type Results []Result
