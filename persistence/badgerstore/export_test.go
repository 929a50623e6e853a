package badgerstore

import (
	"errors"
	"path/filepath"
)

// Settle returns when Badger has all Updates.
func (s *Store) Settle() error { return s.settle() }

// Rotation tells which write-ahead file Badger writes to when it has all Updates, as far as the store knows, and
// whether the store will sync it before the next write.
func (s *Store) Rotation() (file int, due bool) {
	_ = s.settle()
	return s.live.rotation.file, s.live.rotation.due()
}

// TrustBadger makes the store leave the order of write-ahead files to Badger, as if it had no rotation.
func (s *Store) TrustBadger() { s.live.rotation.limit, s.live.rotation.synced = 1<<62, true }

// SyncBadger makes durable what Badger has, and not the log.
func (s *Store) SyncBadger() error { return errors.Join(s.settle(), s.live.db.Sync()) }

// Dir returns the folder of the live generation.
func (s *Store) Dir() string { return s.live.dir }

// Begun tells of how many bytes of that file the kernel was asked to write, and where the file is.
func (s *Store) Begun() (bytes int64, path string) {
	_ = s.settle()
	return s.live.rotation.begun, s.live.rotation.path(s.live.rotation.file)
}

// FirstBehind tells where a write-ahead file knows of more than the first bytes of a log.
func FirstBehind(data []byte, end int64) (at int, err error) { return firstBehind(data, end) }

// WithGather are options with which so much is gathered at most.
func (o Options) WithGather(bytes int64) Options {
	o.gatherBytes = bytes
	return o
}

// FailToWrite has Badger's next transaction fail, as far as the store can tell.
func (s *Store) FailToWrite() { s.live.rotation.dir = filepath.Join(s.opts.Dir, "LOCK") }

// Stored tells what Badger has of a key.
func (s *Store) Stored(key []byte) (value []byte, ok bool, err error) {
	txn := s.live.db.NewTransaction(false)
	defer txn.Discard()
	return reader{txn: txn}.Get(key)
}

// WithSegments are options with segments of a log that are so small.
func (o Options) WithSegments(bytes int64) Options {
	o.segmentBytes = bytes
	return o
}
