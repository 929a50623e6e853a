package shelf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

const (
	algorithm = "sha256"
	carEnding = ".car"
	// partPrefix begins the names of files that are not complete.
	partPrefix = ".part-"
)

// ErrBusy says that an archive is being put on the shelf by somebody else.
var ErrBusy = errors.New("the archive is being received already")

// Shelf keeps archives by digest, DIR/sha256/<digest in hex>.car and beside it the directory that it unpacks to. Safe
// for concurrent use.
type Shelf struct {
	dir    string // DIR/sha256
	store  *archive.Store
	limits archive.Limits
	// reserve is how many bytes of the file system are left free.
	reserve uint64

	mu      sync.Mutex
	putting map[string]bool  // by digest
	refused map[string]error // why the last attempt to receive it came to nothing, by digest
	changed chan struct{}    // closed when something was put or removed
}

// Open opens the shelf in a directory, which is made when it is missing, and removes what was not complete when a
// process was killed. Users of drivers must be able to reach the directory.
func Open(dir string, limits archive.Limits) (*Shelf, error) {
	store, err := archive.OpenStore(dir, limits)
	if err != nil {
		return nil, err
	}
	s := &Shelf{
		dir: filepath.Join(dir, algorithm), store: store, limits: limits, putting: map[string]bool{},
		refused: map[string]error{}, changed: make(chan struct{}),
	}
	store.Guard(s.room)
	if s.reserve, err = reserveOf(s.dir); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	left, err := filepath.Glob(filepath.Join(s.dir, partPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clearing the shelf of archives: %w", err), store.Close())
	}
	return s, nil
}

// Close lets go of the directory.
func (s *Shelf) Close() error { return s.store.Close() }

// Changed is closed when something was put on the shelf or taken from it.
func (s *Shelf) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Shelf) note() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Dir is what an archive unpacks to.
func (s *Shelf) Dir(digest string) string { return s.store.Dir(digest) }

func (s *Shelf) car(digest string) string { return s.store.Dir(digest) + carEnding }

// Lacks lists those of some digests whose archive is not here, whole, and was not taken out of use.
func (s *Shelf) Lacks(digests []string) (lacking []string) {
	for _, digest := range digests {
		if _, bad := s.Bad(digest); bad {
			continue // until somebody has looked at it
		}
		_, unpacked := os.Lstat(s.Dir(digest))
		_, packed := os.Lstat(s.car(digest))
		if errors.Join(unpacked, packed) != nil {
			lacking = append(lacking, digest)
		}
	}
	return lacking
}

// Put reads an archive to its end, checks all of it, and keeps it, durably, with what it unpacks to. Want is the digest
// that it must have; empty takes any. Putting what is there already changes nothing. Errors: ErrBusy, ErrNoRoom, those
// of archive.Store.Unpack.
func (s *Shelf) Put(ctx context.Context, from io.Reader, want string) (*archive.Archive, error) {
	if want != "" {
		if !s.begin(want) {
			return nil, fmt.Errorf("%s: %w", want, ErrBusy)
		}
		defer s.end(want)
	}
	part, err := os.CreateTemp(s.dir, partPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("keeping an archive: %w", asRoom(err))
	}
	defer func() {
		_ = part.Close()           // it was synced, or there is an error already
		_ = os.Remove(part.Name()) // it is gone if it was complete
	}()
	found, err := s.store.Unpack(ctx, io.TeeReader(from, part), want)
	if err != nil {
		return nil, asRoom(err)
	}
	if err := s.publish(part, found.Digest); err != nil {
		return nil, fmt.Errorf("keeping archive %s: %w", found.Digest, asRoom(err))
	}
	s.note()
	return found, nil
}

func (s *Shelf) begin(digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.putting[digest] {
		return false
	}
	s.putting[digest] = true
	return true
}

func (s *Shelf) end(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.putting, digest)
}

// publish gives a complete file its name, durably.
func (s *Shelf) publish(part *os.File, digest string) error {
	if err := errors.Join(part.Chmod(0o444), part.Sync()); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), s.car(digest)); err != nil {
		return err
	}
	return s.sync()
}

func (s *Shelf) sync() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Open opens the .car file of an archive. The error is fs.ErrNotExist when it is not here.
func (s *Shelf) Open(digest string) (*os.File, error) {
	if !s.known(digest) {
		return nil, fmt.Errorf("opening archive %q: %w", digest, fs.ErrNotExist)
	}
	f, err := os.Open(s.car(digest))
	if err != nil {
		return nil, fmt.Errorf("opening archive %s: %w", digest, err)
	}
	return f, nil
}

// known makes sure that a digest names nothing outside of the shelf.
func (s *Shelf) known(digest string) bool {
	all, err := s.store.Digests()
	return err == nil && slices.Contains(all, digest)
}

