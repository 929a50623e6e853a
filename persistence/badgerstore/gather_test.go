package badgerstore_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

func put(t *testing.T, s persistence.Store, key, value []byte) {
	t.Helper()
	if err := s.Update(func(w persistence.Writer) error { return w.Put(key, value) }); err != nil {
		t.Fatal(err)
	}
}

// stored returns what Badger has of the applied number.
func stored(t *testing.T, s *badgerstore.Store) string {
	t.Helper()
	value, _, err := s.Stored(appliedKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// TestGatheredIsWritten: Badger gets what was gathered once that is enough, after a second, when somebody wants all to
// be durable, and when the store is closed.
func TestGatheredIsWritten(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openWith(t, badgerstore.Options{Dir: dir}.WithGather(1000))
		step := func(value string, written bool, then func()) {
			t.Helper()
			before := stored(t, s)
			put(t, s, appliedKey, []byte(value))
			if got := stored(t, s); got != before && !written {
				t.Errorf("Badger has %.9q at once", got)
			}
			then()
			synctest.Wait()
			if got := stored(t, s); got != value {
				t.Errorf("Badger has %.9q, want %.9q", got, value)
			}
		}
		step("one", false, func() { time.Sleep(time.Second) })
		step("two", false, func() {
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		})
		step(string(make([]byte, 1000)), true, func() {})
		step("three", false, func() {
			for i := range 1000 { // the same again and again is not more
				put(t, s, appliedKey, fmt.Append(nil, i))
			}
			if got := stored(t, s); len(got) != 1000 {
				t.Errorf("Badger has %.9q, and nothing was to be written", got)
			}
			put(t, s, appliedKey, []byte("three"))
			time.Sleep(time.Second)
		})
		put(t, s, appliedKey, []byte("last"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		if got := stored(t, s); got != "last" {
			t.Errorf("after it was closed Badger has %q", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestGatheredCanNotBeWritten: what Badger did not take is not there any more once the store is opened again, and until
// then nothing is.
func TestGatheredCanNotBeWritten(t *testing.T) {
	for name, asks := range map[string]func(s *badgerstore.Store) error{
		"Update": func(s *badgerstore.Store) error {
			if err := s.Settle(); err == nil {
				t.Error("Badger takes it")
			}
			return s.Update(func(w persistence.Writer) error { return w.Put(appliedKey, nil) })
		},
		"Sync":  (*badgerstore.Store).Sync,
		"Close": (*badgerstore.Store).Close,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			keepLog(t, s)
			for n := range uint64(10) {
				write(t, s, n+1)
			}
			err := s.Update(func(w persistence.Writer) error { return writeNumber(w, 11, onlySmall) })
			if err != nil {
				t.Fatal(err)
			}
			s.FailToWrite()
			if err := asks(s); err == nil {
				t.Error("it succeeds")
			}
			if _, err := applied(s); err == nil {
				t.Error("it answers")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			defer s.Close()
			if n, err := checkPrefix(s, onlySmall); err != nil || n < 10 {
				t.Errorf("it is at %d: %v", n, err)
			}
		})
	}
}

// TestLoadReplacesWhatIsGathered: what was gathered before a Load does not come back after it, and is not lost if the
// Load fails.
func TestLoadReplacesWhatIsGathered(t *testing.T) {
	var stream bytes.Buffer
	source := open(t, t.TempDir())
	frozen, err := source.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := frozen.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	frozen.Release()
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, appliedKey, []byte("12345678"))
	if err := s.Load(bytes.NewReader(stream.Bytes()[:stream.Len()-1])); err == nil {
		t.Error("half a stream is loaded")
	}
	if n, err := applied(s); err != nil || n == 0 {
		t.Errorf("after a Load that failed the store is at %d: %v", n, err)
	}
	if err := s.Load(&stream); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time after it was opened again
		if n, err := applied(s); err != nil || n != 0 {
			t.Errorf("after a Load the store is at %d: %v", n, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGatheredFitsIntoATransaction: Updates of which Badger does not take two at once, by their size or by their number
// of keys, are written one after the other.
func TestGatheredFitsIntoATransaction(t *testing.T) {
	for name, of := range map[string]struct{ keys, size int }{"bytes": {1, 900_000}, "keys": {8_000, 0}} {
		t.Run(name, func(t *testing.T) {
			s := openWith(t, badgerstore.Options{Dir: t.TempDir()}.WithGather(1<<30))
			defer s.Close()
			const updates = 10
			for n := range uint64(updates) {
				err := s.Update(func(w persistence.Writer) error {
					for i := range of.keys {
						if err := w.Put(numberKey(n, uint64(i)), make([]byte, of.size)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Settle(); err != nil {
				t.Fatal(err)
			}
			for n := range uint64(updates) {
				for i := range of.keys {
					if _, ok, err := s.Stored(numberKey(n, uint64(i))); !ok || err != nil {
						t.Fatalf("key %d of update %d: %v, %v", i, n, ok, err)
					}
				}
			}
		})
	}
}
