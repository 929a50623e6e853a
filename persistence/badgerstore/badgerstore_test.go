package badgerstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest"
)

func TestStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, func(t testing.TB) storetest.Store { return open(t, t.TempDir()) })
}

// open opens the store in dir.
func open(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	return s
}
