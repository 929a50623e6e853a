package node

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/filestorage"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/redfishpower"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// BuiltIn is a driver that ships in the server's own program and runs, as any
// other, in a process of its own.
type BuiltIn struct {
	// Name is what the program is called with to become the driver.
	Name     string
	New      func(env sdk.Environment) (sdk.Driver, error)
	Manifest func(executable string) host.Manifest
}

// BuiltIns lists the drivers that ship with the server: the one place to add a
// line.
func BuiltIns() []BuiltIn {
	return []BuiltIn{
		{"sim", sim.New, sim.Manifest},
		{"filestorage", filestorage.New, filestorage.Manifest},
		{"directoryimages", directoryimages.New, directoryimages.Manifest},
		{"bridgenetwork", bridgenetwork.New, bridgenetwork.Manifest},
		{"qemuhypervisor", qemuhypervisor.New, func(executable string) host.Manifest {
			return qemuhypervisor.Manifest(executable, "driver-process", "qemuhypervisor")
		}},
		{"ipmipower", ipmipower.New, ipmipower.Manifest},
		{"redfishpower", redfishpower.New, redfishpower.Manifest},
	}
}
