package filestorage

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// Manifest declares the driver when executable is the program that serves it.
//
// It needs neither network nor capabilities. Pools are granted by their property path, and each template's store must
// be granted for reading to clone from it. It runs qemu-img as a child, confined like itself, on disks it has opened.
func Manifest(executable string) host.Manifest {
	return host.Manifest{
		Name: Name, Version: Version,
		Categories:  []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Command:     []string{executable, "driver-process", "filestorage"},
		Permissions: host.Permissions{Exec: qemuImgPaths()},
		DataGroup:   true,
		Limits:      host.Limits{Concurrency: concurrency, MemoryBytes: memoryBytes},
	}
}

// memoryBytes is for the driver and, each again, for every qemu-img.
const memoryBytes = 1 << 30
