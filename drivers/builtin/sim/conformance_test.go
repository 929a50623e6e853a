package sim_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestMain is also the driver, as the kit starts it and as a host does, and the host's stage.
func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 2 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(sim.New))
	}
	os.Exit(drivertest.Main(m, sim.New))
}

// worldTruth is the kit's view past the driver.
type worldTruth struct {
	world    *simworld.World
	follower *simworld.Follower
}

func (w worldTruth) load(tb drivertest.T) *simworld.Truth {
	tb.Helper()
	truth, err := w.follower.Truth()
	if err != nil {
		tb.Fatal(err)
	}
	return truth
}

func (w worldTruth) Count(tb drivertest.T, kind, id string) int {
	tb.Helper()
	return w.load(tb).Count(kind, id)
}

func (w worldTruth) Effects(tb drivertest.T, token string) int {
	tb.Helper()
	return len(w.load(tb).EffectsBy(token))
}

func (w worldTruth) write(tb drivertest.T, disk *driverpb.Disk, data []byte) {
	tb.Helper()
	key, ok := simworld.KeyAt(simworld.KindVolume, disk.GetPath())
	if !ok {
		tb.Fatalf("%q is no path of a simulated volume", disk.GetPath())
	}
	if err := w.world.Write(key, string(bytes.TrimRight(data, "\x00"))); err != nil {
		tb.Fatal(err)
	}
}

func (w worldTruth) read(tb drivertest.T, disk *driverpb.Disk, n int) []byte {
	tb.Helper()
	key, _ := simworld.KeyAt(simworld.KindVolume, disk.GetPath())
	content, err := w.world.Read(key)
	if err != nil {
		tb.Fatal(err)
	}
	data := make([]byte, n)
	copy(data, content)
	return data
}

// image plants a template into the world to clone from.
func (w worldTruth) image(tb drivertest.T) drivertest.Image {
	tb.Helper()
	store := simworld.Object{Key: simworld.Key{Kind: simworld.KindStore, ID: "ist-images"}, State: simworld.Present}
	template := simworld.Object{
		Key: simworld.Key{Kind: simworld.KindTemplate, Scope: "ist-images", ID: "tpl-image"}, State: simworld.Present,
		Bytes: 1 << 20, Content: "an operating system",
	}
	for _, o := range []simworld.Object{store, template} {
		_ = w.world.Plant(o) // there since the last check, perhaps
	}
	return drivertest.Image{
		Image: &driverpb.Image{Path: simworld.PathOf(template.Key), Format: "raw", VirtualBytes: template.Bytes},
		Head:  []byte(template.Content),
	}
}

