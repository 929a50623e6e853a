package gossip

import "errors"

// Errors of a Gossip, matched with errors.Is.
var (
	// ErrConfig says that the configuration cannot work. Nothing was started.
	ErrConfig = errors.New("gossip: configuration")
	// ErrFacts says that facts cannot be spread: too large, or of another cluster.
	ErrFacts = errors.New("gossip: facts")
	// ErrForeign says that a member belongs to another cluster. Nothing of it was taken in.
	ErrForeign = errors.New("gossip: member of another cluster")
	// ErrNameTaken says that another process with the name of this node is alive.
	ErrNameTaken = errors.New("gossip: another node has this name")
	// ErrKey says that a key has the wrong length, is not there, or is in use and cannot be removed.
	ErrKey = errors.New("gossip: key")
	// ErrClosed says that the Gossip was closed, or left.
	ErrClosed = errors.New("gossip: closed")
)
