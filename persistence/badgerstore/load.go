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

// loadBuffer is how much of a stream is handed to Badger at a time.
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
	next, err := s.fill(name, in)
	if err == nil {
		err = s.setCurrent(name) // from here on the new state is the state
	}
	if err != nil {
		if next != nil {
			err = errorsJoinClose(err, next)
		}
		return errors.Join(err, os.RemoveAll(filepath.Join(s.opts.Dir, name)))
	}
	old := s.live
	s.show(next)
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
	err = s.write(db, in)
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, classify(err)
	}
	return s.openGeneration(name)
}

// write writes the keys of in to an empty database, as tables in the deepest level.
func (s *Store) write(db *badger.DB, in *kvstream.Reader) (err error) {
	out := db.NewStreamWriter()
	if err := out.Prepare(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Cancel()
		}
	}()
	buf := z.NewBuffer(loadBuffer+loadBuffer/2, "bulkhead-load")
	defer func() { err = errors.Join(err, buf.Release()) }()
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		kv := pb.KV{Key: tagged(key), Value: value, Version: 1, StreamId: 1}
		badger.KVToBuffer(&kv, buf)
		if buf.LenNoPadding() < loadBuffer {
			continue
		}
		if err := s.room(); err != nil {
			return err
		}
		if err := out.Write(buf); err != nil {
			return err
		}
		buf.Reset()
	}
	if err := out.Write(buf); err != nil {
		return err
	}
	return out.Flush()
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
