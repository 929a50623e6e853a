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

// askAgain is how often the guest is asked to let go of a device: one that is still starting misses it.
const askAgain = 2 * time.Second

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
	events := m.monitor.Subscribe("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR")
	defer events.Close()
	for {
		err := execute(ctx, m.monitor, "device_del", map[string]string{"id": name}, nil)
		if err != nil && !isPending(err) && !isMissing(err) {
			return refusalFault(fmt.Errorf("unplugging: %w", err))
		}
		if gone, err := waitUnplugged(ctx, m, events, name); gone || err != nil {
			return err
		}
	}
}

// waitUnplugged waits a while for the guest; not gone and no error when it is time to ask it again.
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
			return false, fmt.Errorf("unplugging: %w", qmp.ErrClosed)
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
