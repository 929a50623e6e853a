package badgerstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

// generation is one Badger database. A store has one that is live; Load makes the next.
type generation struct {
	dir      string
	db       *badger.DB
	logged   *logged // nil if there is no log
	log      *slog.Logger
	rotation *rotation      // used by Update
	resident resident       // what the database has of some keys; used by Update, or what it gathered
	users    sync.WaitGroup // transactions and Syncs that are running
}

const (
	currentFile = "CURRENT"
	// What CURRENT says: the name of the live generation, in the second form which keys are in a log, and a CRC-32C.
	currentForm      = "bulkhead-store 1 %s %08x\n"
	currentLogForm   = "bulkhead-store 2 %s %q %08x\n"
	newestForm       = 2
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
		return firstGeneration, s.setCurrent(firstGeneration, nil)
	}
	if err != nil {
		return "", classify(err)
	}
	name, prefix, ok := readCurrent(string(text))
	var form int
	if _, err := fmt.Sscanf(string(text), "bulkhead-store %d ", &form); err == nil && form > newestForm {
		return "", fmt.Errorf("%s is of form %d, and this program knows forms up to %d: %w; "+
			"install the version that wrote it", currentFile, form, newestForm, persistence.ErrNewer)
	}
	if !ok {
		return "", unreadable(fmt.Errorf("%s says %.100q, which this program does not understand", currentFile, text))
	}
	s.prefix = prefix
	others, err := s.generations()
	if err == nil && len(others) > 0 && !slices.Contains(others, filepath.Join(s.opts.Dir, name)) {
		err = fmt.Errorf("%s names %s, and there is %q", currentFile, name, others)
	}
	if err != nil {
		return "", unreadable(err)
	}
	return name, s.removeGenerations(name)
}

func readCurrent(text string) (name string, prefix []byte, ok bool) {
	var sum uint32
	if _, err := fmt.Sscanf(text, currentLogForm, &name, &prefix, &sum); err == nil {
		return name, prefix, len(prefix) > 0 && current(name, prefix) == text
	}
	_, err := fmt.Sscanf(text, currentForm, &name, &sum)
	return name, nil, err == nil && current(name, nil) == text
}

// current returns what CURRENT says when name is live, and keys with a prefix, if there is one, are in a log.
func current(name string, prefix []byte) string {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum([]byte(name), table)
	if len(prefix) == 0 {
		return fmt.Sprintf(currentForm, name, sum)
	}
	return fmt.Sprintf(currentLogForm, name, prefix, crc32.Update(sum, table, prefix))
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

// setCurrent makes name the live generation, durably, with keys with a prefix in a log if there is one.
func (s *Store) setCurrent(name string, prefix []byte) error {
	if err := writeFile(s.opts.Dir, currentFile, []byte(current(name, prefix))); err != nil {
		return err
	}
	s.prefix = prefix
	return nil
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
	if err := removeEmptyFiles(dir); err != nil {
		return nil, classify(err)
	}
	l, err := s.openLogged(dir)
	if err != nil {
		return nil, unreadable(err)
	}
	g, err := s.openDatabase(dir, opts, l)
	if err != nil && l != nil {
		l.log.Close()
	}
	return g, err
}

// openDatabase opens the database of a generation whose log is open.
func (s *Store) openDatabase(dir string, opts badger.Options, l *logged) (*generation, error) {
	if err := cutTorn(dir, l); err != nil {
		return nil, unreadable(err)
	}
	if err := syncWriteAhead(dir); err != nil {
		return nil, classify(err)
	}
	if err := flushLarger(opts); err != nil {
		return nil, unreadable(err)
	}
	db, err := openBadger(opts)
	if err != nil {
		return nil, unreadable(err)
	}
	g := &generation{dir: dir, db: db, logged: l, log: s.opts.Log}
	g.rotation, err = newRotation(dir, opts.MemTableSize, db.MaxVersion()+1)
	if err := errors.Join(err, disk.Sync(s.opts.Dir)); err != nil {
		return nil, errors.Join(classify(err), db.Close())
	}
	if err := g.redo(); err != nil {
		return nil, errors.Join(fmt.Errorf("finishing an interrupted update: %w", err), db.Close())
	}
	if l != nil {
		if err := l.settle(db); err != nil {
			return nil, errors.Join(unreadable(err), db.Close())
		}
	}
	if g.resident, err = newResident(db, s.opts.Resident); err != nil {
		return nil, errors.Join(unreadable(err), db.Close())
	}
	return g, nil
}

// sync returns when what was committed is durable. The log comes first: what Badger says of it must hold.
func (g *generation) sync(l *logged) error {
	if l != nil {
		if err := l.log.Sync(); err != nil {
			return classify(err)
		}
	}
	if err := g.db.Sync(); err != nil {
		return classify(err)
	}
	return nil
}

// verify checks the checksums of all tables and of the log, as they are in the page cache. Badger panics where a
// checksum is wrong.
func (n *snapshot) verify() (err error) {
	defer recoverAs(&err, "a checksum is wrong")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	if n.log != nil {
		if err := n.log.Verify(); err != nil {
			return err
		}
	}
	return n.g.db.VerifyChecksum()
}

// close closes the database and seals its manifest.
func (g *generation) close() error {
	if g.logged != nil {
		defer g.logged.log.Close()
		if err := g.logged.log.Sync(); err != nil {
			return errors.Join(err, g.db.Close())
		}
	}
	if err := g.db.Close(); err != nil {
		return err
	}
	return seal(g.dir)
}