// harness describes the simulator on a world; start and properties are up to the caller.
func harness(t *testing.T, world *simworld.World) drivertest.Harness {
	t.Helper()
	follower, err := world.Follow()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(follower.Close)
	truth := worldTruth{world, follower}
	number := func(key string, value float64) func(drivertest.T) drivertest.Properties {
		return func(drivertest.T) drivertest.Properties { return drivertest.Properties{key: value} }
	}
	bad := func(name string, p drivertest.Properties) []drivertest.BadSetting {
		return []drivertest.BadSetting{{
			Name: name, Code: "bad-property",
			Properties: func(drivertest.T) drivertest.Properties { return p },
		}}
	}
	return drivertest.Harness{
		Truth: truth,
		Storage: &drivertest.Storage{
			Pool:          number("capacityBytes", 1<<30),
			BadPools:      bad("no capacity", drivertest.Properties{"capacityBytes": 0.5}),
			TooLargeBytes: 1<<30 + 1,
			Image:         truth.image, Write: truth.write, Read: truth.read,
		},
		Images: &drivertest.Images{
			Store:     number("capacityBytes", 1<<30),
			BadStores: bad("capacity is text", drivertest.Properties{"capacityBytes": "much"}),
			Good:      goodTemplate,
			Bad:       badTemplates(),
		},
		Hypervisor: &drivertest.Hypervisor{
			Host:     number("memoryBytes", 1<<34),
			BadHosts: bad("no cpus", drivertest.Properties{"cpus": -1.0}),
			Machine:  smallMachine, Disk: moreDisk, Nic: moreNic,
		},
		Networks: &drivertest.Networks{
			Spec: func(drivertest.T) *driverpb.NetworkSpec {
				return &driverpb.NetworkSpec{Mode: "nat", Cidr: "10.20.0.0/24", Dhcp: true, Dns: true}
			},
			Nic: func(_ drivertest.T, _ *driverpb.NetworkSpec, n int) *driverpb.NicSpec {
				return &driverpb.NicSpec{
					Machine: &driverpb.Ref{Kind: "machine", Id: "mac-1"},
					Mac:     fmt.Sprintf("02:00:00:00:00:%02x", n), Address: fmt.Sprintf("10.20.0.%d", 10+n), Hostname: "guest",
				}
			},
			Bad: badNetworks(),
		},
		OutOfBand: &drivertest.OutOfBand{
			Host: func(drivertest.T) drivertest.Properties { return nil },
			Unconfirmed: func(drivertest.T) drivertest.Properties {
				return drivertest.Properties{"controller": "ignores"}
			},
			Refused: []drivertest.BadSetting{
				{
					Name: "another host", Code: "another-host",
					Properties: func(drivertest.T) drivertest.Properties {
						return drivertest.Properties{"expectedUuid": "00000000-0000-4000-8000-000000000001"}
					},
				},
				{
					Name: "a controller that is silent", Class: driverpb.Class_CLASS_TRANSIENT, Code: "controller-unreachable",
					Properties: func(drivertest.T) drivertest.Properties {
						return drivertest.Properties{"controller": "silent"}
					},
				},
			},
			Powered: func(tb drivertest.T, host *driverpb.Ref, _ drivertest.Properties) bool {
				tb.Helper()
				return truth.load(tb).Powered(host.GetId())
			},
			Cuts: func(tb drivertest.T, host *driverpb.Ref, _ drivertest.Properties) int {
				tb.Helper()
				return truth.load(tb).Cuts(host.GetId())
			},
		},
	}
}

func goodTemplate(drivertest.T) *driverpb.ImportTemplateRequest {
	return &driverpb.ImportTemplateRequest{
		Format: "qcow2", Checksum: "sha256:" + strings.Repeat("ab", 32),
		Source: &driverpb.ImportTemplateRequest_File{
			File: "sim:debian?bytes=1048576&virtual=4194304&format=qcow2&checksum=sha256:" + strings.Repeat("ab", 32),
		},
	}
}

func badTemplates() []drivertest.BadImport {
	file := func(path, format string) func(drivertest.T) *driverpb.ImportTemplateRequest {
		return func(drivertest.T) *driverpb.ImportTemplateRequest {
			return &driverpb.ImportTemplateRequest{
				Format: format, Source: &driverpb.ImportTemplateRequest_File{File: path},
			}
		}
	}
	url := func(url string) func(drivertest.T) *driverpb.ImportTemplateRequest {
		return func(drivertest.T) *driverpb.ImportTemplateRequest {
			return &driverpb.ImportTemplateRequest{
				Format: "raw", Checksum: "sha256:" + strings.Repeat("0", 64),
				Source: &driverpb.ImportTemplateRequest_Url{Url: url},
			}
		}
	}
	return []drivertest.BadImport{
		{Name: "no such file", Source: file("/nowhere/image", "raw"), Code: "path-missing"},
		{Name: "another format", Source: file("sim:x?format=raw", "qcow2"), Code: "not-an-image"},
		{Name: "loopback", Source: url("http://127.0.0.1/x"), Class: driverpb.Class_CLASS_DENIED, Code: "egress-denied"},
		{Name: "localhost", Source: url("http://localhost/x"), Class: driverpb.Class_CLASS_DENIED},
		{Name: "mapped loopback", Source: url("http://[::ffff:127.0.0.1]/x"), Class: driverpb.Class_CLASS_DENIED},
		{Name: "cloud metadata", Source: url("http://169.254.169.254/x"), Class: driverpb.Class_CLASS_DENIED},
		{Name: "private network", Source: url("https://10.0.0.1/x"), Class: driverpb.Class_CLASS_DENIED},
		{Name: "another scheme", Source: url("file:///etc/passwd"), Code: "bad-url"},
	}
}

