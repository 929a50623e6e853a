package commandline_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
)

// rewrite makes the golden files anew. Only commit them when you understand what changed.
func rewrite() bool {
	return flag.Lookup("rewrite").Value.String() == "true"
}

func TestMain(m *testing.M) {
	flag.Bool("rewrite", false, "write the golden files")
	flag.Parse()
	os.Exit(m.Run())
}

func machine() commandline.Machine {
	return commandline.Machine{
		Binary: "/usr/bin/qemu-system-x86_64", ID: "machine-1", Type: "q35", Accelerator: commandline.KVM,
		CPUs: 2, MemoryBytes: 512 << 20,
		Sockets: commandline.Sockets{
			Control: "/run/m/control", Status: "/run/m/status", Serial: "/run/m/serial", VNC: "/run/m/vnc",
		},
		SerialLog: "/run/m/serial.log", PIDFile: "/run/m/pid",
	}
}

func TestGolden(t *testing.T) {
	small := machine()
	full := machine()
	full.Accelerator, full.CPUModel = commandline.TCG, "Haswell"
	full.Firmware = &commandline.Firmware{Code: "/usr/share/code.fd", Variables: "/run/m/variables.fd"}
	full.SerialLog = "/run/m,with,commas/serial.log"
	full.Disks = []commandline.Disk{
		{Volume: "vol-1", Path: "/pool/vol-1.raw", Format: "raw", Bus: commandline.Virtio, BootOrder: 1, Serial: "root"},
		{Volume: "vol-2", Path: "/pool/a,b.qcow2", Format: "qcow2", Bus: commandline.SCSI, Direct: true},
		{Volume: "vol-3", Path: "/pool/vol-3.raw", Format: "raw", Bus: commandline.SATA},
		{Volume: "iso", Path: "/pool/x.iso", Format: "raw", Bus: commandline.SCSI, CDROM: true, ReadOnly: true},
		{Volume: "iso2", Path: "/pool/y.iso", Format: "raw", Bus: commandline.SATA, CDROM: true, ReadOnly: true},
	}
	full.Nics = []commandline.Nic{
		{ID: "nic-1", MAC: "52:54:00:00:00:01", Interface: "tap1", MTU: 1450},
		{ID: "nic-2", MAC: "52:54:00:00:00:02", Interface: "tap2"},
	}
	for name, m := range map[string]commandline.Machine{"small": small, "full": full} {
		t.Run(name, func(t *testing.T) {
			args, err := m.Args()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, args)
		})
	}
	probe := commandline.Probe{
		Binary: "/usr/bin/qemu-system-x86_64", Type: "q35", Accelerator: commandline.KVM, ROM: "/run/rom",
		Control: "/run/control",
	}
	t.Run("probe", func(t *testing.T) { golden(t, "probe", probe.Args()) })
}

// golden compares with testdata/<name>.args: one option with its value per line.
func golden(t *testing.T, name string, args []string) {
	t.Helper()
	var text strings.Builder
	for i, arg := range args {
		separator := "\n"
		if strings.HasPrefix(arg, "-") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			separator = " "
		}
		text.WriteString(arg + separator)
	}
	path := filepath.Join("testdata", name+".args")
	if rewrite() {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("arguments differ from %s; run go test -rewrite and look at the diff. Got:\n%s", path, text.String())
	}
}

// TestGoldenIsQEMU asks the real QEMU whether it understands all options: with a machine that has no disk it starts
// and waits; we only want it to get as far as opening what is not there.
func TestGoldenIsQEMU(t *testing.T) {
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal("this test needs QEMU: apt-get install -y qemu-system-x86")
	}
	m := machine()
	m.Binary, m.Accelerator = binary, commandline.TCG
	m.Disks = []commandline.Disk{{Volume: "vol-1", Path: "/nowhere/vol-1.raw", Format: "raw"}}
	dir := t.TempDir()
	m.PIDFile, m.SerialLog = filepath.Join(dir, "pid"), filepath.Join(dir, "log")
	m.Sockets = commandline.Sockets{Control: "c", Status: "s", Serial: "t", VNC: "v"}
	args, err := m.Args()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(args[0], args[1:]...)
	command.Dir = dir
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "Could not open '/nowhere/vol-1.raw'") {
		t.Errorf("QEMU says %v: %s, want only that the disk is missing", err, output)
	}
}

