package badgerstore

import (
	"fmt"
	"io"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

// frozen is a snapshot that is kept for a while.
type frozen struct {
	store *Store
	of    *snapshot
	r     reader

	mu       sync.Mutex // guards released
	released bool
}

// Freeze implements persistence.Snapshotter. Until it is released, Badger keeps what is overwritten.
func (s *Store) Freeze() (persistence.Frozen, error) {
	n, err := s.begin()
	if err != nil {
		return nil, err
	}
	return &frozen{store: s, of: n, r: n.reader()}, nil
}

// Get implements persistence.Reader.
func (f *frozen) Get(key []byte) (value []byte, ok bool, err error) {
	if err := f.check(); err != nil {
		return nil, false, err
	}
	return f.r.Get(key)
}

// Scan implements persistence.Reader.
func (f *frozen) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.r.Scan(prefix, from, fn)
}

// ScanReverse implements persistence.Reader.
func (f *frozen) ScanReverse(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.r.ScanReverse(prefix, from, fn)
}

// WriteTo implements persistence.Frozen. It verifies all tables first, because keys in a block that cannot be read
// would be missing from the stream without an error.
func (f *frozen) WriteTo(w io.Writer) (written int64, err error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	if err := f.store.verify(f.of.g); err != nil {
		return 0, err
	}
	out, err := kvstream.NewWriter(w)
	if err != nil {
		return 0, fmt.Errorf("streaming the store %s: %w", f.store.opts.Dir, err)
	}
	err = f.r.Scan(nil, nil, func(key, value []byte) (bool, error) { return true, out.Put(key, value) })
	if err != nil {
		return 0, fmt.Errorf("streaming the store %s: %w", f.store.opts.Dir, err)
	}
	return out.Close()
}

// Release implements persistence.Frozen.
func (f *frozen) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.released {
		f.released = true
		f.of.release()
	}
}

func (f *frozen) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released {
		return persistence.ErrClosed
	}
	return nil
}
