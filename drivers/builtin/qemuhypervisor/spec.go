package qemuhypervisor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/seed"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	maxCPUs       = 255
	mebibyte      = 1 << 20
	minMemory     = 16 * mebibyte
	maxSerial     = 20
	maxMTU        = 65535
	minMTU        = 68
	netNamespaces = "/run/netns/"
	firmwareBIOS  = "bios"
	firmwareUEFI  = "uefi"
	fieldMachine  = "/machine"
	remedySmaller = "ask for a smaller machine"
)

var (
	serialSyntax    = regexp.MustCompile(`^[A-Za-z0-9._-]{0,20}$`)
	interfaceSyntax = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
	namespaceSyntax = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}$`)
)

// checkSpec checks all that can be checked without looking at the world.
func checkSpec(spec *driverpb.MachineSpec) error {
	memory := spec.GetMemoryBytes()
	switch {
	case spec == nil:
		return sdk.Invalid("machine-missing", fieldMachine, "there is no machine in the request", "")
	case spec.GetCpus() == 0 || spec.GetCpus() > maxCPUs:
		return sdk.Invalid("cpus-invalid", fieldMachine+"/cpus", fmt.Sprintf("want 1 to %d processors", maxCPUs),
			remedySmaller)
	case memory < minMemory:
		return sdk.Invalid("memory-invalid", fieldMachine+"/memory_bytes", "want at least 16 MiB of memory", "")
	case memory%mebibyte != 0:
		return sdk.Invalid("memory-invalid", fieldMachine+"/memory_bytes", "want whole mebibytes", "round it up")
	case spec.GetFirmware() != "" && spec.GetFirmware() != firmwareBIOS && spec.GetFirmware() != firmwareUEFI:
		return sdk.Invalid("firmware-unknown", fieldMachine+"/firmware", "want bios or uefi", "")
	}
	if _, err := namespacePath(spec.GetNetNamespace()); err != nil {
		return err
	}
	cloud := spec.GetCloudInit()
	if len(cloud.GetMetaData())+len(cloud.GetUserData())+len(cloud.GetNetworkConfig()) > seed.MaxBytes {
		return sdk.Invalid("cloud-init-too-large", fieldMachine+"/cloud_init",
			fmt.Sprintf("meta-data, user-data and network-config have more than %d bytes together", seed.MaxBytes),
			"let user-data fetch what is large")
	}
	return checkDevices(spec)
}

// checkRoom refuses what no accounting of the engine's should have let through.
func checkRoom(spec *driverpb.MachineSpec) error {
	total, _, err := memory()
	if err != nil {
		return err
	}
	if spec.GetMemoryBytes() > total {
		return sdk.Exhausted("no-memory",
			fmt.Sprintf("the machine is to have %d MiB of memory, the host has %d",
				spec.GetMemoryBytes()/mebibyte, total/mebibyte),
			remedySmaller)
	}
	return nil
}

func checkDevices(spec *driverpb.MachineSpec) error {
	boots, volumes := map[uint32]bool{}, map[string]bool{}
	for i, disk := range spec.GetDisks() {
		at := fmt.Sprintf("%s/disks/%d", fieldMachine, i)
		if err := checkDisk(at, disk); err != nil {
			return err
		}
		if order := disk.GetBootOrder(); order != 0 && boots[order] {
			return sdk.Invalid("boot-order-taken", at+"/boot_order", "two disks have the same boot order", "")
		}
		if volumes[disk.GetVolume().GetId()] {
			return sdk.Invalid("volume-twice", at+"/volume", "the volume is attached twice", "")
		}
		boots[disk.GetBootOrder()], volumes[disk.GetVolume().GetId()] = true, true
	}
	nics, taps := map[string]bool{}, map[string]bool{}
	for i, nic := range spec.GetNics() {
		at := fmt.Sprintf("%s/nics/%d", fieldMachine, i)
		if err := checkNic(at, nic); err != nil {
			return err
		}
		if nics[nic.GetNic().GetId()] || taps[nic.GetInterface()] {
			return sdk.Invalid("nic-twice", at, "the nic or its interface is attached twice", "")
		}
		nics[nic.GetNic().GetId()], taps[nic.GetInterface()] = true, true
	}
	return nil
}

func checkDisk(at string, disk *driverpb.MachineDisk) error {
	switch {
	case disk.GetVolume().GetId() == "":
		return sdk.Invalid("volume-missing", at+"/volume", "the disk has no volume", "")
	case disk.GetDevice() != "" && disk.GetDevice() != deviceDisk && disk.GetDevice() != deviceCDROM:
		return sdk.Invalid("device-unknown", at+"/device", "want disk or cdrom", "")
	case len(disk.GetSerial()) > maxSerial || !serialSyntax.MatchString(disk.GetSerial()):
		return sdk.Invalid("serial-invalid", at+"/serial",
			fmt.Sprintf("want at most %d letters, digits, dots, dashes and underscores", maxSerial), "")
	}
	return checkSource(at, disk)
}

// checkSource checks how the disk is said to be opened.
func checkSource(at string, disk *driverpb.MachineDisk) error {
	path := disk.GetDisk().GetPath()
	switch {
	case disk.GetDisk().GetProtocol() != protocolFile:
		return sdk.Invalid("protocol-unsupported", at+"/disk/protocol",
			fmt.Sprintf("volumes over %q can't be attached, only files", disk.GetDisk().GetProtocol()),
			"use a pool whose driver has the protocol file")
	case disk.GetDisk().GetFormat() != formatRaw && disk.GetDisk().GetFormat() != formatQCOW2:
		return sdk.Invalid("format-unsupported", at+"/disk/format",
			fmt.Sprintf("want raw or qcow2, not %q", disk.GetDisk().GetFormat()), "")
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0):
		return sdk.Invalid("path-invalid", at+"/disk/path", "want an absolute path without . and ..", "")
	}
	return nil
}

func checkNic(at string, nic *driverpb.MachineNic) error {
	mac, err := net.ParseMAC(nic.GetMac())
	mtu := nic.GetMtu()
	switch {
	case nic.GetNic().GetId() == "":
		return sdk.Invalid("nic-missing", at+"/nic", "the nic has no id", "")
	case err != nil || len(mac) != 6 || mac[0]&1 != 0:
		return sdk.Invalid("mac-invalid", at+"/mac", "want an Ethernet address for one station", "")
	case !interfaceSyntax.MatchString(nic.GetInterface()):
		return sdk.Invalid("interface-invalid", at+"/interface", "want the name of a tap interface", "")
	case mtu != 0 && (mtu < minMTU || mtu > maxMTU):
		return sdk.Invalid("mtu-invalid", at+"/mtu", fmt.Sprintf("want %d to %d, or 0", minMTU, maxMTU), "")
	}
	return nil
}

// namespacePath takes the name of a network namespace or its path.
func namespacePath(namespace string) (string, error) {
	if namespace == "" {
		return "", nil
	}
	name := strings.TrimPrefix(namespace, netNamespaces)
	if !namespaceSyntax.MatchString(name) {
		return "", sdk.Invalid("net-namespace-invalid", fieldMachine+"/net_namespace",
			"want a name of a network namespace, or its path in "+netNamespaces, "")
	}
	return netNamespaces + name, nil
}

// diskOf is a disk in the words of the command line.
func diskOf(disk *driverpb.MachineDisk, n *notes) commandline.Disk {
	made := commandline.Disk{
		Volume: disk.GetVolume().GetId(), Path: disk.GetDisk().GetPath(), Format: disk.GetDisk().GetFormat(),
		ReadOnly: disk.GetDisk().GetReadOnly(), BootOrder: disk.GetBootOrder(), Serial: disk.GetSerial(),
		Bus: n.DiskBus, Direct: n.Direct,
	}
	if disk.GetDevice() == deviceCDROM {
		made.CDROM, made.ReadOnly, made.Bus = true, true, n.CDROMBus
	}
	return made
}

func nicOf(nic *driverpb.MachineNic) commandline.Nic {
	return commandline.Nic{
		ID: nic.GetNic().GetId(), MAC: nic.GetMac(), Interface: nic.GetInterface(), MTU: nic.GetMtu(),
	}
}

// firmwareFiles are where distributions keep UEFI for machines without secure boot: code and empty variables.
func firmwareFiles() []commandline.Firmware {
	return []commandline.Firmware{
		{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Variables: "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{Code: "/usr/share/OVMF/OVMF_CODE.fd", Variables: "/usr/share/OVMF/OVMF_VARS.fd"},
		{Code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", Variables: "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	}
}

// uefi finds the firmware; nil when the host has none.
func uefi() *commandline.Firmware {
	for _, files := range firmwareFiles() {
		if _, err := os.Stat(files.Code); err != nil {
			continue
		}
		if _, err := os.Stat(files.Variables); err == nil {
			return &files
		}
	}
	return nil
}
