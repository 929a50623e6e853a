package sim_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func store() *driverpb.StoreRef {
	return &driverpb.StoreRef{Resource: &driverpb.Ref{Kind: "image-store", Id: "ist-1"}}
}

// importer is a driver with an open store, without a wire.
func importer(tb drivertest.T) driverpb.ImagesServer {
	tb.Helper()
	images := sim.NewDriver(simworld.New(), sim.Options{}).Images
	open := &driverpb.StoreRequest{Call: call("op-1", "image-store", "ist-1")}
	if _, err := images.OpenStore(tb.Context(), open); err != nil {
		tb.Fatal(err)
	}
	return images
}

// qcow2 is the header of a qcow2 image.
func qcow2(size, backing uint64) []byte {
	header := make([]byte, 104)
	copy(header, "QFI\xfb\x00\x00\x00\x03")
	binary.BigEndian.PutUint64(header[8:], backing)
	binary.BigEndian.PutUint64(header[24:], size)
	return header
}

func TestImportReadsRealFiles(t *testing.T) {
	raw := []byte(strings.Repeat("bootable ", 100))
	sum256, sum512 := sha256.Sum256(raw), sha512.Sum512(raw)
	for _, test := range []struct {
		name, format, checksum string
		content                []byte
		code                   string // of the fault; empty = imported
		virtual                uint64
	}{
		{"raw", "raw", "", raw, "", uint64(len(raw))},
		{"raw with a checksum", "raw", "sha256:" + hex.EncodeToString(sum256[:]), raw, "", uint64(len(raw))},
		{"raw with a long checksum", "raw", "sha512:" + hex.EncodeToString(sum512[:]), raw, "", uint64(len(raw))},
		{"wrong checksum", "raw", "sha256:" + strings.Repeat("0", 64), raw, "checksum-mismatch", 0},
		{"qcow2", "qcow2", "", qcow2(1<<30, 0), "", 1 << 30},
		{"qcow2 that is raw", "qcow2", "", raw, "not-an-image", 0},
		{"raw that is qcow2", "raw", "", qcow2(1<<30, 0), "not-an-image", 0},
		{"qcow2 with a backing file", "qcow2", "", qcow2(1<<30, 200), "refers-to-files", 0},
		{"qcow2 cut off", "qcow2", "", qcow2(1, 0)[:20], "not-an-image", 0},
		{"empty", "raw", "", nil, "not-an-image", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "upload")
			if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			images := importer(t)
			request := func(token string) *driverpb.ImportTemplateRequest {
				return &driverpb.ImportTemplateRequest{
					Call: call(token, "template", "tpl-1"), Store: store(), Format: test.format, Checksum: test.checksum,
					Source: &driverpb.ImportTemplateRequest_Upload{Upload: path},
				}
			}
			reply, err := images.ImportTemplate(t.Context(), request("op-2"))
			_, statErr := os.Stat(path)
			if test.code != "" {
				if sdk.FaultOf(err).GetCode() != test.code || statErr != nil {
					t.Errorf("got %v, want %s; the upload: %v", err, test.code, statErr)
				}
				return
			}
			if err != nil || reply.GetVirtualBytes() != test.virtual || reply.GetFileBytes() != uint64(len(test.content)) {
				t.Fatalf("got %v, %v", reply, err)
			}
			if !os.IsNotExist(statErr) {
				t.Error("the upload is still there")
			}
			if _, err := images.ImportTemplate(t.Context(), request("op-3")); err != nil {
				t.Errorf("repeated after the upload was removed: %v", err)
			}
		})
	}
}

func FuzzImport(f *testing.F) {
	f.Add(qcow2(1<<40, 0), "qcow2")
	f.Add([]byte("x"), "raw")
	f.Fuzz(func(t *testing.T, content []byte, format string) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		reply, err := importer(t).ImportTemplate(t.Context(), &driverpb.ImportTemplateRequest{
			Call: call("op-2", "template", "tpl-1"), Store: store(), Format: format,
			Source: &driverpb.ImportTemplateRequest_File{File: path},
		})
		if (err == nil) == (reply == nil) || err != nil && sdk.FaultOf(err).GetClass() != driverpb.Class_CLASS_INVALID {
			t.Errorf("%q as %q: %v, %v; want a template or INVALID", content, format, reply, err)
		}
	})
}

// FuzzSettings: whatever text is configured is taken, or refused with the property's name.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{"*=2ms", "CreateVolume=5ms~2ms *=1s", "a=b", "=1s", "x=1s~2s", "x=-1s", "~", "a=1s~"} {
		f.Add(text, "action=hang")
	}
	f.Fuzz(func(t *testing.T, latency, faults string) {
		driver := sim.NewDriver(simworld.New(), sim.Options{})
		if !strings.Contains(faults, "slow-start") { // which would be obeyed
			err := driver.Resources.Configure(t.Context(), map[string]any{"latency": latency, "faults": faults}, nil)
			if err != nil && !strings.HasPrefix(sdk.FaultOf(err).GetField(), "/properties") {
				t.Errorf("%q, %q: %v", latency, faults, err)
			}
		}
	})
}

