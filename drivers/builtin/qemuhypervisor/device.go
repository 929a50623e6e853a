package qemuhypervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// askAgain is how often the guest is asked to let go of a device: one that is still starting misses it.
	askAgain = 2 * time.Second
	// secondThoughts is how long a guest that was asked to let go of a device may take until it does: one that knows how
	// to takes milliseconds, or the five seconds in which PCI Express lets people change their mind.
	secondThoughts = 6 * time.Second
	// tidyLimit bounds how long a call that failed tidies up, also after its caller has lost patience.
	tidyLimit = 5 * time.Second
)

// peripherals is where QEMU lists devices that have a name of ours.
const peripherals = "/machine/peripheral"

// devices lists the names of all devices that were plugged in.
func devices(ctx context.Context, monitor *qmp.Client) ([]string, error) {
	var items []struct{ Name string }
	if err := execute(ctx, monitor, "qom-list", map[string]string{"path": peripherals}, &items); err != nil {
		return nil, fmt.Errorf("listing devices: %w", err)
	}
	names := make([]string, 0, len(items))
	for _, item := range items {
		names = append(names, item.Name)
	}
	return names, nil
}

// hasDevice tells whether a device that was plugged in is there.
func hasDevice(ctx context.Context, monitor *qmp.Client, name string) (bool, error) {
	names, err := devices(ctx, monitor)
	return slices.Contains(names, name), err
}

// giveUp takes back what is left of an attachment that failed, unless that is whole: its last command may have taken
// effect without our hearing of it, and then the next call finds the device. It works on when the caller does not wait
// any more; what it can't take back the next call does.
func (m *machine) giveUp(ctx context.Context, device string, takeBack func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyLimit)
	defer cancel()
	there, err := hasDevice(ctx, m.monitor, device)
	if err != nil || there {
		return err
	}
	return takeBack(ctx)
}

// settled tells whether a device is there and will stay. One that the guest was asked to let go of may still go, so
// that the guest gets the time for it that it has when it is asked.
func (h *Hypervisor) settled(ctx context.Context, m *machine, device string) (there bool, err error) {
	there, err = hasDevice(ctx, m.monitor, device)
	if err != nil || !slices.Contains(m.notes.Leaving, device) {
		return there, err
	}
	if there {
		if there, err = h.stays(ctx, m, device); err != nil {
			return false, err
		}
	}
	return there, m.noteLeaving(device, false)
}

// stays waits for a device to go, without asking for it.
func (h *Hypervisor) stays(ctx context.Context, m *machine, device string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, min(h.configured().unplugPatience, secondThoughts))
	defer cancel()
	events := m.monitor.Subscribe(unplugEvents()...)
	defer events.Close()
	for {
		gone, err := waitUnplugged(ctx, m, events, device)
		switch {
		case gone:
			return false, nil
		case !hungUp(err) && sdk.FaultOf(err) != nil: // the guest refuses, or does not care
			return true, nil
		case err != nil:
			return false, err
		}
	}
}

func unplugEvents() []string { return []string{"DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"} }

// noteLeaving remembers that the guest was asked to let go of a device, or that this has come to its end.
func (m *machine) noteLeaving(device string, leaving bool) error {
	if leaving == slices.Contains(m.notes.Leaving, device) {
		return nil
	}
	m.notes.Leaving = slices.DeleteFunc(slices.Clone(m.notes.Leaving), func(one string) bool { return one == device })
	if leaving {
		m.notes.Leaving = append(m.notes.Leaving, device)
	}
	return m.dir.write(m.notes)
}

