package frozen

import (
	"fmt"
	"io"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

// State is one version of a store's state, kept for a while.
type State struct {
	persistence.Reader
	verify  func() error
	release func()
}

// New keeps what reader reads until Release, which calls release once. Verify, if not nil, is asked before the state
// is streamed.
func New(reader persistence.Reader, verify func() error, release func()) *State {
	return &State{Reader: reader, verify: verify, release: release}
}

// WriteTo implements persistence.Frozen.
func (s *State) WriteTo(w io.Writer) (written int64, err error) {
	if s.verify != nil {
		if err := s.verify(); err != nil {
			return 0, err
		}
	}
	out, err := kvstream.NewWriter(w)
	if err != nil {
		return 0, fmt.Errorf("streaming the store: %w", err)
	}
	err = s.Scan(nil, nil, func(key, value []byte) (bool, error) { return true, out.Put(key, value) })
	if err != nil {
		return 0, fmt.Errorf("streaming the store: %w", err)
	}
	return out.Close()
}

// Release implements persistence.Frozen.
func (s *State) Release() {
	if s.release == nil {
		return
	}
	s.release()
	s.Reader, s.verify, s.release = released{}, nil, nil
}

// released is a reader that has nothing to read from any more.
type released struct{}

func (released) Get([]byte) ([]byte, bool, error) { return nil, false, persistence.ErrClosed }

func (released) Scan(_, _ []byte, _ func(key, value []byte) (bool, error)) error {
	return persistence.ErrClosed
}

func (released) ScanReverse(_, _ []byte, _ func(key, value []byte) (bool, error)) error {
	return persistence.ErrClosed
}
