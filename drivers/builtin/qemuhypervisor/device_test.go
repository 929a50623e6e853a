package qemuhypervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

func (l *lab) diskRequest(id string, disk *driverpb.MachineDisk) *driverpb.DiskRequest {
	l.t.Helper()
	return &driverpb.DiskRequest{Call: l.call("machine", id), Host: l.hostRef(), Disk: disk}
}

func (l *lab) grow(id string, disk *driverpb.MachineDisk, size uint64) (*driverpb.MachineReply, error) {
	l.t.Helper()
	return l.client().GrowDisk(l.ctx(), &driverpb.GrowDiskRequest{
		Call: l.call("machine", id), Host: l.hostRef(), Disk: disk, SizeBytes: size,
	})
}

// TestDiskHotPlug: a disk comes, grows and goes while the guest runs, whatever bus it is on, and the guest notices.
func TestDiskHotPlug(t *testing.T) {
	t.Parallel()
	for bus, device := range map[string]string{"virtio": "vdb", "scsi": "sda"} {
		t.Run(bus, func(t *testing.T) {
			l := newLab(t)
			l.properties["disk_bus"] = bus
			l.openHost()
			spec := l.smallMachine("m1")
			if bus == "scsi" {
				device = "sdb" // the first one is what it booted from
			}
			l.startMachine("m1", spec)
			c := l.console("m1")
			c.awaits("guest# ", 1)
			disk := l.newDisk("vol-data", 8<<20)
			for range 2 {
				l.must("m1")(l.client().AttachDisk(l.ctx(), l.diskRequest("m1", disk)))
			}
			c.awaits("disk "+device+" plugged in", 1)
			c.types("wget -q -O - http://127.0.0.1/cgi-bin/info")
			c.awaits(fmt.Sprintf(`{"name":%q,"bytes":8388608,"serial":"vol-data","read_only":false}`, device), 1)
			c.types("echo written by the guest | dd of=/dev/" + device + " conv=fsync; echo dd en''ded")
			c.awaits("dd ended", 1) // the words are printed in one piece, but not typed so
			text, err := os.ReadFile(disk.GetDisk().GetPath())
			if err != nil || !strings.HasPrefix(string(text), "written by the guest") {
				t.Errorf("the disk holds %q, %v", text[:min(len(text), 32)], err)
			}

			for range 2 {
				if _, err := l.grow("m1", disk, 16<<20); err != nil {
					t.Fatalf("growing: %v", err)
				}
			}
			if _, err := l.grow("m1", disk, 4<<20); err != nil { // never smaller
				t.Fatalf("growing to less: %v", err)
			}
			c.types("sleep 1; cat /sys/block/" + device + "/size")
			c.awaits("32768", 1)

			other := proto.Clone(disk).(*driverpb.MachineDisk)
			other.Disk.Path += ".other"
			_, err = l.client().AttachDisk(l.ctx(), l.diskRequest("m1", other))
			refused(t, err, driverpb.Class_CLASS_CONFLICT, "attached-otherwise")

			for range 2 {
				l.must("m1")(l.client().DetachDisk(l.ctx(), l.diskRequest("m1", disk)))
			}
			c.awaits("disk "+device+" unplugged", 1)
			run(t, "qemu-img", "info", "-f", "raw", disk.GetDisk().GetPath()) // nobody holds its lock any more
			_, err = l.grow("m1", disk, 32<<20)
			refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "disk-not-attached")
			l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
			l.must("m1")(l.client().DetachDisk(l.ctx(), l.diskRequest("m1", disk))) // nothing there: done
		})
	}
}

