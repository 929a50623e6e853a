package driving_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestVersionsStopInTheReverseOfTheirStart: in whatever order they are given; what could not be started goes first.
func TestVersionsStopInTheReverseOfTheirStart(t *testing.T) {
	requires := func(product, versions string) []resources.DriverRequirement {
		return []resources.DriverRequirement{{Product: product, Versions: versions}}
	}
	const (
		network, storage = driverpb.Category_CATEGORY_NETWORK, driverpb.Category_CATEGORY_STORAGE
		hypervisor       = driverpb.Category_CATEGORY_HYPERVISOR
	)
	all := []driving.Planned{
		{"a/machine", "1.0.0", hypervisor, nil},
		{"a/shelf", "1.0.0", storage, requires("z/fabric", "<2")},
		{"a/shelf", "2.0.0", storage, requires("z/fabric", ">=2")},
		{"b/shelf", "1.0.0", storage, nil},
		{"z/fabric", "1.0.0", storage, nil},
		{"z/fabric", "2.0.0", storage, nil},
		{"z/net", "1.0.0", network, nil},
		{"b/lost", "1.0.0", network, requires("nobody/nothing", ">=1")},
	}
	want := []string{
		"z/net 1.0.0", "z/fabric 1.0.0", "a/shelf 1.0.0", "z/fabric 2.0.0", "a/shelf 2.0.0", "b/shelf 1.0.0",
		"a/machine 1.0.0",
	}
	reverse := slices.Clone(want)
	slices.Reverse(reverse)
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.Permutation(all).Draw(t, "given")
		if got := driving.StartOrder(given); !slices.Equal(got, want) {
			t.Errorf("they start as %v", got)
		}
		if got := driving.StopOrder(given); !slices.Equal(got, append([]string{"b/lost 1.0.0"}, reverse...)) {
			t.Errorf("they stop as %v", got)
		}
	})
}
