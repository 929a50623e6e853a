package qemuhypervisor

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// Manifest declares the driver to its host. Executable is the program that serves it, with its arguments.
func Manifest(executable ...string) host.Manifest {
	firmware := []string{"/usr/share/qemu", "/usr/share/seabios", "/usr/share/OVMF", "/usr/share/edk2", "/usr/lib/ipxe"}
	m := host.Manifest{
		Name: Name, Version: Version,
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_HYPERVISOR},
		Command:    executable,
		DataGroup:  true,
		Permissions: host.Permissions{
			// It copies UEFI variables, and reads in /proc what guests use and whether there are foreign ones.
			Read:        append(firmware, "/proc"),
			UnixSockets: true,
		},
	}
	for _, path := range binaries() {
		m.Permissions.Launch = append(m.Permissions.Launch, host.Program{
			Path: path, Devices: []string{deviceKVM, deviceTun}, Read: firmware,
		})
	}
	return m
}
