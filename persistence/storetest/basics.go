package storetest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

func testCopies(t *testing.T, s Store) {
	key, value := []byte("key"), []byte("value")
	err := s.Update(func(w persistence.Writer) error {
		if err := w.Put(key, value); err != nil {
			return err
		}
		copy(key, "xxx")
		return w.Put([]byte("other"), []byte("1"))
	})
	if err != nil {
		t.Fatal(err)
	}
	view(t, s, func(r persistence.Reader) {
		got, _, err := r.Get([]byte("key"))
		if err != nil || string(got) != "value" {
			t.Errorf("Get(key) = %q, %v: the store kept the caller's key", got, err)
		}
		clear(got)
		if again := get(t, r, "key"); again != "value" {
			t.Errorf("Get(key) = %q after the caller changed what it got before", again)
		}
	})
}

func testEmptyValue(t *testing.T, s Store) {
	check := func(when string) {
		t.Helper()
		view(t, s, func(r persistence.Reader) {
			value, ok, err := r.Get([]byte("empty"))
			if err != nil || !ok || value == nil || len(value) != 0 {
				t.Errorf("%s: Get(empty) = %v, %t, %v, want an empty value", when, value, ok, err)
			}
			if got := get(t, r, "missing"); got != "-" {
				t.Errorf("%s: Get(missing) = %q", when, got)
			}
			if got := scan(t, r, false, "", ""); len(got) != 1 {
				t.Errorf("%s: a scan gives %q, want one key", when, got)
			}
		})
	}
	put(t, s, pair{"empty", ""})
	check("after Put")
	if err := s.Load(bytes.NewReader(stream(t, s))); err != nil {
		t.Fatal(err)
	}
	check("after Load")
	err := s.Update(func(w persistence.Writer) error { return w.Put([]byte("empty"), nil) })
	if err != nil {
		t.Fatal(err)
	}
	check("after Put of nil")
}

func testAllOrNothing(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"}, pair{"b", "2"})
	boom := errors.New("boom")
	err := s.Update(func(w persistence.Writer) error {
		if err := errors.Join(w.Put([]byte("a"), []byte("x")), w.Delete([]byte("b")), w.Put([]byte("c"), nil)); err != nil {
			return err
		}
		return boom
	})
	want(t, "Update()", err, boom)
	view(t, s, func(r persistence.Reader) {
		if a, b, c := get(t, r, "a"), get(t, r, "b"), get(t, r, "c"); a != "1" || b != "2" || c != "-" {
			t.Errorf("a, b, c = %s, %s, %s after a failed update, want 1, 2, -", a, b, c)
		}
	})
	if err := s.Update(func(persistence.Writer) error { return nil }); err != nil {
		t.Errorf("an update without writes: %v", err)
	}
	if err := s.Sync(); err != nil {
		t.Errorf("Sync() = %v", err)
	}
}

func testLimits(t *testing.T, s Store) {
	longest := bytes.Repeat([]byte{0xff}, persistence.MaxKeyBytes)
	largest := make([]byte, persistence.MaxValueBytes)
	tests := []struct {
		what       string
		key, value []byte
		want       error
	}{
		{"no key", nil, nil, persistence.ErrInvalidKey},
		{"a key that is too long", bytes.Repeat([]byte{1}, persistence.MaxKeyBytes+1), nil, persistence.ErrInvalidKey},
		{"a value that is too large", []byte("a"), make([]byte, persistence.MaxValueBytes+1), persistence.ErrValueTooLarge},
	}
	for _, test := range tests {
		err := s.Update(func(w persistence.Writer) error {
			if err := w.Put([]byte("before"), nil); err != nil {
				return err
			}
			want(t, "Put of "+test.what, w.Put(test.key, test.value), test.want)
			return nil // a function that ignores the error
		})
		want(t, "Update with "+test.what, err, test.want)
	}
	view(t, s, func(r persistence.Reader) {
		if got := scan(t, r, false, "", ""); len(got) != 0 {
			t.Errorf("%d keys after updates that were refused", len(got))
		}
	})
	put(t, s, pair{string(longest), string(largest)}, pair{"!badger!", "1"}, pair{"\x00", "2"})
	view(t, s, func(r persistence.Reader) {
		if got := get(t, r, string(longest)); len(got) != len(largest) {
			t.Errorf("the largest value has %d bytes", len(got))
		}
		if got := scan(t, r, true, "", ""); len(got) != 3 || got[0].key != string(longest) {
			t.Errorf("%d keys, want 3 with the longest first", len(got))
		}
	})
}

func testLargeBatch(t *testing.T, s Store) {
	const keyBytes = len("key-000000")
	chunk := make([]byte, persistence.MaxBatchBytes/128-keyBytes)
	fill := func(w persistence.Writer, n int) error {
		for i := range n {
			chunk[0] = byte(i)
			if err := w.Put([]byte(numbered(i)), bytes.Clone(chunk)); err != nil {
				return err
			}
		}
		return nil
	}
	err := s.Update(func(w persistence.Writer) error {
		if err := fill(w, 128); err != nil {
			return err
		}
		if err := fill(w, 128); err != nil { // a second time they count no more
			return err
		}
		return w.Put([]byte("z"), nil)
	})
	want(t, "Update with one byte too many", err, persistence.ErrBatchTooLarge)
	view(t, s, func(r persistence.Reader) {
		if got := scan(t, r, false, "", ""); len(got) != 0 {
			t.Fatalf("%d keys after a refused batch", len(got))
		}
	})
	put(t, s, pair{numbered(3), "old"}, pair{"gone", "1"})
	err = s.Update(func(w persistence.Writer) error {
		if err := w.Delete([]byte("gone")); err != nil {
			return err
		}
		return fill(w, 127)
	})
	if err != nil {
		t.Fatalf("Update with the largest batch: %v", err)
	}
	view(t, s, func(r persistence.Reader) { checkLargeBatch(t, scan(t, r, false, "", ""), len(chunk)) })
}

func checkLargeBatch(t *testing.T, got []pair, size int) {
	t.Helper()
	if len(got) != 127 {
		t.Fatalf("%d keys, want 127", len(got))
	}
	for i, p := range got {
		if p.key != numbered(i) || len(p.value) != size || p.value[0] != byte(i) {
			t.Fatalf("key %d is %q with %d bytes", i, p.key, len(p.value))
		}
	}
}

func testClosed(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"})
	frozen, err := s.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	frozen.Release()
	frozen.Release()
	_, _, err = frozen.Get([]byte("a"))
	want(t, "Get of a released state", err, persistence.ErrClosed)
	_, err = frozen.WriteTo(&bytes.Buffer{})
	want(t, "WriteTo of a released state", err, persistence.ErrClosed)

	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatalf("closing twice: %v", err)
	}
	never := errors.New("ran")
	want(t, "View()", s.View(func(persistence.Reader) error { return never }), persistence.ErrClosed)
	want(t, "Update()", s.Update(func(persistence.Writer) error { return never }), persistence.ErrClosed)
	want(t, "Sync()", s.Sync(), persistence.ErrClosed)
	want(t, "Load()", s.Load(&bytes.Buffer{}), persistence.ErrClosed)
	_, err = s.Freeze()
	want(t, "Freeze()", err, persistence.ErrClosed)
}
