package ipmipower

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

const (
	concurrency = 64
	// memoryBytes is for the driver and, each again, for every ipmitool.
	memoryBytes = 512 << 20
)

// Manifest declares the driver when executable is the program that serves it.
//
// It needs UDP, which IPMI is spoken over, and TCP for long answers of name servers; it runs ipmitool as a child,
// confined like itself.
func Manifest(executable string) host.Manifest {
	return host.Manifest{
		Name: Name, Version: Version,
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_OUT_OF_BAND},
		Command:    []string{executable, "driver-process", "ipmipower"},
		Permissions: host.Permissions{
			Exec: programPaths(), Read: []string{registry}, UDP: true, TCPConnect: []uint16{53},
		},
		Limits: host.Limits{Concurrency: concurrency, MemoryBytes: memoryBytes},
	}
}