// TestDiskRefusals: nothing of a refused attachment is left.
func TestDiskRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	l.startMachine("m2", blankMachine())
	taken := l.newDisk("vol-taken", 1<<20)
	l.must("m2")(l.client().AttachDisk(l.ctx(), l.diskRequest("m2", taken)))
	missing := l.newDisk("vol-missing", 1<<20)
	if err := os.Remove(missing.GetDisk().GetPath()); err != nil {
		t.Fatal(err)
	}
	mismatch := l.newDisk("vol-mismatch", 1<<20)
	mismatch.Disk.Format = "qcow2"
	backed := l.newDisk("vol-backed", 0)
	backed.Disk.Format = "qcow2"
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", taken.GetDisk().GetPath(), "-F", "raw", "-u",
		backed.GetDisk().GetPath(), "1M")
	cases := map[string]struct {
		disk  *driverpb.MachineDisk
		class driverpb.Class
	}{
		"disk-in-use":          {taken, driverpb.Class_CLASS_CONFLICT},
		"disk-missing":         {missing, driverpb.Class_CLASS_NOT_FOUND},
		"not-an-image":         {mismatch, driverpb.Class_CLASS_INVALID},
		"image-refers-to-file": {backed, driverpb.Class_CLASS_INVALID},
	}
	for code, c := range cases {
		for range 2 { // the second time shows that nothing was left
			_, err := l.client().AttachDisk(l.ctx(), l.diskRequest("m1", c.disk))
			refused(t, err, c.class, code)
		}
	}
	l.must("m2")(l.client().StopMachine(l.ctx(), l.stopRequest("m2", 0, true)))
	l.must("m1")(l.client().AttachDisk(l.ctx(), l.diskRequest("m1", taken))) // free now
}

// withDiskHeld is a lab with a machine m1 whose guest was asked to let go of a disk, and does not.
func withDiskHeld(t *testing.T) (*lab, *driverpb.MachineDisk) {
	t.Helper()
	l := newLab(t)
	if _, err := driverpb.NewBaseClient(l.served).Configure(l.ctx(), &driverpb.ConfigureRequest{
		Properties: l.structOf(map[string]any{"unplug_seconds": 1}),
	}); err != nil {
		t.Fatal(err)
	}
	l.openHost()
	l.startMachine("m1", blankMachine())
	disk := l.newDisk("vol-data", 1<<20)
	l.must("m1")(l.client().AttachDisk(l.ctx(), l.diskRequest("m1", disk)))
	_, err := l.client().DetachDisk(l.ctx(), l.diskRequest("m1", disk))
	refused(t, err, driverpb.Class_CLASS_TRANSIENT, "guest-did-not-let-go")
	return l, disk
}

// TestUnplugNeedsTheGuest: without one that agrees it fails in words, and can be done later.
func TestUnplugNeedsTheGuest(t *testing.T) {
	t.Parallel()
	l, disk := withDiskHeld(t)
	l.must("m1")(l.client().PauseMachine(l.ctx(), l.request("m1")))
	_, err := l.client().DetachDisk(l.ctx(), l.diskRequest("m1", disk))
	refused(t, err, driverpb.Class_CLASS_TRANSIENT, "guest-not-running")
}

// TestAllSlots: a machine takes as many disks as it has slots, and says so when they are taken.
func TestAllSlots(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	spec := blankMachine()
	spec.Disks = []*driverpb.MachineDisk{l.newDisk("vol-first", 1<<20)}
	l.startMachine("m1", spec)
	for n := range 15 {
		disk := l.newDisk(fmt.Sprintf("vol-%d", n), 1<<20)
		l.must("m1")(l.client().AttachDisk(l.ctx(), l.diskRequest("m1", disk)))
	}
	_, err := l.client().AttachDisk(l.ctx(), l.diskRequest("m1", l.newDisk("vol-more", 1<<20)))
	refused(t, err, driverpb.Class_CLASS_EXHAUSTED, "no-free-slot")
}

// network is a namespace with a tap in it and a DHCP server behind that, as a network driver would make it.
type network struct {
	t     *testing.T
	name  string
	owner int // of the taps
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, owner: guestID, name: "bhtest-" + filepath.Base(newStateDir(t))}
	run(t, "ip", "netns", "add", n.name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", n.name) })
	return n
}

