package memstore_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(testing.TB) storetest.Store { return memstore.New() })
}
