package memstore

import (
	"io"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

// frozen is one version of the state, kept for a while.
type frozen struct {
	source   reader
	store    *Store
	mu       sync.Mutex // guards released
	released bool
}

// Get implements persistence.Reader.
func (f *frozen) Get(key []byte) (value []byte, ok bool, err error) {
	if err := f.check(); err != nil {
		return nil, false, err
	}
	return f.source.Get(key)
}

// Scan implements persistence.Reader.
func (f *frozen) Scan(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.source.Scan(prefix, from, fn)
}

// ScanReverse implements persistence.Reader.
func (f *frozen) ScanReverse(prefix, from []byte, fn func(key, value []byte) (bool, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	return f.source.ScanReverse(prefix, from, fn)
}

// WriteTo implements persistence.Frozen.
func (f *frozen) WriteTo(w io.Writer) (written int64, err error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	out, err := kvstream.NewWriter(w)
	if err != nil {
		return 0, err
	}
	err = f.source.Scan(nil, nil, func(key, value []byte) (bool, error) { return true, out.Put(key, value) })
	if err != nil {
		return 0, err
	}
	return out.Close()
}

// Release implements persistence.Frozen.
func (f *frozen) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.released {
		f.released = true
		f.store.running.Done()
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
