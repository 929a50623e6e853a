package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/kvstream"
)

// loadBuffer is how much of a stream is handed to Badger at a time, and after how much it is looked whether there is
// room for more.
const loadBuffer = 4 << 20

// Load implements persistence.Snapshotter. It needs room for a second state beside the live one.
func (s *Store) Load(r io.Reader) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	s.mu.RLock()
	err := s.usable()
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	if err := s.load(r); err != nil {
		return fmt.Errorf("loading into the store %s: %w", s.opts.Dir, err)
	}
	return nil
}

func (s *Store) load(r io.Reader) error {
	in, err := kvstream.NewReader(r)
	if err != nil {
		return err
	}
	name, err := s.nextGeneration()
	if err != nil {
		return err
	}
	s.wait()
	next, err := s.fill(name, in)
	if err == nil {
		err = s.setCurrent(name, s.prefix) // from here on the new state is the state
	}
	if err != nil {
		if next != nil {
			err = errors.Join(err, next.close())
		}
		if errors.Is(err, errReplaced) { // both stay: who opens the store sees which is live
			return s.fail(err)
		}
		return errors.Join(err, os.RemoveAll(filepath.Join(s.opts.Dir, name)))
	}
	old := s.live
	s.late.Stop()
	s.gathered = batch{}
	s.show(newSnapshot(next))
	s.retire(old)
	return nil
}

// fill makes a generation with the keys of in and opens it.
func (s *Store) fill(name string, in *kvstream.Reader) (*generation, error) {
	dir := filepath.Join(s.opts.Dir, name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, classify(err)
	}
	db, err := openBadger(s.opts.badger(dir))
	if err != nil {
		return nil, classify(err)
	}
	err = s.write(db, dir, in)
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, classify(err)
	}
	return s.openGeneration(name)
}

// write writes the keys of in to an empty database, as tables in the deepest level, and to the log in dir, if there is
// one.
func (s *Store) write(db *badger.DB, dir string, in *kvstream.Reader) (err error) {
	l := &loading{store: s, out: db.NewStreamWriter(), buf: z.NewBuffer(loadBuffer+loadBuffer/2, "bulkhead-load")}
	defer func() { err = errors.Join(err, l.buf.Release()) }()
	if l.grown, err = s.openLogged(dir); err != nil {
		return err
	}
	if l.grown != nil {
		defer l.grown.log.Close()
	}
	if err := l.out.Prepare(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			l.out.Cancel()
		}
	}()
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			return l.end()
		}
		if err != nil {
			return err
		}
		if err := l.put(tagged(key), value); err != nil {
			return err
		}
	}
}

// loading is a state that is being loaded.
type loading struct {
	store     *Store
	out       *badger.StreamWriter
	buf       *z.Buffer
	grown     *logged // nil if there is no log
	unchecked int     // bytes since it was looked whether there is room
}

func (l *loading) put(key, value []byte) error {
	if l.unchecked += len(key) + len(value); l.unchecked > loadBuffer {
		if err := l.store.room(); err != nil {
			return err
		}
		l.unchecked = 0
	}
	if l.grown.has(key) {
		return l.grown.load(key, value)
	}
	badger.KVToBuffer(&pb.KV{Key: key, Value: value, Version: 1, StreamId: 1}, l.buf)
	if l.buf.LenNoPadding() < loadBuffer {
		return nil
	}
	defer l.buf.Reset()
	return l.out.Write(l.buf)
}

func (l *loading) end() error {
	if l.grown != nil {
		if err := l.grown.log.Sync(); err != nil {
			return err
		}
		badger.KVToBuffer(&pb.KV{Key: markKey, Value: l.grown.mark.encode(), Version: 1, StreamId: 1}, l.buf)
	}
	if err := l.out.Write(l.buf); err != nil {
		return err
	}
	return l.out.Flush()
}

// load appends a key of a state that is being loaded.
func (l *logged) load(key, value []byte) error {
	if err := l.log.Append(func(yield func(k, v []byte) bool) { yield(key, value) }); err != nil {
		return err
	}
	if l.mark.from == nil {
		l.mark.from = key
	}
	l.mark.end, l.mark.last = l.log.End(), key
	return nil
}

// retire closes and removes a generation when nobody reads it any more.
func (s *Store) retire(g *generation) {
	s.retiring.Go(func() {
		g.users.Wait()
		if err := errors.Join(g.close(), os.RemoveAll(g.dir)); err != nil {
			s.opts.Log.Warn("the state that a snapshot replaced was not removed",
				slog.String("dir", g.dir), slog.Any("error", err))
		}
	})
}
