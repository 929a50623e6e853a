package commandline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const (
	// Ports is the number of slots: virtio disks and nics together, plugged in at the start or later.
	Ports = 16
	// sataConnectors of the chipset.
	sataConnectors = 6
	scsiBus        = "scsi.0"
	// TranslationBytes is the memory in which TCG keeps translated code.
	TranslationBytes = 128 << 20

	firstPortSlot    = 0x10
	functionsPerSlot = 8
	// processDigits fit a process name of 15 characters.
	processDigits = 9
)

// Accelerator is what executes the guest's instructions.
type Accelerator string

// The accelerators.
const (
	KVM Accelerator = "kvm"
	TCG Accelerator = "tcg"
)

// Firmware is a UEFI: its code, and the machine's own copy of its variables. BIOS needs none.
type Firmware struct {
	Code, Variables string
}

// Sockets are the paths of the unix sockets QEMU makes.
type Sockets struct {
	// Control and Status are two monitors: long commands on the one never hold up questions on the other.
	Control, Status string
	Serial, VNC     string
}

// Machine is all that QEMU is told when it starts. The guest does not run yet then.
type Machine struct {
	// Binary is QEMU's absolute path.
	Binary      string
	ID          string
	Type        string // "q35" or a version of it
	Accelerator Accelerator
	// CPUModel, empty: the host's own with KVM, all that can be emulated with TCG.
	CPUModel    string
	CPUs        uint32
	MemoryBytes uint64
	Firmware    *Firmware
	Disks       []Disk
	Nics        []Nic
	Sockets     Sockets
	// SerialLog gets all that the guest prints to its serial console, in addition.
	SerialLog string
	PIDFile   string
	// Incoming is set for a machine that comes from another host: it runs by itself when all of it has come.
	Incoming bool
	// Slots are the buses of devices, by the device's name, where they are not to be chosen: see SlotOf.
	Slots map[string]string
}

// Args are QEMU's arguments, the binary first. It fails when there are more devices than slots.
func (m *Machine) Args() ([]string, error) {
	args := arguments{list: []string{m.Binary}}
	m.processor(&args)
	m.chassis(&args)
	m.channels(&args)
	if m.Firmware != nil {
		m.firmware(&args)
	}
	if err := m.devices(&args); err != nil {
		return nil, err
	}
	if args.failed != nil {
		return nil, fmt.Errorf("building the command line of %s: %w", m.ID, args.failed)
	}
	return args.list, nil
}

// processor says who runs the guest, how, and what is denied to QEMU itself.
func (m *Machine) processor(args *arguments) {
	args.add("-name", option("guest", m.ID)+",process=guest-"+Hash(m.ID)[:processDigits]+",debug-threads=on")
	args.add("-uuid", UUID(m.ID))
	args.add("-nodefaults")
	args.add("-no-user-config")
	args.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	// The last byte of a guest on its way is then the one that lets it run: either the other side has it or not.
	machine := m.Type + ",usb=off,vmport=off,dump-guest-core=off,hpet=off,suppress-vmdesc=on"
	model := m.CPUModel
	if m.Accelerator == KVM {
		args.add("-accel", "kvm")
		if model == "" {
			model = "host"
		}
	} else {
		args.add("-accel", "tcg,thread=multi,tb-size="+strconv.Itoa(TranslationBytes>>20))
		if model == "" {
			model = "max"
		}
	}
	if m.Firmware != nil {
		machine += ",pflash0=firmware,pflash1=variables"
	}
	args.add("-machine", machine)
	args.add("-cpu", model)
	args.add("-smp", fmt.Sprintf("cpus=%d,sockets=1,cores=%d,threads=1", m.CPUs, m.CPUs))
	args.add("-m", fmt.Sprintf("size=%dM", m.MemoryBytes>>20))
}

// chassis says what happens on a power-off, a panic and a reset: the machine stays, stopped, until somebody asked.
func (m *Machine) chassis(args *arguments) {
	if m.Incoming {
		args.add("-incoming", "defer")
	} else {
		args.add("-S")
	}
	args.add("-action", "reboot=reset,shutdown=pause,panic=pause")
	args.add("-boot", "strict=on,menu=off")
	args.add("-rtc", "base=utc,driftfix=slew")
	args.add("-global", "ICH9-LPC.disable_s3=1")
	args.add("-global", "ICH9-LPC.disable_s4=1")
	args.add("-smbios", "type=1,manufacturer=Bulkhead,product=Machine,"+option("serial", m.ID))
	args.add("-msg", "timestamp=on")
	args.add("-pidfile", m.PIDFile)
}

