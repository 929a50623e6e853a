package cluster_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

func TestMain(m *testing.M) {
	if !powercut.Main() {
		goleak.VerifyTestMain(m)
	}
}
