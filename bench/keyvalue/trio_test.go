package keyvalue_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/keyvalue"
)

func TestMain(m *testing.M) {
	if code, isChild := keyvalue.Child(); isChild {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestAMajorityAgrees: operations are done at all nodes, and none where two of three are gone.
func TestAMajorityAgrees(t *testing.T) {
	trio, err := keyvalue.Start(t.Context(), t.TempDir(), slices.Repeat([]string{"127.0.0.1"}, 3))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := trio.End(); err != nil {
			t.Error(err)
		}
	}()
	took, err := trio.Round(t.Context(), 7, 100*time.Millisecond)
	if err != nil || len(took) < 7 {
		t.Fatalf("seven callers did %d operations, %v", len(took), err)
	}
	if took, err := trio.KillAllBut(0, time.Second); err == nil {
		t.Errorf("a node that is alone did %d operations", len(took))
	}
}
