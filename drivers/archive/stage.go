package archive

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// stage is a directory that an archive is unpacked to before it gets its name. It is locked for as long as its
// process lives, so that others can tell one that is in use from one that was left.
type stage struct {
	store *Store
	name  string
	root  *os.Root
	lock  *os.File
	dirs  map[string]bool
	// left is how many bytes may be written until it is asked again whether there is room.
	left int
}

// roomEvery so many bytes it is asked whether there is room for as many more.
const roomEvery = 4 << 20

func (s *Store) stage() (*stage, error) {
	for {
		name := stagingPrefix + rand.Text()
		if err := s.root.Mkdir(name, 0o700); err != nil {
			return nil, err //nolint:wrapcheck // it names the directory
		}
		lock, err := s.lock(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
			continue // a sweep took it for one that was left
		}
		if err != nil {
			return nil, err
		}
		root, err := s.root.OpenRoot(name)
		if errors.Is(err, fs.ErrNotExist) {
			_ = lock.Close()
			continue
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		return &stage{store: s, name: name, root: root, lock: lock, dirs: map[string]bool{".": true}}, nil
	}
}

// lock locks a directory without waiting.
func (s *Store) lock(name string) (*os.File, error) {
	dir, err := s.root.Open(name)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the directory
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// sweep removes directories whose process is gone.
func (s *Store) sweep() error {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err //nolint:wrapcheck // the caller says what was done
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), stagingPrefix) {
			continue
		}
		lock, err := s.lock(entry.Name())
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // in use, or swept by somebody else
		}
		if err != nil {
			return err
		}
		if err := errors.Join(s.removeAll(entry.Name()), lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// file implements sink.
func (s *stage) file(name string, executable bool) (io.WriteCloser, error) {
	if dir := path.Dir(name); !s.dirs[dir] {
		if err := s.root.MkdirAll(dir, 0o700); err != nil {
			return nil, err //nolint:wrapcheck // it names the directory
		}
		for ; !s.dirs[dir]; dir = path.Dir(dir) {
			s.dirs[dir] = true
		}
	}
	return s.create(name, executable)
}

func (s *stage) create(name string, executable bool) (*sealed, error) {
	file, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	return &sealed{stage: s, file: file, executable: executable}, nil
}

// sealed is a file that is durable and that nobody may change, once it is closed.
type sealed struct {
	stage      *stage
	file       *os.File
	executable bool
}

// Write implements io.Writer.
func (s *sealed) Write(data []byte) (int, error) {
	if s.stage.left < len(data) {
		if err := s.stage.store.room(uint64(max(roomEvery, len(data)))); err != nil {
			return 0, err
		}
		s.stage.left = max(roomEvery, len(data))
	}
	s.stage.left -= len(data)
	return s.file.Write(data)
}

// Close implements io.Closer.
func (s *sealed) Close() error {
	mode := fs.FileMode(fileMode)
	if s.executable {
		mode = programMode
	}
	return errors.Join(s.file.Chmod(mode), s.file.Sync(), s.file.Close())
}

// seal writes the list of files and makes all directories durable, the deepest first.
func (s *stage) seal(archive *Archive) error {
	text, err := json.Marshal(index{Digest: archive.Digest, Files: archive.Files})
	if err != nil {
		return fmt.Errorf("writing the list of files: %w", err)
	}
	list, err := s.create(indexFile, false)
	if err != nil {
		return err
	}
	if _, err := list.Write(text); err != nil {
		return errors.Join(err, list.Close())
	}
	if err := list.Close(); err != nil {
		return err
	}
	dirs := make([]string, 0, len(s.dirs))
	for dir := range s.dirs {
		dirs = append(dirs, dir)
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, dir := range dirs {
		if dir != "." {
			err = s.sealDir(dir)
		}
		if err != nil {
			return err
		}
	}
	return s.sealDir(".")
}

func (s *stage) sealDir(name string) error {
	dir, err := s.root.Open(name)
	if err != nil {
		return err //nolint:wrapcheck // it names the directory
	}
	return errors.Join(dir.Chmod(dirMode), dir.Sync(), dir.Close())
}

// discard removes the directory, unless it has its name by now, and unlocks it.
func (s *stage) discard() {
	_ = s.store.removeAll(s.name) // what is left the next sweep removes
	_ = s.root.Close()
	_ = s.lock.Close()
}
