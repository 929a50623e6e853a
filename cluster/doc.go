// Package cluster is who agrees: a replicated log of commands, in the same order on every node, none lost once it was
// answered. It moves bytes. It must never know what a command means, what a resource is, or how a state machine keeps
// its state.
//
// A caller proposes a command. Commands of many callers travel in one log entry (a frame), so that they share one sync
// of the log; a few frames are in flight at a time, and while they are, the next ones fill up. A committed entry is
// handed to the StateMachine, and each caller gets the result of its own command.
//
// # Failing
//
// An error of the log, of the state machine, or an entry that cannot be read, is the end of the node: it reports the
// error on Failed, refuses everything after, and must be closed and opened again, usually by ending the process.
// There is no way to go on with a log whose end is not known. A disk that is getting full is not such an error:
// proposals are refused before it is full, and those that free space or finish work are refused later than the
// others.
//
// # Directory
//
// identity.json says which node of which cluster it belongs to, LOCK keeps other processes out, log holds the entries,
// snapshots the last snapshot. The state machine keeps its state elsewhere.
package cluster
