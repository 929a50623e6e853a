package script

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Settings that the adapter reads itself. Extensions can't say what a host has, nor which network a nic is on.
const (
	settingCPUs         = "cpus"
	settingMemory       = "memoryMiB"
	settingArchitecture = "architecture"
	settingVLAN         = "vlan"
)

const mebibyte = 1 << 20

// hostHandle says that a host is open.
type hostHandle struct {
	Open bool `json:"open"`
}

// opened refuses a host that is not open.
func opened(handle *driverpb.Handle) error {
	var host hostHandle
	if err := sdk.ReadHandle(handle, handle.GetVersion(), &host); err != nil {
		return err
	}
	if !host.Open {
		return sdk.NotFound("host-not-open", "the host is not open", "")
	}
	return nil
}

// OpenHost implements driverpb.HypervisorServer.
func (e *extension) OpenHost(ctx context.Context, in *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	return e.StatHost(ctx, in)
}

// StatHost implements driverpb.HypervisorServer. What the host has is what its operator says.
func (e *extension) StatHost(_ context.Context, in *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	properties, _ := e.settings(in.GetCall())
	handle, err := sdk.WriteHandle(e.version, hostHandle{Open: true})
	if err != nil {
		return nil, err
	}
	architecture := text(properties[settingArchitecture])
	if architecture == "" {
		architecture = "x86_64"
	}
	cpus, memory := capacity(properties)
	return &driverpb.HostReply{
		Handle: handle, Cpus: uint32(min(cpus, 1<<16)), MemoryBytes: memory, Accelerator: "external",
		Architecture: architecture, HypervisorVersion: e.label,
	}, nil
}

// CloseHost implements driverpb.HypervisorServer.
func (e *extension) CloseHost(_ context.Context, in *driverpb.HostCallRequest) (*driverpb.OutcomeReply, error) {
	all, err := e.notes.all()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Host == in.GetCall().GetResource().GetId() && m.On {
			return nil, sdk.Conflict("not-empty", "machine "+m.ID+" runs on the host", "stop it first")
		}
	}
	return &driverpb.OutcomeReply{Handle: &driverpb.Handle{}}, nil
}

// capacity is what a host has; 0 is not said.
func capacity(properties map[string]any) (cpus, memoryBytes uint64) {
	number := func(key string) uint64 {
		value, _ := properties[key].(float64)
		return uint64(max(value, 0))
	}
	return number(settingCPUs), number(settingMemory) * mebibyte
}

// wanted is the machine that a request describes, if an extension can make it.
func (e *extension) wanted(in *driverpb.StartMachineRequest) (*machine, error) {
	spec := in.GetMachine()
	properties, _ := e.settings(in.GetCall())
	vlan := text(properties[settingVLAN])
	if err := proper(spec, properties); err != nil {
		return nil, err
	}
	if err := possible(spec, vlan); err != nil {
		return nil, err
	}
	m := &machine{
		ID: in.GetCall().GetResource().GetId(), Host: in.GetHost().GetResource().GetId(), Name: spec.GetName(),
		CPUs: spec.GetCpus(), MemoryBytes: spec.GetMemoryBytes(), VLAN: vlan,
	}
	for _, nic := range spec.GetNics() {
		m.Nics = append(m.Nics, nicNote{ID: nic.GetNic().GetId(), MAC: nic.GetMac()})
	}
	return m, nil
}

// proper refuses a machine that no host could run, or this one not.
func proper(spec *driverpb.MachineSpec, properties map[string]any) error {
	cpus, memory := capacity(properties)
	const ask = "give it some"
	switch {
	case spec.GetCpus() == 0:
		return sdk.Invalid("cpus-missing", "/cpus", "a machine must have cpus", ask)
	case spec.GetMemoryBytes() == 0:
		return sdk.Invalid("memory-missing", "/memoryBytes", "a machine must have memory", ask)
	case !slices.Contains([]string{"", "bios", "uefi"}, spec.GetFirmware()):
		return sdk.Invalid("firmware-unknown", "/firmware", "the firmware must be bios or uefi", "leave it out")
	case cpus > 0 && uint64(spec.GetCpus()) > cpus, memory > 0 && spec.GetMemoryBytes() > memory:
		return sdk.Exhausted("host-too-small",
			fmt.Sprintf("the host has %d cpus and %d bytes of memory", cpus, memory), "choose a smaller machine")
	}
	return nil
}

// possible refuses what extensions have no way to be told, or to do.
func possible(spec *driverpb.MachineSpec, vlan string) error {
	switch {
	case len(spec.GetDisks()) > 0:
		return unsupported("volumes-unsupported", "/volumes",
			"an extension of CloudStack takes no volumes: its machines have disks of their own")
	case spec.GetCloudInit().GetUserData() != "":
		return unsupported("user-data-unsupported", "/cloudInit/userData",
			"an extension of CloudStack takes no user data")
	case len(spec.GetNics()) > 0 && vlan == "":
		return unsupported("nics-unsupported", "/nics",
			"an extension of CloudStack knows no networks but VLANs, and the setting vlan says none")
	}
	return nil
}

func unsupported(code, field, message string) error {
	return sdk.FromFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_UNSUPPORTED, Code: code, Field: field, Message: message, Remedy: "leave it out",
	})
}

// text is a setting as extensions get it: all are texts there.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return ""
	}
}