// Load verifies what an archive unpacked to, and reads what it is. Tree is what the zone remembers of it: see
// archive.Archive. Errors: fs.ErrNotExist when it is not here, archive.ErrCorrupt when it is not what it was.
func (s *Shelf) Load(ctx context.Context, digest, tree string) (*archive.Archive, error) {
	if err := s.Verify(ctx, digest, tree); err != nil {
		return nil, err
	}
	return s.store.Load(digest)
}

// Verify verifies what an archive unpacked to; errors are like those of Load.
func (s *Shelf) Verify(ctx context.Context, digest, tree string) error {
	return s.store.Verify(ctx, digest, tree)
}

// Quarantine takes an archive out of use, until Pardon, and keeps what it unpacked to for whoever wants to look at it.
// The .car file, from which it came, is removed too: it is given again. Mark is what Bad answers then.
func (s *Shelf) Quarantine(digest string, mark uint64) error {
	if !s.known(digest) {
		return fmt.Errorf("putting archive %q into quarantine: %w", digest, fs.ErrNotExist)
	}
	// First what keeps it out of use: see Lacks.
	if err := os.WriteFile(s.bad(digest), strconv.AppendUint(nil, mark, 10), 0o600); err != nil {
		return fmt.Errorf("putting archive %s into quarantine: %w", digest, err)
	}
	err := errors.Join(s.sync(), s.store.Quarantine(digest))
	if gone := os.Remove(s.car(digest)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	s.note()
	return err
}

func (s *Shelf) bad(digest string) string { return s.Dir(digest) + ".bad" }

// Bad reports whether an archive was taken out of use, and the mark of that.
func (s *Shelf) Bad(digest string) (mark uint64, is bool) {
	text, err := os.ReadFile(s.bad(digest))
	if err != nil {
		return 0, false
	}
	mark, _ = strconv.ParseUint(string(text), 10, 64) // a write that was interrupted is a quarantine, too
	return mark, true
}

// Pardon ends the quarantine of an archive, of which tree is what the zone remembers: it may be given again. What was
// put here anew meanwhile stays. What was changed, and is here still since the quarantine was cut off, is taken away
// first.
func (s *Shelf) Pardon(ctx context.Context, digest, tree string) error {
	if s.known(digest) && s.Verify(ctx, digest, tree) != nil {
		mark, _ := s.Bad(digest)
		if err := s.Quarantine(digest, mark); err != nil {
			return err
		}
	}
	if err := os.Remove(s.bad(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ending the quarantine of archive %s: %w", digest, err)
	}
	return s.sync()
}

// Quarantined lists the directories of archives that were taken out of use, of one digest.
func (s *Shelf) Quarantined(digest string) (found []string, err error) {
	all, err := s.store.Quarantined()
	for _, dir := range all {
		if strings.Contains(filepath.Base(dir), strings.TrimPrefix(digest, algorithm+":")) {
			found = append(found, dir)
		}
	}
	return found, err
}

// Keep removes all archives but those with some digests. Nothing must run from the others.
func (s *Shelf) Keep(digests map[string]bool) error {
	all, err := s.store.Digests()
	if err != nil {
		return err
	}
	var errs []error
	for _, digest := range all {
		if digests[digest] {
			continue
		}
		errs = append(errs, s.Remove(digest))
	}
	return errors.Join(errs...)
}

// Remove removes an archive; one that is not here is fine. Nothing must run from it.
func (s *Shelf) Remove(digest string) error {
	if !s.known(digest) {
		return nil
	}
	if err := os.Remove(s.car(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing archive %s: %w", digest, err)
	}
	err := s.store.Remove(digest)
	s.remember(digest, nil)
	s.note()
	return err
}

// Receive is Put of an archive that somebody else has. If it is said how large it is, nothing of it is read unless
// there is room for it and, as far as can be told, for what it unpacks to.
func (s *Shelf) Receive(ctx context.Context, digest string, size int64, from io.Reader) error {
	if digest == "" || len(s.Lacks([]string{digest})) == 0 {
		return nil
	}
	err := s.room(2 * uint64(max(size, 0)))
	if err == nil {
		_, err = s.Put(ctx, from, digest)
	}
	if !errors.Is(err, ErrBusy) {
		s.remember(digest, err)
	}
	return err
}

func (s *Shelf) remember(digest string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.refused, digest)
		return
	}
	was := s.refused[digest]
	s.refused[digest] = err
	if was == nil || was.Error() != err.Error() {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// Refused says why an archive that is not here could not be received when it was last given; nil if it was not given.
func (s *Shelf) Refused(digest string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[digest]
}
