package commandline

import (
	"strconv"
	"strings"
)

// fdSets is the directory that QEMU pretends to have of descriptors it was handed.
const fdSets = "/dev/fdset/"

// Bus is what a disk is attached to.
type Bus string

// The buses. A disk on SATA can't be plugged in or out of a running machine.
const (
	Virtio Bus = "virtio"
	SCSI   Bus = "scsi"
	SATA   Bus = "sata"
)

// Disk is one disk of a machine.
type Disk struct {
	// Volume is the id the names are made from.
	Volume string
	// Path of the file; for a descriptor that QEMU was handed, what FDSet returns.
	Path string
	// Format is "raw" or "qcow2"; QEMU never probes.
	Format   string
	ReadOnly bool
	// CDROM makes it a drive with a medium in it.
	CDROM bool
	// Direct bypasses the host's page cache.
	Direct bool
	Bus    Bus
	// BootOrder, lowest first; 0 = does not boot.
	BootOrder uint32
	Serial    string
}

type cacheOptions struct {
	Direct  bool `json:"direct"`
	NoFlush bool `json:"no-flush"`
}

type fileNode struct {
	Driver       string       `json:"driver"`
	NodeName     string       `json:"node-name"`
	Filename     string       `json:"filename"`
	AIO          string       `json:"aio"`
	Locking      string       `json:"locking,omitempty"`
	ReadOnly     bool         `json:"read-only"`
	AutoReadOnly bool         `json:"auto-read-only"`
	Discard      string       `json:"discard"`
	Cache        cacheOptions `json:"cache"`
}

type formatNode struct {
	Driver   string       `json:"driver"`
	NodeName string       `json:"node-name"`
	File     string       `json:"file"`
	Backing  *string      `json:"backing"`
	ReadOnly bool         `json:"read-only"`
	Discard  string       `json:"discard"`
	Cache    cacheOptions `json:"cache"`
}

// rawNode is a formatNode without what only formats with backing files have.
type rawNode struct {
	Driver   string       `json:"driver"`
	NodeName string       `json:"node-name"`
	File     string       `json:"file"`
	ReadOnly bool         `json:"read-only"`
	Discard  string       `json:"discard"`
	Cache    cacheOptions `json:"cache"`
}

// FDSet is the path under which QEMU finds a descriptor it was handed by add-fd.
func FDSet(id int64) string {
	return fdSets + strconv.FormatInt(id, 10)
}

// FDSetID is the number in a path that FDSet returned; not ok for other paths.
func FDSetID(path string) (id int64, ok bool) {
	digits, ok := strings.CutPrefix(path, fdSets)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	return id, err == nil
}

// FileNode is the argument of blockdev-add for the file.
func (d *Disk) FileNode() any {
	node := fileNode{
		Driver: "file", NodeName: FileNode(d.Volume), Filename: d.Path, AIO: "threads", Locking: "on",
		ReadOnly: d.ReadOnly, Discard: "unmap", Cache: cacheOptions{Direct: d.Direct},
	}
	if d.Direct {
		node.AIO = "native"
	}
	return node
}

// FormatNode is the argument of blockdev-add for what is in the file. A backing file is never opened, whatever the
// image says.
func (d *Disk) FormatNode() any {
	if d.Format == "qcow2" {
		return formatNode{
			Driver: d.Format, NodeName: DiskNode(d.Volume), File: FileNode(d.Volume), ReadOnly: d.ReadOnly,
			Discard: "unmap", Cache: cacheOptions{Direct: d.Direct},
		}
	}
	return rawNode{
		Driver: "raw", NodeName: DiskNode(d.Volume), File: FileNode(d.Volume), ReadOnly: d.ReadOnly,
		Discard: "unmap", Cache: cacheOptions{Direct: d.Direct},
	}
}

type diskDevice struct {
	Driver    string `json:"driver"`
	ID        string `json:"id"`
	Bus       string `json:"bus"`
	Drive     string `json:"drive"`
	Serial    string `json:"serial,omitempty"`
	BootIndex uint32 `json:"bootindex,omitempty"`
	SCSIID    *int   `json:"scsi-id,omitempty"`
}

// Device is the argument of device_add. Bus names the slot (a Port) for virtio and the SATA connector; SCSI disks
// need none.
func (d *Disk) Device(bus string) any {
	device := diskDevice{
		ID: DiskDevice(d.Volume), Bus: bus, Drive: DiskNode(d.Volume), Serial: d.Serial, BootIndex: d.BootOrder,
	}
	switch {
	case d.Bus == SATA && d.CDROM:
		device.Driver = "ide-cd"
	case d.Bus == SATA:
		device.Driver = "ide-hd"
	case d.Bus == SCSI && d.CDROM:
		device.Driver, device.Bus, device.SCSIID = "scsi-cd", scsiBus, targetOf(bus)
	case d.Bus == SCSI:
		device.Driver, device.Bus, device.SCSIID = "scsi-hd", scsiBus, targetOf(bus)
	default:
		device.Driver = "virtio-blk-pci"
	}
	return device
}

// TakesPort tells whether the disk takes one of the slots.
func (d *Disk) TakesPort() bool {
	return d.Bus == Virtio
}
