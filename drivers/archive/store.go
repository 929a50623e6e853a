package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	algorithmDir  = "sha256"
	stagingPrefix = ".unpacking-"
	badPrefix     = ".quarantined-"
	// indexFile lists the files of an unpacked archive beside them. No archive can hold a file of this name.
	indexFile = "files.json"

	dirMode, fileMode, programMode = 0o555, 0o444, 0o555
)

// ErrCorrupt is what Verify finds: an unpacked archive is not what it was.
var ErrCorrupt = errors.New("the unpacked archive was changed")

// ErrDigest is what Unpack answers when the bytes are not those of the digest that was asked for.
var ErrDigest = errors.New("the archive has another digest")

// Store keeps unpacked archives under DIR/sha256/<digest in hex>. What is there is complete and never changes. Any
// number of processes may use one directory.
type Store struct {
	dir    string // DIR/sha256
	root   *os.Root
	limits Limits
	room   func(bytes uint64) error
}

// OpenStore opens the store in a directory, which is made when it is missing, and removes what unpackings that were
// killed have left. Users of drivers must be able to reach the directory.
func OpenStore(dir string, limits Limits) (*Store, error) {
	archives := filepath.Join(dir, algorithmDir)
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return nil, fmt.Errorf("opening the store of archives: %w", err)
	}
	root, err := os.OpenRoot(archives)
	if err != nil {
		return nil, fmt.Errorf("opening the store of archives: %w", err)
	}
	s := &Store{dir: archives, root: root, limits: limits, room: func(uint64) error { return nil }}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("cleaning the store of archives: %w", err), root.Close())
	}
	return s, nil
}

// Guard has room asked before so many bytes more are unpacked: what it answers ends the unpacking. It must be called
// before anything is unpacked.
func (s *Store) Guard(room func(bytes uint64) error) { s.room = room }

// Close lets go of the directory.
func (s *Store) Close() error { return s.root.Close() }

// Dir is where the archive with a digest is, once it is unpacked.
func (s *Store) Dir(digest string) string {
	return filepath.Join(s.dir, strings.TrimPrefix(digest, digestPrefix))
}

// folder checks a digest, which becomes a name.
func folder(digest string) (string, error) {
	text, found := strings.CutPrefix(digest, digestPrefix)
	raw, err := hex.DecodeString(text)
	if !found || err != nil || len(raw) != 32 || text != strings.ToLower(text) {
		return "", fmt.Errorf("%q is not a digest: want sha256: and 64 digits in lower case", digest)
	}
	return text, nil
}

// Digests lists the archives that are unpacked.
func (s *Store) Digests() ([]string, error) {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("listing unpacked archives: %w", err)
	}
	var digests []string
	for _, entry := range entries {
		if _, err := folder(digestPrefix + entry.Name()); err == nil {
			digests = append(digests, digestPrefix+entry.Name())
		}
	}
	return digests, nil
}

// Unpack reads an archive to its end, checks it and keeps its content. want is the digest that the archive must have;
// empty takes any. Unpacking what is there already changes nothing: it was verified, and unpacked anew if it was not
// what it should be. A process that is killed meanwhile leaves nothing that looks complete.
func (s *Store) Unpack(ctx context.Context, from io.Reader, want string) (*Archive, error) {
	stage, err := s.stage()
	if err != nil {
		return nil, fmt.Errorf("unpacking the archive: %w", err)
	}
	defer stage.discard()
	archive, err := readArchive(ctx, from, s.limits, stage)
	if err != nil {
		return nil, err
	}
	if want != "" && archive.Digest != want {
		return nil, fmt.Errorf("unpacking the archive: %w: %s, not %s", ErrDigest, archive.Digest, want)
	}
	if err := stage.seal(archive); err != nil {
		return nil, fmt.Errorf("unpacking the archive: %w", err)
	}
	if err := s.publish(ctx, stage, archive); err != nil {
		return nil, fmt.Errorf("unpacking the archive: %w", err)
	}
	return archive, nil
}

// publish gives the staged directory its name. Who comes second finds the name taken, and looks at what is there.
func (s *Store) publish(ctx context.Context, stage *stage, archive *Archive) error {
	name, err := folder(archive.Digest)
	if err != nil {
		return err
	}
	for range 3 {
		err := s.root.Rename(stage.name, name)
		if err == nil {
			return s.sync()
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err //nolint:wrapcheck // it names both
		}
		if err = s.Verify(ctx, archive.Digest, archive.Tree()); err == nil {
			return s.sync() // who made it may have been killed before its own
		}
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		if err := s.Quarantine(archive.Digest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%s is changed again and again", s.Dir(archive.Digest))
}

func (s *Store) sync() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return err //nolint:wrapcheck // it names the directory
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Quarantine takes an unpacked archive out of use and keeps it for whoever wants to know what happened, until it is
// removed by hand. The error is fs.ErrNotExist when it is not there.
func (s *Store) Quarantine(digest string) error {
	name, err := folder(digest)
	if err != nil {
		return err
	}
	for n := range 1000 {
		err = s.root.Rename(name, fmt.Sprintf("%s%s.%d", badPrefix, name, n))
		if err == nil {
			return s.sync()
		}
		if !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
	}
	return fmt.Errorf("putting %s into quarantine: %w", digest, err)
}

// Quarantined lists the directories that are in quarantine.
func (s *Store) Quarantined() ([]string, error) {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("listing quarantined archives: %w", err)
	}
	var found []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), badPrefix) {
			found = append(found, filepath.Join(s.dir, entry.Name()))
		}
	}
	return slices.Clip(found), nil
}

// Remove removes an unpacked archive; one that is not there is fine. Nothing must run from it.
func (s *Store) Remove(digest string) error {
	name, err := folder(digest)
	if err != nil {
		return err
	}
	gone := stagingPrefix + "removed-" + name // what looks complete is complete, also when this is killed
	if err := s.root.Rename(name, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("removing %s: %w", digest, err)
	}
	if err := errors.Join(s.sync(), s.removeAll(gone)); err != nil {
		return fmt.Errorf("removing %s: %w", digest, err)
	}
	return nil
}

// removeAll removes a directory that nobody may write to.
func (s *Store) removeAll(name string) error {
	err := fs.WalkDir(s.root.FS(), name, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return s.root.Chmod(path, 0o700)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // it names the file
	}
	return s.root.RemoveAll(name)
}
