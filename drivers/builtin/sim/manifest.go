package sim

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// memoryBytes is room for a world of a million volumes.
const memoryBytes = 2 << 30

// concurrency is high: nothing behind the simulator could be overloaded.
const concurrency = 1024

// Manifest declares the driver when executable is the program that serves it.
//
// It needs no network, no device and no other program. The world's directory is granted by its property; sockets are
// for the consoles of simulated machines. The data group lets several instances share a world.
func Manifest(executable string) host.Manifest {
	return host.Manifest{
		Name: Name, Version: Version,
		Categories: []driverpb.Category{
			driverpb.Category_CATEGORY_NETWORK, driverpb.Category_CATEGORY_STORAGE,
			driverpb.Category_CATEGORY_IMAGE, driverpb.Category_CATEGORY_HYPERVISOR,
			driverpb.Category_CATEGORY_OUT_OF_BAND,
		},
		Command:     []string{executable, "driver-process", "sim"},
		Permissions: host.Permissions{UnixSockets: true},
		DataGroup:   true,
		Limits:      host.Limits{MemoryBytes: memoryBytes, Concurrency: concurrency},
	}
}
