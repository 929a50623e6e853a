package qemuhypervisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// TestBadSpecs: what can be seen to be wrong is refused with the field, before anything is done.
func TestBadSpecs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	disk := func(change func(d *driverpb.MachineDisk)) func(m *driverpb.MachineSpec) {
		return func(m *driverpb.MachineSpec) {
			m.Disks = []*driverpb.MachineDisk{l.newDisk("vol-a", 1<<20)}
			change(m.GetDisks()[0])
		}
	}
	nic := func(change func(n *driverpb.MachineNic)) func(m *driverpb.MachineSpec) {
		return func(m *driverpb.MachineSpec) {
			m.Nics = []*driverpb.MachineNic{nicOn("nic-1", "tap1", 1)}
			change(m.GetNics()[0])
		}
	}
	type spec = driverpb.MachineSpec
	type oneDisk = driverpb.MachineDisk
	type oneNic = driverpb.MachineNic
	cases := map[string]struct {
		spoil func(m *spec)
		field string
	}{
		"no cpus":            {func(m *spec) { m.Cpus = 0 }, "/cpus"},
		"too many cpus":      {func(m *spec) { m.Cpus = 1000 }, "/cpus"},
		"no memory":          {func(m *spec) { m.MemoryBytes = 0 }, "/memoryBytes"},
		"odd memory":         {func(m *spec) { m.MemoryBytes++ }, "/memoryBytes"},
		"firmware":           {func(m *spec) { m.Firmware = "openboot" }, "/firmware"},
		"namespace":          {func(m *spec) { m.NetNamespace = "../../proc/1/ns/net" }, "/call/machine/net_namespace"},
		"protocol":           {disk(func(d *oneDisk) { d.Disk.Protocol = "rbd" }), "/volumes"},
		"format":             {disk(func(d *oneDisk) { d.Disk.Format = "vmdk" }), "/volumes"},
		"format not given":   {disk(func(d *oneDisk) { d.Disk.Format = "" }), "/volumes"},
		"relative path":      {disk(func(d *oneDisk) { d.Disk.Path = "etc/passwd" }), "/volumes"},
		"path with dots":     {disk(func(d *oneDisk) { d.Disk.Path = "/p/../etc" }), "/volumes"},
		"protocol in path":   {disk(func(d *oneDisk) { d.Disk.Path = "nbd://h/x" }), "/volumes"},
		"device":             {disk(func(d *oneDisk) { d.Device = "floppy" }), "/volumes"},
		"serial":             {disk(func(d *oneDisk) { d.Serial = "a,id=b" }), "/volumes"},
		"long serial":        {disk(func(d *oneDisk) { d.Serial = strings.Repeat("s", 21) }), "/volumes"},
		"qcow2 that is none": {disk(func(d *oneDisk) { d.Disk.Format = "qcow2" }), "/volumes"},
		"no volume":          {disk(func(d *oneDisk) { d.Volume = nil }), "/volumes"},
		"directory": {disk(func(d *oneDisk) {
			d.Disk.Path, d.Disk.ReadOnly = l.pool(), true
		}), "/volumes"},
		"twice": {func(m *spec) {
			disk(func(*oneDisk) {})(m)
			m.Disks = append(m.Disks, m.GetDisks()[0])
		}, "/volumes"},
		"same boot order": {func(m *spec) {
			m.Disks = []*oneDisk{l.newDisk("vol-a", 1<<20), l.newDisk("vol-b", 1<<20)}
			m.Disks[0].BootOrder, m.Disks[1].BootOrder = 1, 1
		}, "/volumes"},
		"too many disks": {func(m *spec) {
			for n := range 17 {
				m.Disks = append(m.Disks, l.newDisk("vol-"+string(rune('a'+n)), 1<<20))
			}
		}, "/volumes"},
		"mac":            {nic(func(n *oneNic) { n.Mac = "52:54" }), "/nics/0"},
		"multicast":      {nic(func(n *oneNic) { n.Mac = "01:00:5e:00:00:01" }), "/nics/0"},
		"interface":      {nic(func(n *oneNic) { n.Interface = "tap0,script=/bin/sh" }), "/nics/0"},
		"long interface": {nic(func(n *oneNic) { n.Interface = "tap0123456789abc" }), "/nics/0"},
		"mtu":            {nic(func(n *oneNic) { n.Mtu = 10 }), "/nics/0"},
		"cloud-init": {func(m *spec) {
			m.CloudInit = &driverpb.CloudInit{UserData: strings.Repeat("x", 1<<20+1)}
		}, "/cloudInit"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			spec := blankMachine()
			c.spoil(spec)
			_, err := l.client().StartMachine(l.ctx(), l.startRequest("m1", spec))
			fault := refused(t, err, driverpb.Class_CLASS_INVALID, faultCode(err))
			if fault.GetField() != c.field {
				t.Errorf("the fault names %q, want %q: %s", fault.GetField(), c.field, fault.GetMessage())
			}
			l.is("m1", "absent", "")
			if left, _ := filepath.Glob(filepath.Join(l.work(), "m", "*")); len(left) != 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
	_, err := l.client().StartMachine(l.ctx(), l.startRequest("m1", nil))
	refused(t, err, driverpb.Class_CLASS_INVALID, "machine-missing")
}

// TestStartFailures: what only shows when it is done leaves nothing behind, and is told apart.
func TestStartFailures(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	taken := l.newDisk("vol-taken", 1<<20)
	holder := blankMachine()
	holder.Disks = []*driverpb.MachineDisk{taken}
	l.startMachine("holder", holder)
	secret := filepath.Join(l.dir, "secret") // not in what the driver may reach
	if err := os.WriteFile(secret, make([]byte, 512), 0o644); err != nil {
		t.Fatal(err)
	}
	corrupt := l.newDisk("vol-corrupt", 0)
	corrupt.Disk.Format = "qcow2"
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", corrupt.GetDisk().GetPath(), "1M")
	if err := os.Truncate(corrupt.GetDisk().GetPath(), 100); err != nil {
		t.Fatal(err)
	}
	foreign := l.newDisk("vol-foreign", 1<<20)
	foreign.Disk.Path, foreign.Disk.ReadOnly = secret, true
	gone := l.newDisk("vol-gone", 1<<20)
	if err := os.Remove(gone.GetDisk().GetPath()); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		spoil func(m *driverpb.MachineSpec)
		class driverpb.Class
		code  string
	}{
		"disk in use": {
			func(m *driverpb.MachineSpec) { m.Disks = []*driverpb.MachineDisk{taken} },
			driverpb.Class_CLASS_CONFLICT, "disk-in-use",
		},
		"disk gone": {
			func(m *driverpb.MachineSpec) { m.Disks = []*driverpb.MachineDisk{gone} },
			driverpb.Class_CLASS_NOT_FOUND, "disk-missing",
		},
		"disk corrupt": {
			func(m *driverpb.MachineSpec) { m.Disks = []*driverpb.MachineDisk{corrupt} },
			driverpb.Class_CLASS_INVALID, "image-truncated",
		},
		"disk not granted": {
			func(m *driverpb.MachineSpec) { m.Disks = []*driverpb.MachineDisk{foreign} },
			driverpb.Class_CLASS_DENIED, "path-not-granted",
		},
		"no tap": {
			func(m *driverpb.MachineSpec) { m.Nics = []*driverpb.MachineNic{nicOn("nic-1", "nowhere0", 1)} },
			driverpb.Class_CLASS_NOT_FOUND, "interface-unusable",
		},
		"more memory than there is": {
			func(m *driverpb.MachineSpec) { m.MemoryBytes = 1 << 50 },
			driverpb.Class_CLASS_EXHAUSTED, "no-memory",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				spec := blankMachine()
				c.spoil(spec)
				_, err := l.client().StartMachine(l.ctx(), l.startRequest("m1", spec))
				refused(t, err, c.class, c.code)
				l.is("m1", "absent", "")
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(l.work(), "m", "*")); len(left) != 1 {
		t.Errorf("%v are there, want the holder's directory only", left)
	}
}

// TestUnreachableMonitor: a QEMU that hangs is said to hang, and can be ended by force.
func TestUnreachableMonitor(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.openHost()
	l.startMachine("m1", blankMachine())
	own := filepath.Join(l.work(), "m")
	run(t, "sh", "-c", "rm "+own+"/*/q/control "+own+"/*/q/status")
	_, err := l.client().StatMachine(l.ctx(), l.request("m1"))
	refused(t, err, driverpb.Class_CLASS_TRANSIENT, "monitor-unreachable")
	_, err = l.client().StopMachine(l.ctx(), l.stopRequest("m1", 1000000000, false))
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "monitor-unreachable")
	l.properties["observe_foreign"] = true
	all := l.observe()
	if seen := all["machine-m1"]; seen.GetState() != "present" {
		t.Errorf("observed it is %v", seen)
	}
	for name, one := range all {
		if pid := one.GetFacts().AsMap()["pid"]; one.GetState() == "foreign" && pid == float64(l.pid("m1")) {
			t.Errorf("%s does not answer, but is ours, and is listed as foreign too", name)
		}
	}
	l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 0, true)))
	l.is("m1", "absent", "")
}