func TestLatencyIsParsedStrictly(t *testing.T) {
	for text, good := range map[string]bool{
		"": true, "*=1ms": true, "Create*=2s~1s *=0s": true,
		"1ms": false, "=1ms": false, "*=fast": false, "*=-1ms": false, "*=1ms~2ms": false, "*=1ms~x": false, "*=1ms~": false,
	} {
		driver := sim.NewDriver(simworld.New(), sim.Options{})
		err := driver.Resources.Configure(t.Context(), map[string]any{"latency": text}, nil)
		if (err == nil) != good {
			t.Errorf("%q: %v, want it taken: %t", text, err, good)
		}
	}
}

// bench is a driver without a wire, with a host, a pool, and what a test needs of both.
type bench struct {
	*testing.T
	world  *simworld.World
	driver sdk.Driver
	host   *driverpb.HostRef
	pool   *driverpb.PoolRef
	tokens int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{
		T: t, world: simworld.New(),
		host: &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}},
		pool: &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}},
	}
	b.driver = sim.NewDriver(b.world, sim.Options{})
	_, err := b.driver.Hypervisor.OpenHost(t.Context(), &driverpb.HostCallRequest{Call: b.call("host", "host-1")})
	b.ok(err)
	return b
}

func (b *bench) call(kind, id string, properties ...any) *driverpb.Call {
	b.Helper()
	b.tokens++
	c := call("op-"+string(rune('a'+b.tokens)), kind, id)
	fields := map[string]any{}
	for i := 0; i < len(properties); i += 2 {
		key, _ := properties[i].(string)
		fields[key] = properties[i+1]
	}
	var err error
	c.Properties, err = structpb.NewStruct(fields)
	b.ok(err)
	return c
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// volume makes a volume in the pool and attaches it to the host.
func (b *bench) volume(id string) *driverpb.MachineDisk {
	b.Helper()
	_, err := b.driver.Storage.CreateVolume(b.Context(), &driverpb.CreateVolumeRequest{
		Call: b.call("volume", id), Pool: b.pool, SizeBytes: 100,
	})
	b.ok(err)
	reply, err := b.driver.Storage.AttachVolume(b.Context(), &driverpb.AttachVolumeRequest{
		Call: b.call("volume", id), Pool: b.pool, Host: b.host.GetResource(),
	})
	b.ok(err)
	return &driverpb.MachineDisk{Volume: &driverpb.Ref{Kind: "volume", Id: id}, Disk: reply.GetDisk()}
}

func (b *bench) start(id string, disks ...*driverpb.MachineDisk) error {
	_, err := b.driver.Hypervisor.StartMachine(b.Context(), &driverpb.StartMachineRequest{
		Call: b.call("machine", id), Host: b.host,
		Machine: &driverpb.MachineSpec{Cpus: 2, MemoryBytes: 1 << 20, Disks: disks},
	})
	return err
}

func (b *bench) stat(id string) *driverpb.MachineReply {
	b.Helper()
	reply, err := b.driver.Hypervisor.StatMachine(b.Context(), &driverpb.MachineRequest{
		Call: b.call("machine", id), Host: b.host,
	})
	b.ok(err)
	return reply
}

func TestThinPoolsPromiseMoreThanTheyHave(t *testing.T) {
	for thin, want := range map[bool]uint64{false: 100, true: 0} {
		b := newBench(t)
		open := &driverpb.OpenPoolRequest{Call: b.call("pool", "pool-1", "thin", thin, "capacityBytes", 150.0)}
		_, err := b.driver.Storage.OpenPool(t.Context(), open)
		b.ok(err)
		b.volume("vol-1")
		pool, err := b.driver.Storage.StatPool(t.Context(), &driverpb.PoolRequest{Call: b.call("pool", "pool-1")})
		b.ok(err)
		if pool.GetUsedBytes() != want || pool.GetTotalBytes() != 150 {
			t.Errorf("thin %t: %v, want %d used", thin, pool, want)
		}
		_, err = b.driver.Storage.CreateVolume(t.Context(), &driverpb.CreateVolumeRequest{
			Call: b.call("volume", "vol-2"), Pool: b.pool, SizeBytes: 100,
		})
		if full := sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_EXHAUSTED; full == thin {
			t.Errorf("thin %t: the second volume: %v", thin, err)
		}
	}
}

func TestMachinesOnSimulatedVolumes(t *testing.T) {
	b := newBench(t)
	_, err := b.driver.Storage.OpenPool(t.Context(), &driverpb.OpenPoolRequest{Call: b.call("pool", "pool-1")})
	b.ok(err)
	disk := b.volume("vol-1")
	b.ok(b.start("mac-1", disk))
	if fault := sdk.FaultOf(b.start("mac-2", disk)); fault.GetCode() != "disk-in-use" {
		t.Errorf("a second machine on the volume: %v, want disk-in-use", fault)
	}
	detach := func() error {
		_, err := b.driver.Storage.DetachVolume(t.Context(), &driverpb.AttachVolumeRequest{
			Call: b.call("volume", "vol-1"), Pool: b.pool, Host: b.host.GetResource(),
		})
		return err
	}
	if fault := sdk.FaultOf(detach()); fault.GetCode() != "volume-in-use" {
		t.Errorf("detached under a running machine: %v, want volume-in-use", fault)
	}
	_, err = b.driver.Hypervisor.GrowDisk(t.Context(), &driverpb.GrowDiskRequest{
		Call: b.call("machine", "mac-1"), Host: b.host, Disk: disk, SizeBytes: 300,
	})
	b.ok(err)
	volume, err := b.driver.Storage.StatVolume(t.Context(), &driverpb.VolumeRequest{
		Call: b.call("volume", "vol-1"), Pool: b.pool,
	})
	b.ok(err)
	if volume.GetSizeBytes() != 300 || volume.GetAllocatedBytes() != 300 {
		t.Errorf("grown under the machine to %v, want 300", volume)
	}
	b.ok(b.world.EndGuest(simworld.Key{Kind: "machine", Scope: "host-1", ID: "mac-1"}, "guest-panic"))
	if got := b.stat("mac-1"); got.GetState() != "stopped" || got.GetReason() != "guest-panic" {
		t.Errorf("after a panic: %v", got)
	}
	b.ok(detach())
}

func TestTimePassesForMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.ok(b.start("mac-1"))
		request := func() *driverpb.MachineRequest {
			return &driverpb.MachineRequest{Call: b.call("machine", "mac-1"), Host: b.host}
		}
		time.Sleep(10 * time.Second)
		_, err := b.driver.Hypervisor.PauseMachine(t.Context(), request())
		b.ok(err)
		time.Sleep(time.Hour)
		_, err = b.driver.Hypervisor.ResumeMachine(t.Context(), request())
		b.ok(err)
		time.Sleep(5 * time.Second)
		if got := b.stat("mac-1").GetStats(); got.GetUptimeMs() != 15_000 || got.GetCpuNs() != 3e9 {
			t.Errorf("after 15 s and a pause: %v", got)
		}
		stop := &driverpb.StopMachineRequest{
			Call: b.call("machine", "mac-1", "shutdown", "ignore"), Host: b.host, GraceMs: 4000,
		}
		start := time.Now()
		_, err = b.driver.Hypervisor.StopMachine(t.Context(), stop)
		if sdk.FaultOf(err).GetCode() != "guest-ignores-power-button" || time.Since(start) != 4*time.Second {
			t.Errorf("a stubborn guest: %v after %s", err, time.Since(start))
		}
		stop.Force = true
		_, err = b.driver.Hypervisor.StopMachine(t.Context(), stop)
		b.ok(err)
		if got := b.stat("mac-1").GetState(); got != "absent" {
			t.Errorf("after a forced stop: %s", got)
		}
	})
}

