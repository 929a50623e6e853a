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
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
)

// BuiltIn is a driver that ships in the server's own program.
type BuiltIn = driving.BuiltIn

// BuiltIns lists the drivers that ship with the server: the one place to add a
// line.
func BuiltIns() []BuiltIn {
	return []BuiltIn{
		{Name: "sim", New: sim.New, Manifest: sim.Manifest, Messages: sim.Messages()},
		{Name: "filestorage", New: filestorage.New, Manifest: filestorage.Manifest, Messages: filestorage.Messages()},
		{
			Name: "directoryimages", New: directoryimages.New, Manifest: directoryimages.Manifest,
			Messages: directoryimages.Messages(),
		},
		{Name: "bridgenetwork", New: bridgenetwork.New, Manifest: bridgenetwork.Manifest, Messages: bridgenetwork.Messages()},
		{Name: "qemuhypervisor", New: qemuhypervisor.New, Manifest: func(executable string) host.Manifest {
			return qemuhypervisor.Manifest(executable, "driver-process", "qemuhypervisor")
		}, Messages: qemuhypervisor.Messages()},
		{Name: "ipmipower", New: ipmipower.New, Manifest: ipmipower.Manifest, Messages: ipmipower.Messages()},
		{Name: "redfishpower", New: redfishpower.New, Manifest: redfishpower.Manifest, Messages: redfishpower.Messages()},
	}
}
