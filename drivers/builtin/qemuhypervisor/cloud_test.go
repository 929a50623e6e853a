//go:build cloudimage

package qemuhypervisor_test

import (
	"os"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// TestCloudImage boots a stock distribution with cloud-init, which takes minutes without KVM and is therefore asked
// for: go test -tags cloudimage -run TestCloudImage, with CLOUD_IMAGE the raw disk that guest/build-cloud.sh made.
func TestCloudImage(t *testing.T) {
	image := os.Getenv("CLOUD_IMAGE")
	if image == "" {
		t.Fatal("CLOUD_IMAGE is not set: build one with guest/build-cloud.sh")
	}
	l, n := newLab(t), newNetwork(t)
	l.properties["accelerator"] = "auto"
	l.openHost()
	disk := l.newDisk("vol-cloud", 0)
	run(t, "cp", "--sparse=always", "--no-preserve=mode", image, disk.GetDisk().GetPath())
	spec := &driverpb.MachineSpec{
		Name: "harbour", Cpus: 2, MemoryBytes: 1 << 30, Disks: []*driverpb.MachineDisk{disk}, NetNamespace: n.name,
		Nics: []*driverpb.MachineNic{nicOn("nic-1", n.tap(1), 1)},
		CloudInit: &driverpb.CloudInit{
			MetaData: "instance-id: i-cloud\nlocal-hostname: harbour\n",
			UserData: "#cloud-config\nruncmd:\n- echo \"runcmd on $(hostname) with $(ip -4 -o addr show eth0)\" >/dev/ttyS0\n",
		},
	}
	begun := time.Now()
	l.startMachine("m1", spec)
	c := l.console("m1")
	c.awaitsFor("runcmd on harbour with 2: eth0    inet 10.77.1.2/24", 1, 15*time.Minute)
	c.awaitsFor("harbour login:", 1, 15*time.Minute)
	t.Logf("cloud-init had done its work after %s", time.Since(begun).Round(time.Second))
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 90*time.Second, false)))
}