// tap adds a tap with a network of its own: 10.77.<number>.0/24, the guest gets the address 2.
func (n *network) tap(number int) string {
	n.t.Helper()
	name := n.plainTap(n.t, number)
	gateway := fmt.Sprintf("10.77.%d.1", number)
	run(n.t, "ip", "-n", n.name, "addr", "add", gateway+"/24", "dev", name)
	run(n.t, "ip", "-n", n.name, "link", "set", name, "up")
	pidFile := filepath.Join(newStateDir(n.t), "dnsmasq.pid")
	run(n.t, "ip", "netns", "exec", n.name, "dnsmasq", "--conf-file=/dev/null", "--port=0", "--interface="+name,
		"--bind-interfaces", "--no-ping", "--leasefile-ro", "--user=root", "--pid-file="+pidFile,
		fmt.Sprintf("--dhcp-range=10.77.%d.2,10.77.%d.2,1h", number, number))
	n.t.Cleanup(func() {
		text, err := os.ReadFile(pidFile)
		if err == nil {
			run(n.t, "kill", strings.TrimSpace(string(text)))
		}
	})
	return name
}

// plainTap adds a tap with nothing behind it.
func (n *network) plainTap(t drivertest.T, number int) string {
	t.Helper()
	name := fmt.Sprintf("tap%d", number)
	run(t, "ip", "-n", n.name, "tuntap", "add", "dev", name, "mode", "tap", "user", fmt.Sprint(n.owner))
	return name
}

// get fetches a page of a guest from inside the namespace.
func (n *network) get(number int, path string) (string, error) {
	n.t.Helper()
	return output("ip", "netns", "exec", n.name, "wget", "-q", "-T", "20", "-t", "1", "-O", "-",
		fmt.Sprintf("http://10.77.%d.2%s", number, path))
}

// answers waits until the guest answers with words.
func (n *network) answers(number int, path, words string) {
	n.t.Helper()
	until(n.t, fmt.Sprintf("the guest answered %s with %q", path, words), patient, func() bool {
		text, err := n.get(number, path)
		return err == nil && strings.Contains(text, words)
	})
}

func nicOn(id, tap string, number int) *driverpb.MachineNic {
	return &driverpb.MachineNic{
		Nic: &driverpb.Ref{Kind: "nic", Id: id}, Mac: fmt.Sprintf("52:54:00:00:00:%02x", number), Interface: tap,
	}
}

func (l *lab) nicRequest(id string, nic *driverpb.MachineNic) *driverpb.NicRequest {
	l.t.Helper()
	return &driverpb.NicRequest{Call: l.call("machine", id), Host: l.hostRef(), Nic: nic}
}

// TestNics: a guest is reached over the nic it was started with and over one that came later; that one goes again.
func TestNics(t *testing.T) {
	t.Parallel()
	l, n := newLab(t), newNetwork(t)
	l.openHost()
	spec := l.smallMachine("m1")
	spec.NetNamespace = n.name
	spec.Nics = []*driverpb.MachineNic{nicOn("nic-1", n.tap(1), 1)}
	begun := time.Now()
	l.startMachine("m1", spec)
	n.answers(1, "/cgi-bin/info", `"hostname":"m1"`)
	t.Logf("the guest answered HTTP after %s", time.Since(begun).Round(100*time.Millisecond))
	if stats := l.stat("m1").GetStats(); stats.GetNetReceiveBytes() == 0 || stats.GetNetSendBytes() == 0 {
		t.Errorf("statistics are missing: %v", stats)
	}
	c := l.console("m1")
	c.awaits("guest# ", 1)

	second := nicOn("nic-2", n.tap(2), 2)
	second.Mtu = 1400
	for range 2 {
		l.must("m1")(l.client().AttachNic(l.ctx(), l.nicRequest("m1", second)))
	}
	n.answers(2, "/cgi-bin/info", `"mac":"52:54:00:00:00:02","address":"10.77.2.2","mtu":1400`)
	_, err := l.client().AttachNic(l.ctx(), l.nicRequest("m1", nicOn("nic-2", "tap9", 2)))
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "attached-otherwise")
	for range 2 {
		_, err = l.client().AttachNic(l.ctx(), l.nicRequest("m1", nicOn("nic-3", "nowhere", 3)))
		refused(t, err, driverpb.Class_CLASS_NOT_FOUND, "interface-unusable")
	}
	for range 2 {
		l.must("m1")(l.client().DetachNic(l.ctx(), l.nicRequest("m1", second)))
	}
	c.awaits("nic eth1 unplugged", 1)
	n.answers(1, "/", "m1")
	l.must("m1")(l.client().AttachNic(l.ctx(), l.nicRequest("m1", second))) // and back
	n.answers(2, "/", "m1")
}
