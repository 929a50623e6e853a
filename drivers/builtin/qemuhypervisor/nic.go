package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// AttachNic implements driverpb.HypervisorServer.
func (h *Hypervisor) AttachNic(ctx context.Context, request *driverpb.NicRequest) (*driverpb.MachineReply, error) {
	asked := request.GetNic()
	if err := checkNic(fieldNics, asked); err != nil {
		return nil, err
	}
	return h.change(ctx, request.GetCall(), func(m *machine) error {
		nic := nicOf(asked)
		there, err := h.settled(ctx, m, commandline.NicDevice(nic.ID))
		if err != nil {
			return err
		}
		if there {
			if m.notes.Interfaces[nic.ID] == nic.Interface {
				return nil
			}
			return sdk.Conflict("attached-otherwise",
				fmt.Sprintf("%s is attached already, to %s", nic.ID, m.notes.Interfaces[nic.ID]), "detach it first")
		}
		if err := m.noteInterface(nic.ID, nic.Interface); err != nil {
			return err
		}
		if err := plugNic(ctx, m.monitor, &nic); err != nil {
			return errors.Join(err, m.giveUp(ctx, commandline.NicDevice(nic.ID), func(ctx context.Context) error {
				return m.letGoOfTap(ctx, nic.ID)
			}))
		}
		return nil
	})
}

// letGoOfTap takes away what a nic has besides its device, which is gone or never came.
func (m *machine) letGoOfTap(ctx context.Context, nic string) error {
	if err := removeBackend(ctx, m.monitor, nic); err != nil {
		return err
	}
	return m.noteInterface(nic, "")
}

// noteInterface remembers the tap of a nic; empty forgets it.
func (m *machine) noteInterface(nic, tap string) error {
	taps := maps.Clone(m.notes.Interfaces)
	if taps == nil {
		taps = map[string]string{}
	}
	taps[nic] = tap
	if tap == "" {
		delete(taps, nic)
	}
	m.notes.Interfaces = taps
	return m.dir.write(m.notes)
}

// plugNic completes whatever part of an attachment is missing.
func plugNic(ctx context.Context, monitor *qmp.Client, nic *commandline.Nic) error {
	if err := removeBackend(ctx, monitor, nic.ID); err != nil { // of an attempt that was cut short
		return err
	}
	port, err := freePort(ctx, monitor)
	if err != nil {
		return err
	}
	if err := execute(ctx, monitor, "netdev_add", nic.Backend(), nil); err != nil {
		return refusalFault(fmt.Errorf("opening the tap: %w", err))
	}
	if err := execute(ctx, monitor, "device_add", nic.Device(port), nil); err != nil {
		return refusalFault(fmt.Errorf("plugging the nic in: %w", err))
	}
	return nil
}

// removeBackend lets go of a nic's tap. What is not there is no error. It is never done to a nic whose device is there:
// QEMU would obey, and leave a nic that is connected to nothing.
func removeBackend(ctx context.Context, monitor *qmp.Client, nic string) error {
	err := execute(ctx, monitor, "netdev_del", map[string]string{"id": commandline.NicBackend(nic)}, nil)
	if err != nil && !isMissing(err) {
		return refusalFault(fmt.Errorf("closing the tap: %w", err))
	}
	return nil
}

// DetachNic implements driverpb.HypervisorServer. A machine that does not run has no nics.
func (h *Hypervisor) DetachNic(ctx context.Context, request *driverpb.NicRequest) (*driverpb.MachineReply, error) {
	nic := request.GetNic().GetNic().GetId()
	if nic == "" {
		return nil, sdk.Invalid("nic-missing", fieldNics, "the nic has no id", "")
	}
	return h.takeAway(ctx, request.GetCall(), func(m *machine) error {
		if err := h.unplug(ctx, m, commandline.NicDevice(nic)); err != nil {
			return err
		}
		return m.letGoOfTap(ctx, nic)
	})
}
