package qemuhypervisor_test

import (
	"os"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// oblige is what the guest of testdata/obliging.S prints once it does what it is asked.
const oblige = "OBLIGING GUEST READY"

// obligingDisk boots a guest that is there as soon as the firmware is done, lets go of devices and powers off when it
// is asked to. It is for tests of the driver that need a guest's consent; that an operating system gives it too is
// shown where the guest of guest/build.sh is used.
func obligingDisk(t drivertest.T, pool, name string) *driverpb.MachineDisk {
	t.Helper()
	sector, err := os.ReadFile("testdata/obliging.bin")
	if err != nil {
		t.Fatal(err)
	}
	disk := diskIn(t, pool, name, 1<<20)
	file, err := os.OpenFile(disk.GetDisk().GetPath(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(sector); err != nil {
		t.Fatal(err)
	}
	disk.BootOrder = 1
	return disk
}

func obligingMachine(t drivertest.T, pool, id string) *driverpb.MachineSpec {
	t.Helper()
	return &driverpb.MachineSpec{
		Name: id, Cpus: 1, MemoryBytes: 64 << 20, Disks: []*driverpb.MachineDisk{obligingDisk(t, pool, "vol-"+id)},
	}
}
