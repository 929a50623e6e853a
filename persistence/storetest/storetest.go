package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Store is what the kit tests.
type Store interface {
	persistence.Store
	persistence.Snapshotter
}

// Run tests the stores that open makes. Each call of open must give a new, empty store, which the kit closes.
func Run(t *testing.T, open func(tb testing.TB) Store) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, s Store)
	}{
		{"values are copied", testCopies},
		{"an empty value is not a missing one", testEmptyValue},
		{"an update is all or nothing", testAllOrNothing},
		{"limits are refused with their error", testLimits},
		{"a large batch is written", testLargeBatch},
		{"scans give the right keys in order", testScans},
		{"scans nest", testNestedScans},
		{"scans stop when told", testScanStops},
		{"a writer sees its own writes", testReadYourWrites},
		{"a running scan does not see new writes", testScanIsStable},
		{"a view does not change", testViewIsStable},
		{"readers never see half an update", testNoHalfUpdates},
		{"a random history equals the model", testModel},
		{"a frozen state does not change", testFrozenIsStable},
		{"a frozen state loads elsewhere", testLoad},
		{"a damaged stream changes nothing", testDamagedStream},
		{"a load replaces the state for new readers only", testLoadWhileReading},
		{"a closed store refuses", testClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			})
			test.run(t, s)
		})
	}
}

// pair is a key and its value.
type pair struct{ key, value string }

// put writes pairs in one Update.
func put(tb testing.TB, s persistence.Store, pairs ...pair) {
	tb.Helper()
	err := s.Update(func(w persistence.Writer) error {
		for _, p := range pairs {
			if err := w.Put([]byte(p.key), []byte(p.value)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("Update() = %v", err)
	}
}

// view runs fn in a View that must succeed.
func view(tb testing.TB, s persistence.Store, fn func(r persistence.Reader)) {
	tb.Helper()
	err := s.View(func(r persistence.Reader) error {
		fn(r)
		return nil
	})
	if err != nil {
		tb.Fatalf("View() = %v", err)
	}
}

// get returns what Get says of key, "-" being no value.
func get(tb testing.TB, r persistence.Reader, key string) string {
	tb.Helper()
	value, ok, err := r.Get([]byte(key))
	if err != nil {
		tb.Fatalf("Get(%q) = %v", key, err)
	}
	if !ok {
		return "-"
	}
	return string(value)
}

// scan returns what Scan gives, or ScanReverse. From "" is nil.
func scan(tb testing.TB, r persistence.Reader, reverse bool, prefix, from string) []pair {
	tb.Helper()
	var pairs []pair
	walk := r.Scan
	if reverse {
		walk = r.ScanReverse
	}
	err := walk([]byte(prefix), fromBytes(from), func(key, value []byte) (bool, error) {
		pairs = append(pairs, pair{string(key), string(value)})
		return true, nil
	})
	if err != nil {
		tb.Fatalf("scanning %q from %q: %v", prefix, from, err)
	}
	return pairs
}

func fromBytes(from string) []byte {
	if from == "" {
		return nil
	}
	return []byte(from)
}

// stream returns what WriteTo of the state as it is now gives.
func stream(tb testing.TB, s Store) []byte {
	tb.Helper()
	frozen, err := s.Freeze()
	if err != nil {
		tb.Fatalf("Freeze() = %v", err)
	}
	defer frozen.Release()
	var b bytes.Buffer
	n, err := frozen.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		tb.Fatalf("WriteTo() = %d, %v, wrote %d bytes", n, err, b.Len())
	}
	return b.Bytes()
}

// want fails the test if err is not target.
func want(tb testing.TB, what string, err, target error) {
	tb.Helper()
	if !errors.Is(err, target) {
		tb.Errorf("%s = %v, want %v", what, err, target)
	}
}

func numbered(i int) string { return fmt.Sprintf("key-%06d", i) }