func badNetworks() []drivertest.BadNetwork {
	var all []drivertest.BadNetwork
	for _, bad := range []struct {
		name, field string
		spoil       func(*driverpb.NetworkSpec)
	}{
		{"no network", "/cidr", func(s *driverpb.NetworkSpec) { s.Cidr = "" }},
		{"host bits", "/cidr", func(s *driverpb.NetworkSpec) { s.Cidr = "10.20.0.1/24" }},
		{"no room", "/cidr", func(s *driverpb.NetworkSpec) { s.Cidr = "10.20.0.0/31" }},
		{"gateway outside", "/gateway", func(s *driverpb.NetworkSpec) { s.Gateway = "10.21.0.1" }},
		{"gateway is broadcast", "/gateway", func(s *driverpb.NetworkSpec) { s.Gateway = "10.20.0.255" }},
		{"mode", "/mode", func(s *driverpb.NetworkSpec) { s.Mode = "telepathy" }},
		{"mtu", "/mtu", func(s *driverpb.NetworkSpec) { s.Mtu = 10 }},
		{"dns server", "/dnsServers/0", func(s *driverpb.NetworkSpec) { s.DnsServers = []string{"ns"} }},
	} {
		spec := func(drivertest.T) *driverpb.NetworkSpec {
			spec := &driverpb.NetworkSpec{Mode: "isolated", Cidr: "10.20.0.0/24"}
			bad.spoil(spec)
			return spec
		}
		all = append(all, drivertest.BadNetwork{Name: bad.name, Field: bad.field, Spec: spec})
	}
	return all
}

func smallMachine(_ drivertest.T, id string) *driverpb.MachineSpec {
	return &driverpb.MachineSpec{
		Name: "guest", Cpus: 1, MemoryBytes: 128 << 20,
		Disks: []*driverpb.MachineDisk{{
			Volume: &driverpb.Ref{Kind: "volume", Id: "vol-root"}, BootOrder: 1, Device: "disk", Serial: "root",
			Disk: &driverpb.Disk{Protocol: "file", Path: "/simulated/" + id, Format: "raw"},
		}},
	}
}

func moreDisk(_ drivertest.T, machine string) *driverpb.MachineDisk {
	return &driverpb.MachineDisk{
		Volume: &driverpb.Ref{Kind: "volume", Id: "vol-more"}, Device: "disk", Serial: "more",
		Disk: &driverpb.Disk{Protocol: "file", Path: "/simulated/more-" + machine, Format: "raw"},
	}
}

func moreNic(_ drivertest.T, machine string) *driverpb.MachineNic {
	return &driverpb.MachineNic{
		Nic: &driverpb.Ref{Kind: "nic", Id: "nic-more"}, Mac: "02:00:00:00:00:09", Interface: "tap-" + machine[:8], Mtu: 1500,
	}
}

// TestConformance runs the kit against the driver as a process, killed for real.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	world, err := simworld.Open(dir, simworld.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = world.Close() })
	h := harness(t, world)
	h.Start = drivertest.Process(drivertest.ProcessOptions{})
	h.Properties = map[string]any{"world": dir, "latency": "*=1ms", "faults": "action=delay at=after for=1ms"}
	drivertest.Run(t, h)
}

// TestConformanceInMemory runs the kit in virtual time against a world without files.
func TestConformanceInMemory(t *testing.T) {
	world := simworld.New()
	h := harness(t, world)
	h.Start = drivertest.InMemory(func(env sdk.Environment) (sdk.Driver, error) {
		return sim.NewDriver(world, sim.Options{Instance: env.Instance}), nil
	})
	h.Virtual = true
	h.Properties = map[string]any{"latency": "*=2s~1s", "faults": "action=delay at=after for=2s"}
	drivertest.Run(t, h)
}