// channels says how QEMU is spoken with.
func (m *Machine) channels(args *arguments) {
	args.add("-chardev", listen("control", m.Sockets.Control))
	args.add("-mon", "chardev=control,mode=control")
	args.add("-chardev", listen("status", m.Sockets.Status))
	args.add("-mon", "chardev=status,mode=control")
	args.add("-chardev", listen("serial", m.Sockets.Serial)+","+option("logfile", m.SerialLog)+",logappend=on")
	args.add("-serial", "chardev:serial")
	args.add("-display", "none")
	args.add("-vnc", "unix:"+escape(m.Sockets.VNC))
}

func (m *Machine) firmware(args *arguments) {
	args.json("-blockdev", fileNode{
		Driver: "file", NodeName: "firmware-file", Filename: m.Firmware.Code, AIO: "threads", Locking: "off",
		ReadOnly: true, Discard: "ignore",
	})
	args.json("-blockdev", rawNode{
		Driver: "raw", NodeName: "firmware", File: "firmware-file", ReadOnly: true, Discard: "ignore",
	})
	args.json("-blockdev", fileNode{
		Driver: "file", NodeName: "variables-file", Filename: m.Firmware.Variables, AIO: "threads", Locking: "on",
		Discard: "ignore",
	})
	args.json("-blockdev", rawNode{
		Driver: "raw", NodeName: "variables", File: "variables-file", Discard: "ignore",
	})
}

type plainDevice struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	Bus    string `json:"bus"`
	Addr   string `json:"addr"`
}

type portDevice struct {
	plainDevice
	Chassis       int  `json:"chassis"`
	Port          int  `json:"port"`
	Multifunction bool `json:"multifunction"`
	// IOReserve 0: the slots need no I/O ports, of which there are not enough for all.
	IOReserve int `json:"io-reserve"`
}

// devices puts fixed devices on the root bus and all others into slots, so that they can be unplugged.
func (m *Machine) devices(args *arguments) error {
	for n := range Ports {
		addr := fmt.Sprintf("0x%x.%d", firstPortSlot+n/functionsPerSlot, n%functionsPerSlot)
		args.json("-device", portDevice{
			plainDevice: plainDevice{Driver: "pcie-root-port", ID: Port(n), Bus: "pcie.0", Addr: addr},
			Chassis:     n + 1, Port: n, Multifunction: n%functionsPerSlot == 0,
		})
	}
	args.json("-device", plainDevice{"VGA", "display", "pcie.0", "0x1"})
	args.json("-device", plainDevice{"virtio-rng-pci", "entropy", "pcie.0", "0x2"})
	args.json("-device", plainDevice{"virtio-scsi-pci", "scsi", "pcie.0", "0x3"})
	args.json("-device", plainDevice{"pvpanic-pci", "panic", "pcie.0", "0x4"})
	slots := newSlots(m.Slots)
	for i := range m.Disks {
		disk := &m.Disks[i]
		args.json("-blockdev", disk.FileNode())
		args.json("-blockdev", disk.FormatNode())
		args.json("-device", disk.Device(slots.of(DiskDevice(disk.Volume), disk.Bus)))
	}
	for i := range m.Nics {
		args.json("-netdev", m.Nics[i].Backend())
		args.json("-device", m.Nics[i].Device(slots.of(NicDevice(m.Nics[i].ID), Virtio)))
	}
	if slots.exceeded {
		return fmt.Errorf("building the command line of %s: %w", m.ID, ErrTooManyDevices)
	}
	return nil
}

// arguments collects QEMU's arguments and the first failure.
type arguments struct {
	list   []string
	failed error
}

func (a *arguments) add(words ...string) {
	a.list = append(a.list, words...)
}

func (a *arguments) json(name string, value any) {
	text, err := json.Marshal(value)
	if err != nil && a.failed == nil {
		a.failed = err
	}
	a.add(name, string(text))
}

func listen(id, path string) string {
	return "socket," + option("id", id) + "," + option("path", path) + ",server=on,wait=off"
}

// option is a key with a value in QEMU's own syntax, where a comma is written twice.
func option(key, value string) string {
	return key + "=" + escape(value)
}

func escape(value string) string {
	return strings.ReplaceAll(value, ",", ",,")
}
