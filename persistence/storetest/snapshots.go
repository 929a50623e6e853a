package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

func testViewIsStable(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"}, pair{"b", "1"})
	view(t, s, func(r persistence.Reader) {
		updated := make(chan error)
		go func() {
			updated <- s.Update(func(w persistence.Writer) error {
				return errors.Join(w.Put([]byte("a"), []byte("2")), w.Delete([]byte("b")), w.Put([]byte("c"), nil))
			})
		}()
		if err := <-updated; err != nil {
			t.Fatal(err)
		}
		expect := []pair{{"a", "1"}, {"b", "1"}}
		if got := scan(t, r, false, "", ""); !slices.Equal(got, expect) || get(t, r, "a") != "1" {
			t.Errorf("a view sees %v after an update, want %v", got, expect)
		}
	})
	view(t, s, func(r persistence.Reader) {
		if got := get(t, r, "a"); got != "2" {
			t.Errorf("a new view sees %q, want 2", got)
		}
	})
}

// testNoHalfUpdates writes the same number to many keys in each update, some updates being large, while readers look
// for two different numbers.
func testNoHalfUpdates(t *testing.T, s Store) {
	const keys, updates = 60, 40
	padding := make([]byte, 100<<10)
	var done sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.View(allEqual); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range updates {
		err := s.Update(func(w persistence.Writer) error {
			for i := range keys {
				value := []byte(strconv.Itoa(n))
				if err := w.Put([]byte(numbered(i)+"n"), value); err != nil {
					return err
				}
				if n%10 != 0 {
					continue
				}
				if err := w.Put([]byte(numbered(i)+"p"), padding); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	done.Wait()
}

// allEqual fails if the values of the keys ending with n differ. Between them are keys with padding, so that a store
// that cuts a large update into parts cuts it between two of them.
func allEqual(r persistence.Reader) error {
	first := ""
	return r.Scan(nil, nil, func(key, value []byte) (bool, error) {
		if !bytes.HasSuffix(key, []byte("n")) {
			return true, nil
		}
		if first == "" {
			first = string(value)
		}
		if string(value) != first {
			return false, fmt.Errorf("%s is %s where the keys before it are %s", key, value, first)
		}
		return true, nil
	})
}

func testFrozenIsStable(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"}, pair{"b", "2"})
	before := stream(t, s)
	frozen, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Release()
	put(t, s, pair{"a", "x"}, pair{"c", "3"})
	var b bytes.Buffer
	if _, err := frozen.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), before) {
		t.Error("the stream of a frozen state changed with the store")
	}
	if got := get(t, frozen, "a") + get(t, frozen, "c"); got != "1-" {
		t.Errorf("a, c = %s in the frozen state, want 1, -", got)
	}
	if got := letters2(scan(t, frozen, true, "", "")); got != "b2a1" {
		t.Errorf("the frozen state holds %s, want b2a1", got)
	}
	if bytes.Equal(stream(t, s), before) {
		t.Error("the stream of the changed store is the same")
	}
}

func letters2(pairs []pair) (s string) {
	for _, p := range pairs {
		s += p.key + p.value
	}
	return s
}

func testLoad(t *testing.T, s Store) {
	var pairs []pair
	for i := range 5000 {
		pairs = append(pairs, pair{numbered(i), fmt.Sprint(i * i)})
	}
	put(t, s, append(pairs, pair{"zz", ""})...)
	full := stream(t, s)
	if err := s.Update(func(w persistence.Writer) error { return w.Delete([]byte(numbered(7))) }); err != nil {
		t.Fatal(err)
	}
	put(t, s, pair{"new", "1"})
	if err := s.Load(bytes.NewReader(full)); err != nil {
		t.Fatalf("Load() = %v", err)
	}
	if !bytes.Equal(stream(t, s), full) {
		t.Error("after Load the state is not the loaded one")
	}
	view(t, s, func(r persistence.Reader) {
		if got := get(t, r, "new") + get(t, r, numbered(7)) + get(t, r, "zz"); got != "-49" {
			t.Errorf("new, key 7, zz = %s, want -, 49 and empty", got)
		}
	})
	put(t, s, pair{numbered(8), "over"}, pair{"after", "1"}) // the store goes on from there
	view(t, s, func(r persistence.Reader) {
		if got := get(t, r, numbered(8)) + get(t, r, "after"); got != "over1" {
			t.Errorf("what was written after Load reads %s", got)
		}
	})
	if err := s.Load(bytes.NewReader(full)); err != nil {
		t.Fatalf("a second Load() = %v", err)
	}
	if !bytes.Equal(stream(t, s), full) {
		t.Error("after a second Load the state is not the loaded one")
	}
}

func testDamagedStream(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"}, pair{"b", "2"}, pair{"c", "3"})
	good := stream(t, s)
	put(t, s, pair{"a", "now"})
	now := stream(t, s)
	damaged := map[string][]byte{
		"empty":          {},
		"foreign":        []byte("SQLite format 3\x00"),
		"cut in a key":   good[:len(good)/2],
		"cut at the end": good[:len(good)-1],
		"too long":       append(slices.Clone(good), 'x'),
		"flipped":        slices.Concat(good[:9], []byte{good[9] ^ 1}, good[10:]),
	}
	for what, b := range damaged {
		want(t, "Load of a stream that is "+what, s.Load(bytes.NewReader(b)), persistence.ErrCorrupt)
		if !bytes.Equal(stream(t, s), now) {
			t.Fatalf("a stream that is %s changed the state", what)
		}
	}
	broken := errors.New("the line went dead")
	err := s.Load(&failingReader{good[:len(good)-3], broken})
	want(t, "Load from a reader that fails", err, broken)
	if !bytes.Equal(stream(t, s), now) {
		t.Fatal("a reader that failed changed the state")
	}
}

// failingReader gives some bytes and then fails.
type failingReader struct {
	rest []byte
	err  error
}

func (r *failingReader) Read(b []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func testLoadWhileReading(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"})
	first := stream(t, s)
	put(t, s, pair{"a", "2"})
	frozen, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Release()
	view(t, s, func(r persistence.Reader) {
		loaded := make(chan error)
		go func() { loaded <- s.Load(bytes.NewReader(first)) }()
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		if got := get(t, r, "a"); got != "2" {
			t.Errorf("a view that was running during Load sees %s, want 2", got)
		}
	})
	if got := get(t, frozen, "a"); got != "2" {
		t.Errorf("a state frozen before Load has %s, want 2", got)
	}
	view(t, s, func(r persistence.Reader) {
		if got := get(t, r, "a"); got != "1" {
			t.Errorf("a view after Load sees %s, want 1", got)
		}
	})
}
