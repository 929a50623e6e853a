package directoryimages

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// Manifest declares the driver when executable is the program that serves it.
//
// It connects to the ports that images are served on and asks name servers; where it may connect to is the egress
// policy's. Stores are granted by their property path, and what may be imported by allowPaths; the server's spool of
// uploads must be granted for writing. It runs no program.
func Manifest(executable string) host.Manifest {
	return host.Manifest{
		Name: Name, Version: Version,
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_IMAGE},
		Command:    []string{executable, "driver-process", "directoryimages"},
		Permissions: host.Permissions{
			TCPConnect: []uint16{53, 80, 443, 8080, 8443}, UDP: true,
		},
		DataGroup: true,
		Limits:    host.Limits{Concurrency: concurrency},
	}
}