func TestTooManyDevices(t *testing.T) {
	m := machine()
	for n := range commandline.Ports + 1 {
		m.Disks = append(m.Disks, commandline.Disk{Volume: string(rune('a' + n)), Bus: commandline.Virtio})
	}
	if _, err := m.Args(); !errors.Is(err, commandline.ErrTooManyDevices) {
		t.Errorf("error = %v, want too many devices", err)
	}
	m.Disks = m.Disks[1:]
	if _, err := m.Args(); err != nil {
		t.Errorf("as many disks as slots: %v", err)
	}
}

var nodeName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// TestNames: whatever the ids are, names are ones QEMU takes, and differ for different ids.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`), 2, 2, rapid.ID).Draw(t, "ids")
		for _, name := range []func(string) string{
			commandline.DiskNode, commandline.FileNode, commandline.DiskDevice, commandline.NicBackend, commandline.NicDevice,
		} {
			first, second := name(ids[0]), name(ids[1])
			if first == second || !nodeName.MatchString(first) {
				t.Fatalf("names %q and %q of %q", first, second, ids)
			}
		}
	})
}

// TestOptionsHoldTheirValue: no value can end its option and begin another one.
func TestOptionsHoldTheirValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`/[ -~]{1,40}`).Draw(t, "path")
		m := machine()
		m.SerialLog = path
		m.Disks = []commandline.Disk{{Volume: "v", Path: path, Format: "raw"}}
		args, err := m.Args()
		if err != nil {
			t.Fatal(err)
		}
		log, disk := false, false
		for _, arg := range args {
			var node struct{ Filename string }
			if json.Unmarshal([]byte(arg), &node) == nil && node.Filename == path {
				disk = true
			}
			if tail, ok := strings.CutPrefix(arg, "socket,id=serial,path=/run/m/serial,server=on,wait=off,logfile="); ok {
				value, rest, _ := cutOption(tail)
				log = value == path && rest == "logappend=on"
			}
		}
		if !log || !disk {
			t.Fatalf("the path %q did not get through", path)
		}
	})
}

// cutOption reads a value in QEMU's syntax up to its comma.
func cutOption(text string) (value, rest string, ok bool) {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != ',':
			value += text[i : i+1]
		case i+1 < len(text) && text[i+1] == ',':
			value += ","
			i++
		default:
			return value, text[i+1:], true
		}
	}
	return value, "", false
}

func TestUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if id := commandline.UUID("machine-1"); !form.MatchString(id) || id != commandline.UUID("machine-1") {
		t.Errorf("uuid %q", id)
	}
	if commandline.UUID("machine-1") == commandline.UUID("machine-2") {
		t.Error("two machines have one uuid")
	}
}

// TestSlotsAreKept: devices of a machine that comes are where they were; the others are where there is room.
func TestSlotsAreKept(t *testing.T) {
	m := commandline.Machine{
		Binary: "/q", ID: "m", Type: "q35", Accelerator: commandline.TCG, CPUs: 1, MemoryBytes: 1 << 30, Incoming: true,
	}
	m.Disks = []commandline.Disk{
		{Volume: "new", Path: "/n", Format: "raw", Bus: commandline.Virtio},
		{Volume: "old", Path: "/o", Format: "raw", Bus: commandline.Virtio},
		{Volume: "scsi", Path: "/s", Format: "raw", Bus: commandline.SCSI},
	}
	m.Slots = map[string]string{
		commandline.DiskDevice("old"):  commandline.SlotOf("port0", 0),
		commandline.DiskDevice("scsi"): commandline.SlotOf("scsi.0", 3),
	}
	args, err := m.Args()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(args, "\n")
	for _, want := range []string{
		`"id":"` + commandline.DiskDevice("new") + `","bus":"port1"`,
		`"id":"` + commandline.DiskDevice("old") + `","bus":"port0"`,
		`"id":"` + commandline.DiskDevice("scsi") + `","bus":"scsi.0"`,
		`"scsi-id":3`,
		"-incoming\ndefer",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is missing in\n%s", want, all)
		}
	}
	if slices.Contains(args, "-S") {
		t.Error("it would wait for a command")
	}
}
