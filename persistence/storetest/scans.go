package storetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

var scanCases = []struct {
	prefix, from string
	up, down     string // the keys that come, in order, one letter each, see scanKeys
}{
	{"", "", "abcdefg", "gfedcba"},
	{"v/", "", "bcd", "dcb"},
	{"v/", "v/", "bcd", ""},
	{"v/", "v/2", "cd", "cb"},
	{"v/", "v/15", "cd", "b"},
	{"v/", "v/9", "", "dcb"},
	{"v/", "v0", "", "dcb"},
	{"v/", "a", "bcd", ""},
	{"v/", "zzz", "", "dcb"},
	{"v", "", "abcde", "edcba"},
	{"w", "", "", ""},
	{"\xff", "", "fg", "gf"},
	{"\xff", "\xff\x00", "g", "f"},
	{"\xff\xff", "", "g", "g"},
	{"\xff\xff\xff", "", "", ""},
	{"\xff", "v", "fg", ""},
	{"v/3", "", "d", "d"},
}

// scanKeys are the keys of the letters a to g, in order.
var scanKeys = []string{"v", "v/1", "v/2", "v/3", "v0", "\xff", "\xff\xff"}

func letters(pairs []pair) string {
	var b []byte
	for _, p := range pairs {
		b = append(b, 'a'+byte(slices.Index(scanKeys, p.key)))
	}
	return string(b)
}

func checkScans(t *testing.T, when string, r persistence.Reader) {
	t.Helper()
	for _, c := range scanCases {
		if got := letters(scan(t, r, false, c.prefix, c.from)); got != c.up {
			t.Errorf("%s: Scan(%q, %q) gives %q, want %q", when, c.prefix, c.from, got, c.up)
		}
		if got := letters(scan(t, r, true, c.prefix, c.from)); got != c.down {
			t.Errorf("%s: ScanReverse(%q, %q) gives %q, want %q", when, c.prefix, c.from, got, c.down)
		}
	}
}

func testScans(t *testing.T, s Store) {
	var pairs []pair
	for _, key := range scanKeys {
		pairs = append(pairs, pair{key, key})
	}
	put(t, s, pairs...)
	view(t, s, func(r persistence.Reader) { checkScans(t, "in a view", r) })

	// In an update, with half of the keys written in it, and others deleted in it.
	err := s.Update(func(w persistence.Writer) error {
		for i, key := range scanKeys {
			if i%2 == 0 {
				if err := w.Put([]byte(key), []byte(key)); err != nil {
					return err
				}
			}
		}
		for _, key := range []string{"v/1", "v/11", "v/4", "\xff\x00", "u", "v/"} {
			if err := errors.Join(w.Put([]byte(key), nil), w.Delete([]byte(key))); err != nil {
				return err
			}
		}
		if err := w.Put([]byte("v/1"), []byte("v/1")); err != nil {
			return err
		}
		checkScans(t, "in an update", w)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	view(t, s, func(r persistence.Reader) { checkScans(t, "in a view after the update", r) })
}

func testNestedScans(t *testing.T, s Store) {
	put(t, s, pair{"a1", ""}, pair{"a2", ""}, pair{"b1", ""}, pair{"b2", ""})
	nested := func(r persistence.Reader) {
		var got []string
		err := r.Scan([]byte("a"), nil, func(outer, _ []byte) (bool, error) {
			return true, r.ScanReverse([]byte("b"), nil, func(inner, _ []byte) (bool, error) {
				got = append(got, string(outer)+string(inner))
				_, _, err := r.Get(inner)
				return true, err
			})
		})
		if want := []string{"a1b2", "a1b1", "a2b2", "a2b1"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("nested scans give %q, %v, want %q", got, err, want)
		}
	}
	view(t, s, nested)
	err := s.Update(func(w persistence.Writer) error {
		if err := errors.Join(w.Delete([]byte("b2")), w.Put([]byte("b2"), nil)); err != nil {
			return err
		}
		nested(w)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testScanStops(t *testing.T, s Store) {
	put(t, s, pair{"a", ""}, pair{"b", ""}, pair{"c", ""})
	boom := errors.New("boom")
	view(t, s, func(r persistence.Reader) {
		for _, walk := range []func(prefix, from []byte, fn func(key, value []byte) (bool, error)) error{
			r.Scan, r.ScanReverse,
		} {
			calls := 0
			err := walk(nil, nil, func(_, _ []byte) (bool, error) {
				calls++
				return calls < 2, nil
			})
			if err != nil || calls != 2 {
				t.Errorf("a scan that was stopped at the second key: %d calls, %v", calls, err)
			}
			calls = 0
			err = walk(nil, nil, func(_, _ []byte) (bool, error) {
				calls++
				return true, boom
			})
			want(t, "a scan whose function fails", err, boom)
			if calls != 1 {
				t.Errorf("%d calls of a function that failed at the first", calls)
			}
		}
	})
}

func testReadYourWrites(t *testing.T, s Store) {
	put(t, s, pair{"a", "old"}, pair{"b", "old"}, pair{"c", "old"})
	err := s.Update(func(w persistence.Writer) error {
		value := []byte("new")
		if err := errors.Join(w.Put([]byte("a"), value), w.Delete([]byte("b")), w.Put([]byte("d"), value)); err != nil {
			return err
		}
		if got := get(t, w, "a") + get(t, w, "b") + get(t, w, "c") + get(t, w, "d"); got != "new-oldnew" {
			t.Errorf("a, b, c, d = %s", got)
		}
		expect := []pair{{"a", "new"}, {"c", "old"}, {"d", "new"}}
		if got := scan(t, w, false, "", ""); !slices.Equal(got, expect) {
			t.Errorf("Scan gives %v, want %v", got, expect)
		}
		slices.Reverse(expect)
		if got := scan(t, w, true, "", ""); !slices.Equal(got, expect) {
			t.Errorf("ScanReverse gives %v, want %v", got, expect)
		}
		return errors.Join(w.Put([]byte("b"), []byte("again")), w.Delete([]byte("d")))
	})
	if err != nil {
		t.Fatal(err)
	}
	view(t, s, func(r persistence.Reader) {
		expect := []pair{{"a", "new"}, {"b", "again"}, {"c", "old"}}
		if got := scan(t, r, false, "", ""); !slices.Equal(got, expect) {
			t.Errorf("after the update there is %v, want %v", got, expect)
		}
	})
}

func testScanIsStable(t *testing.T, s Store) {
	put(t, s, pair{"a", "1"}, pair{"c", "1"}, pair{"e", "1"})
	err := s.Update(func(w persistence.Writer) error {
		if err := w.Put([]byte("b"), []byte("1")); err != nil {
			return err
		}
		var got string
		err := w.Scan(nil, nil, func(key, value []byte) (bool, error) {
			got += string(key) + string(value)
			return true, errors.Join(w.Put([]byte{key[0] + 1}, []byte("2")), w.Delete([]byte("e")))
		})
		if got != "a1b1c1e1" {
			t.Errorf("a scan whose function writes gives %s", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	view(t, s, func(r persistence.Reader) {
		expect := []pair{{"a", "1"}, {"b", "2"}, {"c", "2"}, {"d", "2"}, {"f", "2"}}
		if got := scan(t, r, false, "", ""); !slices.Equal(got, expect) {
			t.Errorf("after the update there is %v, want %v", got, expect)
		}
	})
}
