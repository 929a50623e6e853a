package qemuhypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/seed"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	deviceKVM = "/dev/kvm"
	deviceTun = "/dev/net/tun"
	// overheadBytes is what a QEMU needs besides the guest's memory, with room to spare: its own, the display's,
	// device buffers, and pages of disks it has just written.
	overheadBytes = 512 << 20
	// appearLimit is how long a launched QEMU may take to open its monitor.
	appearLimit = 60 * time.Second
	appearEvery = 10 * time.Millisecond
	// seedVolume names the seed among the disks; no id of ours looks like it.
	seedVolume = "cloud-init:seed"
	seedSerial = "cidata"
)

// launching is all that is needed to launch a machine's QEMU.
type launching struct {
	machine commandline.Machine
	launch  *driverpb.Launch
}

// prepare makes a machine's directory and its files, and says what to launch.
func (h *Hypervisor) prepare(
	ctx context.Context, spec *driverpb.MachineSpec, n *notes, s settings,
) (*launching, error) {
	binary, err := h.binary()
	if err != nil {
		return nil, err
	}
	id := n.Machine
	own := netNamespaces + netspace.OfMachine(id)
	namespace, err := namespacePath(cmp.Or(spec.GetNetNamespace(), own))
	if err != nil {
		return nil, err
	}
	dir := h.directoryOf(id)
	if err := dir.make(); err != nil {
		return nil, err
	}
	if err := create(dir.log(), modeShared); err != nil {
		return nil, err
	}
	l := &launching{
		machine: commandline.Machine{
			Binary: binary, ID: id, Type: s.machineType, Accelerator: n.Accelerator, CPUModel: s.cpuModel,
			CPUs: spec.GetCpus(), MemoryBytes: spec.GetMemoryBytes(),
			Sockets: commandline.Sockets{
				Control: dir.control(), Status: dir.status(), Serial: dir.serial(), VNC: dir.vnc(),
			},
			SerialLog: dir.log(), PIDFile: dir.pidFile(),
		},
		launch: &driverpb.Launch{
			Unit: unitName(id), NetNamespace: namespace, MakeNetNamespace: namespace == own, WorkDir: dir.own(),
			Devices: []string{deviceTun}, WritePaths: []string{dir.log()},
			MemoryMaxBytes: spec.GetMemoryBytes() + spec.GetMemoryBytes()/8 + overheadBytes,
		},
	}
	if n.Accelerator == commandline.KVM {
		l.launch.Devices = append(l.launch.Devices, deviceKVM)
	} else {
		l.launch.MemoryMaxBytes += commandline.TranslationBytes
	}
	if err := l.addFirmware(dir, spec); err != nil {
		return nil, err
	}
	if err := l.addDevices(ctx, dir, spec, n); err != nil {
		return nil, err
	}
	l.launch.Argv, err = l.machine.Args()
	if errors.Is(err, commandline.ErrTooManyDevices) {
		return nil, sdk.Invalid("too-many-devices", fieldVolumes,
			fmt.Sprintf("a machine has %d slots for disks and nics together", commandline.Ports),
			"set disk_bus to scsi, which has more room for disks")
	}
	return l, err
}

func (l *launching) addFirmware(dir directory, spec *driverpb.MachineSpec) error {
	if spec.GetFirmware() != firmwareUEFI {
		return nil
	}
	files := uefi()
	if files == nil {
		return sdk.Invalid("uefi-missing", fieldFirmware, "there is no UEFI firmware on this host",
			"install it: apt-get install ovmf; or use bios")
	}
	if err := copyFile(files.Variables, dir.variables(), modeShared); err != nil {
		return err
	}
	l.machine.Firmware = &commandline.Firmware{Code: files.Code, Variables: dir.variables()}
	l.launch.WritePaths = append(l.launch.WritePaths, dir.variables())
	return nil
}

func (l *launching) addDevices(ctx context.Context, dir directory, spec *driverpb.MachineSpec, n *notes) error {
	for _, disk := range spec.GetDisks() {
		if err := checkFile(ctx, disk); err != nil {
			return err
		}
		made := diskOf(disk, n)
		l.machine.Disks = append(l.machine.Disks, made)
		if made.ReadOnly {
			l.launch.ReadPaths = append(l.launch.ReadPaths, made.Path)
		} else {
			l.launch.WritePaths = append(l.launch.WritePaths, made.Path)
		}
	}
	bootFirst(l.machine.Disks)
	for _, nic := range spec.GetNics() {
		l.machine.Nics = append(l.machine.Nics, nicOf(nic))
		n.Interfaces[nic.GetNic().GetId()] = nic.GetInterface()
	}
	if spec.GetCloudInit() == nil {
		return nil
	}
	if err := writeSeed(dir, n.Machine, spec.GetCloudInit()); err != nil {
		return err
	}
	l.machine.Disks = append(l.machine.Disks, commandline.Disk{
		Volume: seedVolume, Path: dir.seed(), Format: formatRaw, ReadOnly: true, CDROM: true, Bus: n.CDROMBus,
		Serial: seedSerial,
	})
	l.launch.ReadPaths = append(l.launch.ReadPaths, dir.seed())
	return nil
}

// bootFirst lets a machine boot for which nobody said from where: from its first disk, else its first CD-ROM.
func bootFirst(disks []commandline.Disk) {
	first := -1
	for i := range disks {
		if disks[i].BootOrder != 0 {
			return
		}
		if first < 0 || disks[first].CDROM && !disks[i].CDROM {
			first = i
		}
	}
	if first >= 0 {
		disks[first].BootOrder = 1
	}
}

func writeSeed(dir directory, id string, cloud *driverpb.CloudInit) error {
	content := seed.Content{
		MetaData: cloud.GetMetaData(), UserData: cloud.GetUserData(), NetworkConfig: cloud.GetNetworkConfig(),
	}
	if content.MetaData == "" {
		content.MetaData = "instance-id: " + id + "\n"
	}
	if err := seed.Write(dir.seed(), string(dir), content); err != nil {
		return err
	}
	if err := os.Chmod(dir.seed(), modeSeen); err != nil {
		return fmt.Errorf("opening the seed to the guest: %w", err)
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	defer func() { _ = source.Close() }()
	if err := create(to, mode); err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if _, err := io.Copy(target, source); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return nil
}

// appear waits until a launched QEMU has opened its monitor. It wraps errEnded when the unit ended instead.
func (h *Hypervisor) appear(ctx context.Context, unit, guest string, sockets ...string) (*qmp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, appearLimit)
	defer cancel()
	again := time.NewTicker(appearEvery)
	defer again.Stop()
	for {
		client, failed := connect(ctx, guest, sockets...)
		if failed == nil {
			return client, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for QEMU's monitor: %w", errors.Join(ctx.Err(), failed))
		}
		found, err := h.inspect(ctx, unit)
		if err != nil {
			return nil, err
		}
		if !found.GetRunning() {
			return nil, errEnded
		}
	}
}

var errEnded = errors.New("QEMU ended")