func TestConsolesEndWithTheInstance(t *testing.T) {
	defer goleak.VerifyNone(t)
	done := make(chan struct{})
	b := newBench(t)
	b.driver = sim.NewDriver(b.world, sim.Options{WorkDir: t.TempDir(), Done: done})
	b.ok(b.start("mac-1"))
	for range 2 {
		reply, err := b.driver.Hypervisor.OpenConsole(t.Context(), &driverpb.ConsoleRequest{
			Call: b.call("machine", "mac-1"), Host: b.host, Type: "serial",
		})
		b.ok(err)
		if reply.GetSocket() == "" {
			t.Error("no socket")
		}
	}
	close(done)
}

func TestObserveShowsWhatIsNotOurs(t *testing.T) {
	b := newBench(t)
	b.ok(b.world.Plant(simworld.Object{
		Key: simworld.Key{Kind: "machine", Scope: "host-1", ID: "someones-machine"}, State: "foreign", Bytes: 7,
	}))
	var seen []*driverpb.Observed
	b.ok(b.driver.Resources.Observe(t.Context(), b.call("host", "host-1"), func(o *driverpb.Observed) error {
		seen = append(seen, o)
		return nil
	}))
	if len(seen) != 1 || seen[0].GetResource().GetId() != "" || seen[0].GetName() != "someones-machine" ||
		seen[0].GetState() != "foreign" {
		t.Errorf("got %v", seen)
	}
}
