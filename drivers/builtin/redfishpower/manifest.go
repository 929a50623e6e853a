package redfishpower

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

const concurrency = 64

// ports are those that the driver's process may connect to.
func ports() []uint16 { return []uint16{443, 8443} }

// Manifest declares the driver when executable is the program that serves it.
//
// It connects to controllers and asks name servers; it needs neither files nor programs.
func Manifest(executable string) host.Manifest {
	return host.Manifest{
		Name: Name, Version: Version,
		Categories:  []driverpb.Category{driverpb.Category_CATEGORY_OUT_OF_BAND},
		Command:     []string{executable, "driver-process", "redfishpower"},
		Permissions: host.Permissions{TCPConnect: append(ports(), 53), UDP: true},
		Limits:      host.Limits{Concurrency: concurrency},
	}
}
