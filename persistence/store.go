package persistence

import (
	"errors"
	"io"
)

// Limits every Store keeps, so that a state machine that works on one works on all.
const (
	// MaxKeyBytes is the longest key a Store takes.
	MaxKeyBytes = 32 << 10
	// MaxValueBytes is the longest value a Store takes.
	MaxValueBytes = 1<<20 - 1
	// MaxBatchBytes is the most key and value bytes one Update may write; a key written twice counts once.
	MaxBatchBytes = 64 << 20
)

// Errors of a Store. They are matched with errors.Is; the error itself says which key, file or directory.
var (
	// ErrBatchTooLarge says that an Update would write more than MaxBatchBytes; nothing of it was written.
	ErrBatchTooLarge = errors.New("store: batch too large")
	// ErrInvalidKey says that a key is empty or longer than MaxKeyBytes.
	ErrInvalidKey = errors.New("store: invalid key")
	// ErrValueTooLarge says that a value is longer than MaxValueBytes.
	ErrValueTooLarge = errors.New("store: value too large")
	// ErrCorrupt says that what is on disk, or in a stream given to Load, is not what was written.
	ErrCorrupt = errors.New("store: corrupt")
	// ErrDiskFull says that the file system of the store has too little room left; nothing was written. The same
	// call may succeed once room was made.
	ErrDiskFull = errors.New("store: disk full")
	// ErrLocked says that another process, or another Store of this process, has the directory open.
	ErrLocked = errors.New("store: directory in use")
	// ErrClosed says that the Store was closed, or the Frozen released.
	ErrClosed = errors.New("store: closed")
)

// Store keeps the zone's state on one node: ordered keys, atomic batches, cheap snapshots.
//
// View may be called by many goroutines at once and while Update runs. An Update, View or Load must not be
// started from inside another one's function.
type Store interface {
	// View calls fn with a consistent point in time. The Reader is valid until fn returns.
	View(fn func(r Reader) error) error
	// Update calls fn and then writes all it put and deleted, or nothing if fn or the write fails. Updates are
	// serial: there is one caller, the state machine. The Writer is valid until fn returns.
	Update(fn func(w Writer) error) error
	// Sync returns when everything committed so far survives a power loss.
	Sync() error
	// Close waits for running Views and Updates and for every Frozen to be released, makes all durable and frees the
	// store. It is idempotent.
	Close() error
}

// Reader reads one consistent point in time.
type Reader interface {
	// Get returns a copy of the value of key, valid after return; ok is false when there is none.
	Get(key []byte) (value []byte, ok bool, err error)
	// Scan calls fn for the keys with prefix in ascending order, starting at from (inclusive; nil means the
	// first), until fn answers false or fails. Key and value are valid only inside fn, and must not be changed.
	// Scans may be nested. Writes made from inside fn are not seen by the scan that is running.
	Scan(prefix, from []byte, fn func(key, value []byte) (more bool, err error)) error
	// ScanReverse is Scan in descending order; from nil means the last.
	ScanReverse(prefix, from []byte, fn func(key, value []byte) (more bool, err error)) error
}

// Writer is a Reader that sees its own writes, also in scans.
type Writer interface {
	Reader
	// Put sets key to value. Put of a key that exists replaces it. Value is kept: it must not be changed any more.
	Put(key, value []byte) error
	// Delete removes key. Deleting what is not there is no error.
	Delete(key []byte) error
}

// Snapshotter is the part of a Store that moves the whole state. Every Store of this repository has it.
type Snapshotter interface {
	// Freeze pins the state as it is now, without copying it: writes go on meanwhile. The caller must Release it.
	Freeze() (Frozen, error)
	// Load reads a stream made by Frozen.WriteTo into an empty store beside the live one and, when the stream was
	// complete and its checksum right, puts it in the place of the live one. A crash at any moment, or an error,
	// leaves either the whole old state or the whole new one; after Load returned nil the new one is durable.
	// Views that are running and a Frozen taken before keep the old state.
	Load(r io.Reader) error
}

// Logger is the part of a Store that keeps some keys in a log, which takes less work for what is written once, in
// order, and removed in order.
type Logger interface {
	// KeepLog has keys with a prefix kept in a log from now on, also after the store is opened again. They are put in
	// ascending order, and deleted from the first on: an Update that does else fails.
	KeepLog(prefix []byte) error
}

// Frozen is the state of a Store at the moment of Freeze. It may be used by one goroutine at a time.
type Frozen interface {
	Reader
	// WriteTo streams all keys and values in ascending order, in a format that any Store can Load, ending with a
	// count and a checksum. It never holds more than a small part of the state in memory.
	WriteTo(w io.Writer) (written int64, err error)
	// Release lets the store forget this point in time. It is idempotent.
	Release()
}
