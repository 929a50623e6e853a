package driving_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/instrument"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
)

// TestADriverCannotTakeANameOfTheHosts by being called as one.
func TestADriverCannotTakeANameOfTheHosts(t *testing.T) {
	text := []byte("# TYPE total counter\ntotal 1\n# TYPE count counter\ncount 1\n# TYPE state gauge\nstate 1\n" +
		"# TYPE fine gauge\nfine 1\n")
	read, err := instrument.Read(text, instrument.DefaultLimits())
	if err != nil || len(read.Families) != 4 {
		t.Fatalf("got %+v, %v", read, err)
	}
	for product, want := range map[string]int{
		"restarts/x": 4, "registered/failures": 3, // registered_failures_total
		"call/seconds": 3, // the _count of call_seconds
		"cpu/seconds":  3, // cpu_seconds_total
	} {
		if left := driving.Beside(read.Under(instrument.Prefix(product))); len(left) != want {
			t.Errorf("%s: %d metrics are left, want %d", product, len(left), want)
		}
	}
}
