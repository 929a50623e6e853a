package cluster

import (
	"errors"
	"fmt"
)

// Errors of a Node, matched with errors.Is.
var (
	// ErrNotLeader says that this node does not lead now. The command was not taken in; ask again, or another node.
	ErrNotLeader = errors.New("cluster: not the leader")
	// ErrStopped says that the node is being closed, or failed. The command was not taken in.
	ErrStopped = errors.New("cluster: node stopped")
	// ErrOverloaded says that the queue was full until the caller's context ended. The command was not taken in.
	ErrOverloaded = errors.New("cluster: overloaded")
	// ErrUnknownOutcome says that the command was taken in, but what became of it is not known here: it may have been
	// applied, may be applied later, or never. Only the state tells.
	ErrUnknownOutcome = errors.New("cluster: unknown outcome")
	// ErrDiskLow says that too little of the disk is free. The command was not taken in. See DiskLowError.
	ErrDiskLow = errors.New("cluster: disk almost full")
	// ErrCommandTooLarge says that a command is longer than MaxCommandBytes.
	ErrCommandTooLarge = errors.New("cluster: command too large")
	// ErrCorrupt says that what was read from disk, or from a backup, is not what was written.
	ErrCorrupt = errors.New("cluster: corrupt")
	// ErrVersion says that what was read was written by a newer program.
	ErrVersion = errors.New("cluster: version not known")
	// ErrForeign says that a directory, a state or a snapshot belongs to another node or cluster.
	ErrForeign = errors.New("cluster: belongs to another node or cluster")
	// ErrQuorum says that a change would leave too few nodes that are well to agree on anything.
	ErrQuorum = errors.New("cluster: too few would be left to agree")
	// ErrNotMember says that a node is not one of the cluster.
	ErrNotMember = errors.New("cluster: no such node")
	// ErrLeadStays says that no other node took the lead: it does not answer, lacks some of the log, or does not vote. The
	// node that led goes on, if it can.
	ErrLeadStays = errors.New("cluster: the lead stays where it is")
	// ErrLocked says that another process has the directory open.
	ErrLocked = errors.New("cluster: directory in use")
	// ErrNotEmpty says that a backup cannot be restored into a directory that holds something.
	ErrNotEmpty = errors.New("cluster: directory not empty")
)

// DiskLowError says where space is needed. It is ErrDiskLow.
type DiskLowError struct {
	// Dir is on the file system that is almost full.
	Dir string
	// Free is how many bytes it has left, Needed how many it must have.
	Free, Needed uint64
}

// Error implements error.
func (e *DiskLowError) Error() string {
	return fmt.Sprintf("%v: %s has %d bytes free and needs %d", ErrDiskLow, e.Dir, e.Free, e.Needed)
}

// Is makes a DiskLowError an ErrDiskLow.
func (e *DiskLowError) Is(target error) bool { return target == ErrDiskLow }
