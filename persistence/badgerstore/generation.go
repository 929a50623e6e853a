package badgerstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// generation is one Badger database. A store has one that is live; Load makes the next.
type generation struct {
	dir      string
	db       *badger.DB
	log      *slog.Logger
	rotation *rotation      // used by Update
	users    sync.WaitGroup // transactions and Syncs that are running
}

const (
	currentFile      = "CURRENT"
	currentForm      = "bulkhead-store 1 %s %08x\n" // the name of the live generation and its CRC-32C
	generationPrefix = "state-"
	firstGeneration  = generationPrefix + "000001"
)

// currentGeneration returns the name of the live generation and removes all others. In a new store it makes CURRENT
// before the generation.
func (s *Store) currentGeneration() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.opts.Dir, currentFile))
	if errors.Is(err, os.ErrNotExist) {
		if left, err := s.generations(); err != nil || len(left) > 0 {
			return "", unreadable(errors.Join(err, fmt.Errorf("%s is missing, but there is %q", currentFile, left)))
		}
		return firstGeneration, s.setCurrent(firstGeneration)
	}
	if err != nil {
		return "", classify(err)
	}
	var name string
	var sum uint32
	if _, err := fmt.Sscanf(string(text), currentForm, &name, &sum); err != nil || current(name) != string(text) {
		return "", unreadable(fmt.Errorf("%s says %.100q, which this program does not understand", currentFile, text))
	}
	return name, s.removeGenerations(name)
}

// current returns what CURRENT says when name is live.
func current(name string) string {
	return fmt.Sprintf(currentForm, name, crc32.Checksum([]byte(name), crc32.MakeTable(crc32.Castagnoli)))
}

func (s *Store) generations() ([]string, error) {
	return filepath.Glob(filepath.Join(s.opts.Dir, generationPrefix+"*"))
}

// nextGeneration returns the name after the live one.
func (s *Store) nextGeneration() (string, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(s.live.dir), generationPrefix))
	if err != nil {
		return "", fmt.Errorf("counting generations: %w", err)
	}
	return fmt.Sprintf("%s%06d", generationPrefix, n+1), nil
}

// setCurrent makes name the live generation, durably.
func (s *Store) setCurrent(name string) error {
	return writeFile(s.opts.Dir, currentFile, []byte(current(name)))
}

// removeGenerations removes what an interrupted Load left: all generations but keep.
func (s *Store) removeGenerations(keep string) error {
	dirs, err := s.generations()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if filepath.Base(dir) == keep {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing an old generation: %w", err)
		}
	}
	return nil
}

// openGeneration opens the database of a generation, and makes it if there is none.
func (s *Store) openGeneration(name string) (*generation, error) {
	dir := filepath.Join(s.opts.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, classify(err)
	}
	opts := s.opts.badger(dir)
	if err := errors.Join(leaveSeal(dir), verifyTables(dir, opts)); err != nil {
		return nil, unreadable(err)
	}
	if err := errors.Join(removeEmptyFiles(dir), syncWriteAhead(dir)); err != nil {
		return nil, classify(err)
	}
	if err := flushLarger(opts); err != nil {
		return nil, unreadable(err)
	}
	db, err := openBadger(opts)
	if err != nil {
		return nil, unreadable(err)
	}
	g := &generation{dir: dir, db: db, log: s.opts.Log}
	g.rotation, err = newRotation(dir, opts.MemTableSize, db.MaxVersion()+1)
	if err := errors.Join(err, syncDir(s.opts.Dir)); err != nil {
		return nil, errorsJoinClose(classify(err), g)
	}
	return g, nil
}

// verify checks the checksums of all tables, as they are in the page cache. Badger panics where a checksum is wrong.
func (g *generation) verify() (err error) {
	defer recoverAs(&err, "a checksum is wrong")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return g.db.VerifyChecksum()
}

// close closes the database and seals its manifest.
func (g *generation) close() error {
	if err := g.db.Close(); err != nil {
		return err
	}
	return seal(g.dir)
}

// errorsJoinClose closes g because of err and returns both errors.
func errorsJoinClose(err error, g *generation) error { return errors.Join(err, g.close()) }
