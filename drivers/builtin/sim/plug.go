package sim

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const maxSerial = 20

func plannedDisk(given *driverpb.MachineDisk) (simworld.Disk, error) {
	disk := given.GetDisk()
	bad := func(code, why string) (simworld.Disk, error) {
		return simworld.Disk{}, sdk.Invalid(code, "/volumes", "volume "+given.GetVolume().GetId()+": "+why, "")
	}
	switch {
	case disk.GetPath() == "":
		return bad("no-path", "a disk needs a path")
	case !slices.Contains(volumeProtocols(), disk.GetProtocol()):
		return bad("unknown-protocol", fmt.Sprintf("want one of %v", volumeProtocols()))
	case !slices.Contains([]string{"", "disk", "cdrom"}, given.GetDevice()):
		return bad("unknown-device", "want disk or cdrom")
	case len(given.GetSerial()) > maxSerial:
		return bad("serial-too-long", "a serial has at most 20 characters")
	}
	return simworld.Disk{
		Volume: given.GetVolume().GetId(), Protocol: disk.GetProtocol(), Path: disk.GetPath(), Format: disk.GetFormat(),
		ReadOnly: disk.GetReadOnly() || given.GetDevice() == "cdrom", Device: given.GetDevice(),
		Serial: given.GetSerial(), Boot: given.GetBootOrder(),
	}, nil
}

func plannedPlug(given *driverpb.MachineNic) simworld.Nic {
	return simworld.Nic{
		ID: given.GetNic().GetId(), Mac: given.GetMac(), Interface: given.GetInterface(), Mtu: given.GetMtu(),
	}
}

// AttachDisk implements driverpb.HypervisorServer.
func (h *hypervisor) AttachDisk(ctx context.Context, r *driverpb.DiskRequest) (*driverpb.MachineReply, error) {
	want, err := plannedDisk(r.GetDisk())
	if err != nil {
		return nil, err
	}
	return h.alter(ctx, "AttachDisk", r, func(_ *simworld.Tx, o *simworld.Object) (string, error) {
		m := o.Detail.Machine
		at := slices.IndexFunc(m.Disks, func(d simworld.Disk) bool { return d.Volume == want.Volume })
		switch {
		case at >= 0 && m.Disks[at] == want:
			return "", nil
		case at >= 0:
			return "", sdk.Conflict("disk-attached", "the volume is attached to the machine in another way",
				"detach it first")
		}
		m.Disks = append(m.Disks, want)
		return "attach-disk", nil
	})
}

// DetachDisk implements driverpb.HypervisorServer.
func (h *hypervisor) DetachDisk(ctx context.Context, r *driverpb.DiskRequest) (*driverpb.MachineReply, error) {
	volume := r.GetDisk().GetVolume().GetId()
	return h.unplug(ctx, "DetachDisk", r, func(o *simworld.Object) string {
		m := o.Detail.Machine
		left := slices.DeleteFunc(slices.Clone(m.Disks), func(d simworld.Disk) bool { return d.Volume == volume })
		if len(left) == len(m.Disks) {
			return ""
		}
		m.Disks = left
		return "detach-disk"
	})
}

// unplug takes something out of a machine; out of one that is gone it is out already.
func (h *hypervisor) unplug(
	ctx context.Context, method string, r onMachine, change func(o *simworld.Object) (effect string),
) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	return act(ctx, h.driver, method, r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		o, found := tx.Get(key)
		if !found {
			return &driverpb.MachineReply{State: stateAbsent}, nil
		}
		reply := func() *driverpb.MachineReply { return machineReply(tx, o) }
		effect := ""
		if o.Detail != nil && o.Detail.Machine != nil {
			effect = change(&o)
		}
		if effect == "" {
			return reply(), nil
		}
		return answer(tx.Change(effect, &o), reply)
	})
}

// AttachNic implements driverpb.HypervisorServer.
func (h *hypervisor) AttachNic(ctx context.Context, r *driverpb.NicRequest) (*driverpb.MachineReply, error) {
	want := plannedPlug(r.GetNic())
	if want.Interface == "" {
		return nil, sdk.Invalid("no-interface", "/call/nic/interface", "a nic needs an interface", "")
	}
	return h.alter(ctx, "AttachNic", r, func(_ *simworld.Tx, o *simworld.Object) (string, error) {
		m := o.Detail.Machine
		at := slices.IndexFunc(m.Nics, func(n simworld.Nic) bool { return n.ID == want.ID })
		switch {
		case at >= 0 && m.Nics[at] == want:
			return "", nil
		case at >= 0:
			return "", sdk.Conflict("nic-attached", "the nic is attached to the machine in another way", "detach it first")
		}
		m.Nics = append(m.Nics, want)
		return "attach-nic", nil
	})
}

// DetachNic implements driverpb.HypervisorServer.
func (h *hypervisor) DetachNic(ctx context.Context, r *driverpb.NicRequest) (*driverpb.MachineReply, error) {
	id := r.GetNic().GetNic().GetId()
	return h.unplug(ctx, "DetachNic", r, func(o *simworld.Object) string {
		m := o.Detail.Machine
		left := slices.DeleteFunc(slices.Clone(m.Nics), func(n simworld.Nic) bool { return n.ID == id })
		if len(left) == len(m.Nics) {
			return ""
		}
		m.Nics = left
		return "detach-nic"
	})
}

// GrowDisk implements driverpb.HypervisorServer. What grows is the volume; a disk of another driver has no size here.
func (h *hypervisor) GrowDisk(ctx context.Context, r *driverpb.GrowDiskRequest) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	if r.GetSizeBytes() == 0 {
		return nil, sdk.Invalid("no-size", "/sizeBytes", "want the size to grow to", "")
	}
	volumeID := r.GetDisk().GetVolume().GetId()
	return act(ctx, h.driver, "GrowDisk", r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		o, _ := tx.Get(key)
		if !live(o) {
			return nil, sdk.NotFound("machine-not-running", key.String()+" is not running", "grow the volume in its pool")
		}
		at := slices.IndexFunc(o.Detail.Machine.Disks, func(d simworld.Disk) bool { return d.Volume == volumeID })
		if at < 0 {
			return nil, sdk.NotFound("disk-not-attached", "the volume is not attached to the machine", "attach it first")
		}
		volume, simulated := simworld.KeyAt(simworld.KindVolume, o.Detail.Machine.Disks[at].Path)
		if simulated {
			if _, err := grow(tx, volume, r.GetSizeBytes()); err != nil {
				return nil, err
			}
		}
		return machineReply(tx, o), nil
	})
}