// freePort finds a slot that nothing is plugged into. Query-pci would not do: it shows what is behind a slot only once
// the firmware has been there.
func freePort(ctx context.Context, monitor *qmp.Client) (string, error) {
	names, err := devices(ctx, monitor)
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, name := range names {
		if !commandline.IsPluggable(name) {
			continue
		}
		var bus string
		parent := map[string]string{"path": peripherals + "/" + name, "property": "parent_bus"}
		if err := execute(ctx, monitor, "qom-get", parent, &bus); err != nil && !isMissing(err) {
			return "", fmt.Errorf("looking where %s is: %w", name, err)
		}
		taken[path.Base(bus)] = true
	}
	for n := range commandline.Ports {
		if !taken[commandline.Port(n)] {
			return commandline.Port(n), nil
		}
	}
	return "", sdk.Exhausted("no-free-slot",
		fmt.Sprintf("all %d slots of the machine are taken", commandline.Ports), "detach something first")
}

// unplug takes a device away. The guest has to agree, so this waits, at most for the configured patience.
func (h *Hypervisor) unplug(ctx context.Context, m *machine, name string) error {
	there, err := hasDevice(ctx, m.monitor, name)
	if err != nil || !there {
		return err
	}
	if m.status != qemuRunning {
		return sdk.Transient("guest-not-running",
			fmt.Sprintf("%s is not running, so its guest can't let go of the device", m.id))
	}
	ctx, cancel := context.WithTimeout(ctx, h.configured().unplugPatience)
	defer cancel()
	events := m.monitor.Subscribe(unplugEvents()...)
	defer events.Close()
	if err := m.noteLeaving(name, true); err != nil {
		return err
	}
	for {
		err := execute(ctx, m.monitor, "device_del", map[string]string{"id": name}, nil)
		if err != nil && !isPending(err) && !isMissing(err) {
			return refusalFault(fmt.Errorf("unplugging: %w", err))
		}
		gone, err := waitUnplugged(ctx, m, events, name)
		if gone {
			return m.noteLeaving(name, false)
		}
		if err != nil {
			return err
		}
	}
}

// waitUnplugged waits a while for the guest; not gone and no error when it is time to ask it again. It is a fault when
// the guest does not let go.
func waitUnplugged(ctx context.Context, m *machine, events *qmp.Subscription, name string) (gone bool, err error) {
	again := time.NewTimer(askAgain)
	defer again.Stop()
	for {
		there, err := hasDevice(ctx, m.monitor, name)
		if err == nil && !there {
			return true, nil
		}
		if err != nil && ctx.Err() == nil {
			return false, err
		}
		select {
		case event := <-events.Events():
			if event.Name == "DEVICE_UNPLUG_GUEST_ERROR" && about(event, name) {
				return false, sdk.Transient("guest-refuses", "the guest refuses to let go of the device")
			}
		case <-again.C:
			return false, nil
		case <-m.monitor.Done():
			return false, endedFault("unplugging", qmp.ErrClosed)
		case <-ctx.Done():
			return false, lateFault(ctx)
		}
	}
}

// lateFault tells the end of our patience from that of the caller's.
func lateFault(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("unplugging: %w", ctx.Err())
	}
	return sdk.Transient("guest-did-not-let-go",
		"the guest did not let go of the device in time; it may still be starting, or not know how to")
}

func about(event qmp.Event, name string) bool {
	var data struct{ Device string }
	return json.Unmarshal(event.Data, &data) == nil && data.Device == name
}

// isPending tells whether QEMU is unplugging the device already.
func isPending(err error) bool {
	refusal, ok := errors.AsType[*qmp.Error](err)
	return ok && strings.Contains(refusal.Description, "in the process of unplug")
}

// isRefusal tells whether QEMU answered, and refused.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*qmp.Error](err)
	return ok
}

// isMissing tells whether QEMU does not know what was named.
func isMissing(err error) bool {
	refusal, ok := errors.AsType[*qmp.Error](err)
	return ok && (refusal.Class == "DeviceNotFound" || strings.Contains(refusal.Description, "not found") ||
		strings.Contains(refusal.Description, "Failed to find node"))
}

// isInUse tells whether QEMU refused to remove what something still uses.
func isInUse(err error) bool {
	refusal, ok := errors.AsType[*qmp.Error](err)
	return ok && strings.Contains(refusal.Description, "is in use")
}
