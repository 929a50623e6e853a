package qemuhypervisor_test

import (
	"os"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// TestUEFI: the same guest boots with UEFI.
func TestUEFI(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/share/OVMF/OVMF_CODE_4M.fd"); err != nil {
		t.Fatal("this test needs UEFI: apt-get install -y ovmf")
	}
	l := newLab(t)
	if l.openHost().GetFacts()["uefi"] != "true" {
		t.Error("the host does not say that it has UEFI")
	}
	spec := l.smallMachine("m1")
	spec.Firmware = "uefi"
	l.startMachine("m1", spec)
	c := l.console("m1")
	c.awaits(ready, 1)
	c.awaits("guest# ", 1)
	c.types("[ -d /sys/firmware/efi ] && echo booted by UE''FI")
	c.awaits("booted by UEFI", 1)
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", time.Minute, false)))
}

// TestCDROM: a disc is seen on either bus, read-only, and a machine without a disk boots from it.
func TestCDROM(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	disc := l.newDisk("vol-disc", 2<<20)
	disc.Device, disc.Disk.ReadOnly = "cdrom", true
	spec := l.smallMachine("m1")
	spec.Disks = append(spec.Disks, disc)
	l.startMachine("m1", spec)
	c := l.console("m1")
	c.awaits("guest# ", 1)
	c.types("wget -q -O - http://127.0.0.1/cgi-bin/info")
	c.awaits(`"name":"sr0","bytes":2097152,`, 1)
	later := l.newDisk("vol-later", 4<<20)
	later.Device = "cdrom"
	l.must("m1")(l.client().AttachDisk(l.ctx(), l.diskRequest("m1", later)))
	c.awaits("plugged in", 1)
	l.must("m1")(l.client().DetachDisk(l.ctx(), l.diskRequest("m1", later)))

	l.properties["cdrom_bus"], l.properties["disk_bus"] = "sata", "sata"
	other := blankMachine()
	other.Disks = []*driverpb.MachineDisk{l.newDisk("vol-sata", 1<<20), disc}
	other.Disks[1].BootOrder = 1
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
	l.startMachine("m2", other)
	_, err := l.client().DetachDisk(l.ctx(), l.diskRequest("m2", disc))
	refused(t, err, driverpb.Class_CLASS_UNSUPPORTED, "bus-not-hot-pluggable")
	_, err = l.client().AttachDisk(l.ctx(), l.diskRequest("m2", later))
	refused(t, err, driverpb.Class_CLASS_UNSUPPORTED, "bus-not-hot-pluggable")
}
