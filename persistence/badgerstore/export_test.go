package badgerstore

// Rotation tells which write-ahead file Badger writes to, as far as the store knows, and whether the store will sync it
// before the next write.
func (s *Store) Rotation() (file int, due bool) { return s.live.rotation.file, s.live.rotation.due() }

// TrustBadger makes the store leave the order of write-ahead files to Badger, as if it had no rotation.
func (s *Store) TrustBadger() { s.live.rotation.limit, s.live.rotation.synced = 1<<62, true }

// SyncBadger makes durable what Badger has, and not the log.
func (s *Store) SyncBadger() error { return s.live.db.Sync() }

// Dir returns the folder of the live generation.
func (s *Store) Dir() string { return s.live.dir }

// Begun tells of how many bytes of that file the kernel was asked to write, and where the file is.
func (s *Store) Begun() (bytes int64, path string) {
	return s.live.rotation.begun, s.live.rotation.path(s.live.rotation.file)
}

// FirstBehind tells where a write-ahead file knows of more than the first bytes of a log.
func FirstBehind(data []byte, end int64) (at int, err error) { return firstBehind(data, end) }

// WithSegments are options with segments of a log that are so small.
func (o Options) WithSegments(bytes int64) Options {
	o.segmentBytes = bytes
	return o
}
