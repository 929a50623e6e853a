package badgerstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest"
)

func TestStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(tb testing.TB) storetest.Store {
		tb.Helper()
		return open(tb, tb.TempDir())
	})
}

// open opens the store in dir.
func open(tb testing.TB, dir string) *badgerstore.Store {
	tb.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		tb.Fatalf("Open() = %v", err)
	}
	return s
}
