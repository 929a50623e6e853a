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
	remedySmaller = "ask for a smaller machine"
	// Fields of a machine's spec, in its user's words.
	fieldCPUs      = "/cpus"
	fieldMemory    = "/memoryBytes"
	fieldFirmware  = "/firmware"
	fieldCloudInit = "/cloudInit"
	fieldVolumes   = "/volumes"
	fieldISO       = "/isoId"
	fieldNics      = "/nics"
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
		return sdk.Invalid("machine-missing", "/call/machine", "there is no machine in the request", "")
	case spec.GetCpus() == 0 || spec.GetCpus() > maxCPUs:
		return sdk.Invalid("cpus-invalid", fieldCPUs, fmt.Sprintf("want 1 to %d processors", maxCPUs),
			remedySmaller)
	case memory < minMemory:
		return sdk.Invalid("memory-invalid", fieldMemory, "want at least 16 MiB of memory", "")
	case memory%mebibyte != 0:
		return sdk.Invalid("memory-invalid", fieldMemory, "want whole mebibytes", "round it up")
	case spec.GetFirmware() != "" && spec.GetFirmware() != firmwareBIOS && spec.GetFirmware() != firmwareUEFI:
		return sdk.Invalid("firmware-unknown", fieldFirmware, "want bios or uefi", "")
	}
	if _, err := namespacePath(spec.GetNetNamespace()); err != nil {
		return err
	}
	cloud := spec.GetCloudInit()
	if len(cloud.GetMetaData())+len(cloud.GetUserData())+len(cloud.GetNetworkConfig()) > seed.MaxBytes {
		return sdk.Invalid("cloud-init-too-large", fieldCloudInit,
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
	for _, disk := range spec.GetDisks() {
		if err := checkDisk(disk); err != nil {
			return err
		}
		if order := disk.GetBootOrder(); order != 0 && boots[order] {
			return diskFault(disk, "boot-order-taken", "another disk has the same boot order", "")
		}
		if volumes[disk.GetVolume().GetId()] {
			return diskFault(disk, "volume-twice", "the volume is attached twice", "")
		}
		boots[disk.GetBootOrder()], volumes[disk.GetVolume().GetId()] = true, true
	}
	nics, taps := map[string]bool{}, map[string]bool{}
	for i, nic := range spec.GetNics() {
		at := fmt.Sprintf("%s/%d", fieldNics, i)
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

// diskFault says what is wrong with a disk. Its user knows it as one of the machine's volumes, or as its ISO.
func diskFault(disk *driverpb.MachineDisk, code, message, remedy string) error {
	field := fieldVolumes
	if disk.GetDevice() == deviceCDROM {
		field = fieldISO
	}
	if id := disk.GetVolume().GetId(); id != "" {
		message = id + ": " + message
	}
	return sdk.Invalid(code, field, message, remedy)
}

func checkDisk(disk *driverpb.MachineDisk) error {
	switch {
	case disk.GetVolume().GetId() == "":
		return diskFault(disk, "volume-missing", "the disk has no volume", "")
	case disk.GetDevice() != "" && disk.GetDevice() != deviceDisk && disk.GetDevice() != deviceCDROM:
		return diskFault(disk, "device-unknown", "the device must be disk or cdrom", "")
	case len(disk.GetSerial()) > maxSerial || !serialSyntax.MatchString(disk.GetSerial()):
		return diskFault(disk, "serial-invalid",
			fmt.Sprintf("a serial has at most %d letters, digits, dots, dashes and underscores", maxSerial), "")
	}
	return checkSource(disk)
}

// checkSource checks how the disk is said to be opened.
func checkSource(disk *driverpb.MachineDisk) error {
	path := disk.GetDisk().GetPath()
	switch {
	case disk.GetDisk().GetProtocol() != protocolFile:
		return diskFault(disk, "protocol-unsupported",
			fmt.Sprintf("volumes over %q can't be attached, only files", disk.GetDisk().GetProtocol()),
			"use a pool whose driver has the protocol file")
	case disk.GetDisk().GetFormat() != formatRaw && disk.GetDisk().GetFormat() != formatQCOW2:
		return diskFault(disk, "format-unsupported",
			fmt.Sprintf("the format must be raw or qcow2, not %q", disk.GetDisk().GetFormat()), "")
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0):
		return diskFault(disk, "path-invalid", "its path must be absolute, without . and ..", "")
	}
	return nil
}

func checkNic(at string, nic *driverpb.MachineNic) error {
	mac, err := net.ParseMAC(nic.GetMac())
	mtu := nic.GetMtu()
	bad := func(code, message string) error {
		return sdk.Invalid(code, at, strings.TrimPrefix(nic.GetNic().GetId()+": ", ": ")+message, "")
	}
	switch {
	case nic.GetNic().GetId() == "":
		return bad("nic-missing", "the nic has no id")
	case err != nil || len(mac) != 6 || mac[0]&1 != 0:
		return bad("mac-invalid", "its MAC must be an Ethernet address for one station")
	case !interfaceSyntax.MatchString(nic.GetInterface()):
		return bad("interface-invalid", "its interface must be the name of a tap")
	case mtu != 0 && (mtu < minMTU || mtu > maxMTU):
		return bad("mtu-invalid", fmt.Sprintf("its MTU must be %d to %d, or 0", minMTU, maxMTU))
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
		return "", sdk.Invalid("net-namespace-invalid", "/call/machine/net_namespace",
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
