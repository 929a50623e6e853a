package sim

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// Manifest declares the driver when executable is the program that serves it. It
// needs nothing but its world, which a property names.
func Manifest(executable string) host.Manifest {
	return host.Manifest{
		Name: Name, Version: Version,
		Categories: []driverpb.Category{
			driverpb.Category_CATEGORY_NETWORK, driverpb.Category_CATEGORY_STORAGE,
			driverpb.Category_CATEGORY_IMAGE, driverpb.Category_CATEGORY_HYPERVISOR,
		},
		Command:     []string{executable, "driver-process", "sim"},
		Permissions: host.Permissions{UnixSockets: true},
		Limits:      host.Limits{Concurrency: 1024, MemoryBytes: 4 << 30},
	}
}
