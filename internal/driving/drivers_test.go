package driving_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestNotRunning: who asks for an enabled driver while its node starts is not told to enable it.
func TestNotRunning(t *testing.T) {
	for enabled, want := range map[bool]resources.Error{
		true:  {Code: resources.CodeNotReady, Remedy: "try again"},
		false: {Code: "driver-unavailable", Remedy: "bulkhead driver enable mine"},
	} {
		record := &resources.Driver{
			Meta: resources.Meta{Name: "mine"}, Spec: resources.DriverSpec{Product: "acme/mine", Enabled: enabled},
		}
		err := driving.NotRunning(driving.Version{Product: "acme/mine", Number: "1.2.0"}, record)
		got := resources.AsError(err)
		if got.Class != resources.ClassUnavailable || got.Code != want.Code || !strings.Contains(got.Remedy, want.Remedy) ||
			!strings.Contains(got.Message, "1.2.0") {
			t.Errorf("enabled %v: %v (%s)", enabled, err, got.Remedy)
		}
	}
}
