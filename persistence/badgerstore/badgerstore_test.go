package badgerstore_test

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest"
)

// TestStore: it does what any store does, and nobody notices how much of it Badger has. It leaves nothing behind, and
// comes before the tests of damage, after which Badger does.
func TestStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(tb testing.TB) storetest.Store {
		tb.Helper()
		return open(tb, tb.TempDir())
	})
	for _, most := range []int64{1, 200, 1 << 30} {
		t.Run(fmt.Sprintf("gathers %d bytes", most), func(t *testing.T) {
			storetest.Run(t, func(tb testing.TB) storetest.Store {
				tb.Helper()
				return openWith(tb, badgerstore.Options{Dir: tb.TempDir()}.WithGather(most))
			})
		})
	}
}

// TestStoreInMemory: nor does anybody notice which keys are kept in memory, too.
func TestStoreInMemory(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		name     string
		prefixes []string
		most     int64
	}{
		{"all keys, some gathered", []string{""}, 200},
		{"some keys, none gathered", []string{"b", "a", "ab", "key-00000"}, 1},
		{"some keys, all gathered", []string{"b", "a", "ab", "key-00000"}, 1 << 30},
	} {
		opts := badgerstore.Options{}.WithGather(c.most)
		for _, p := range c.prefixes {
			opts.Resident = append(opts.Resident, []byte(p))
		}
		t.Run(c.name, func(t *testing.T) {
			storetest.Run(t, func(tb testing.TB) storetest.Store {
				tb.Helper()
				opts.Dir = tb.TempDir()
				return openWith(tb, opts)
			})
		})
	}
}

// open opens the store in dir.
func open(tb testing.TB, dir string) *badgerstore.Store {
	tb.Helper()
	return openWith(tb, badgerstore.Options{Dir: dir})
}

func openWith(tb testing.TB, opts badgerstore.Options) *badgerstore.Store {
	tb.Helper()
	s, err := badgerstore.Open(opts)
	if err != nil {
		tb.Fatalf("Open() = %v", err)
	}
	return s
}
