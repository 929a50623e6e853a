package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Store is a persistence.Store and persistence.Snapshotter on a local disk.
type Store struct {
	opts Options
	lock *os.File // holds the directory against other processes

	prefix []byte // of the keys that are in a log; held by updating

	updating sync.Mutex     // held while an Update, a Load or Close runs; taken before mu
	gathered batch          // what is to be written to Badger; held by updating
	flushing chan struct{}  // closed when the batch before has been; nil if there was none; held by updating
	late     *time.Timer    // to write what was gathered for long
	retiring sync.WaitGroup // generations that were replaced and still have users

	// mu is held for reading while reading begins, and for writing by whatever must not be seen half done.
	mu     sync.RWMutex
	live   *generation
	newest *snapshot // of live
	closed bool
	broken error // why the store must be reopened: a write failed half-way
}

// Open opens the store in opts.Dir and makes it if there is none. It reads all tables to verify their checksums.
// Errors: persistence.ErrLocked, ErrCorrupt, ErrDiskFull.
func Open(opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts}
	s.late = time.AfterFunc(gatherFor, s.flushLate)
	s.late.Stop()
	if err := s.open(); err != nil {
		s.unlock()
		return nil, fmt.Errorf("opening the store %s: %w", opts.Dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return classify(err)
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := s.room(); err != nil {
		return err
	}
	name, err := s.currentGeneration()
	if err != nil {
		return err
	}
	if err := s.opts.apart(s.prefix); err != nil {
		return err
	}
	if s.live, err = s.openGeneration(name); err != nil {
		return err
	}
	s.show(newSnapshot(s.live))
	return nil
}

// View implements persistence.Store.
func (s *Store) View(fn func(r persistence.Reader) error) error {
	n, err := s.begin()
	if err != nil {
		return err
	}
	defer n.release()
	return fn(n.reader())
}

// Sync implements persistence.Store. The write-ahead files before the one being written were synced when Badger left
// them.
func (s *Store) Sync() error {
	if err := s.settle(); err != nil {
		return err
	}
	s.mu.RLock()
	if err := s.usable(); err != nil {
		s.mu.RUnlock()
		return err
	}
	g := s.live
	g.users.Add(1)
	l := g.logged
	s.mu.RUnlock()
	defer g.users.Done()
	if err := g.sync(l); err != nil {
		return s.fail(fmt.Errorf("syncing the store %s: %w", s.opts.Dir, err))
	}
	return nil
}

// Verify reads all tables and the log, and checks their checksums. Badger takes a block that cannot be read for one
// without keys, so a disk that loses data while the store is open shows only here: call it now and then. A mismatch is
// persistence.ErrCorrupt, after which nothing is answered any more.
func (s *Store) Verify() error {
	n, err := s.begin()
	if err != nil {
		return err
	}
	defer n.release()
	return s.verify(n)
}

func (s *Store) verify(n *snapshot) error {
	if err := n.verify(); err != nil {
		return s.fail(fmt.Errorf("verifying the store %s: %w", s.opts.Dir, unreadable(err)))
	}
	return nil
}

// Close implements persistence.Store. It also waits for every Frozen to be released.
func (s *Store) Close() error {
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.RLock()
	closed, broken := s.closed, s.broken
	s.mu.RUnlock()
	if closed {
		return nil
	}
	left := s.drain()
	if broken != nil {
		left = nil // whoever wrote knows
	}
	s.wait()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.late.Stop()
	s.newest.release()
	s.retiring.Wait()
	s.live.users.Wait()
	err := errors.Join(left, s.live.close())
	s.unlock()
	if err != nil {
		return fmt.Errorf("closing the store %s: %w", s.opts.Dir, classify(err))
	}
	return nil
}

// usable says why the store cannot be used. The caller holds mu.
func (s *Store) usable() error {
	if s.closed {
		return persistence.ErrClosed
	}
	return s.broken
}

// fail makes the store refuse everything from now on, because of err, and returns err.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("the store must be reopened, an earlier write failed: %w", err)
	}
	return err
}

// room refuses to go on when the file system has less than the reserve free.
func (s *Store) room() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.opts.Dir, &fs); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", s.opts.Dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < s.opts.ReserveBytes {
		return fmt.Errorf("%s has %d bytes free and %d are kept in reserve: %w",
			s.opts.Dir, free, s.opts.ReserveBytes, persistence.ErrDiskFull)
	}
	return nil
}

func (s *Store) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.opts.Dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return classify(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("%w: %w", persistence.ErrLocked, err)
	}
	s.lock = f
	return nil
}

func (s *Store) unlock() {
	if s.lock != nil {
		// Closing it gives the lock up, but not at once where a process is just being started: that has the file too.
		_ = unix.Flock(int(s.lock.Fd()), unix.LOCK_UN)
		_ = s.lock.Close()
	}
}
