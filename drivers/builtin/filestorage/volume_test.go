package filestorage_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

const (
	invalid   = driverpb.Class_CLASS_INVALID
	conflict  = driverpb.Class_CLASS_CONFLICT
	notFound  = driverpb.Class_CLASS_NOT_FOUND
	exhausted = driverpb.Class_CLASS_EXHAUSTED
	transient = driverpb.Class_CLASS_TRANSIENT
)

func TestEmptyVolumes(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := openSite(t, t.TempDir(), nil)
			made := s.create(s.request("vol-1", format, 1<<40))
			if made.GetSizeBytes() != 1<<40 || made.GetAllocatedBytes() > mebibyte {
				t.Errorf("a volume of 1 TiB has %d bytes and takes %d", made.GetSizeBytes(), made.GetAllocatedBytes())
			}
			disk := made.GetDisk()
			if disk.GetProtocol() != "file" || disk.GetFormat() != format ||
				disk.GetPath() != filepath.Join(s.path, "volumes", "vol-1."+format) {
				t.Errorf("disk = %v", disk)
			}
			diskOK(t, disk)
			again := s.create(s.request("vol-1", format, 1<<40))
			if again.GetDisk().GetPath() != disk.GetPath() {
				t.Errorf("created again it is at %s", again.GetDisk().GetPath())
			}
			for _, other := range []*driverpb.CreateVolumeRequest{
				s.request("vol-1", format, 2<<40),
				s.request("vol-1", map[string]string{"raw": "qcow2", "qcow2": "raw"}[format], 1<<40),
			} {
				_, err := s.driver.Storage.CreateVolume(t.Context(), other)
				expectFault(t, err, conflict, "volume-exists")
			}
		})
	}
}

func TestDefaultFormatIsThePools(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), map[string]any{"format": "qcow2"})
	if got := s.create(s.request("vol-1", "", mebibyte)).GetDisk().GetFormat(); got != "qcow2" {
		t.Errorf("format = %q, want the pool's qcow2", got)
	}
	plain := openSite(t, t.TempDir(), nil)
	if got := plain.create(plain.request("vol-1", "", mebibyte)).GetDisk().GetFormat(); got != "raw" {
		t.Errorf("format = %q, want raw", got)
	}
}

func TestVolumesOfWrongShapeAreRefused(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	for name, test := range map[string]struct {
		req   *driverpb.CreateVolumeRequest
		code  string
		field string
	}{
		"no size":         {s.request("vol-1", "raw", 0), "size-required", "/sizeBytes"},
		"absurd size":     {s.request("vol-1", "raw", 1<<63), "size-too-large", "/sizeBytes"},
		"largest number":  {s.request("vol-1", "raw", 1<<64-1), "size-too-large", "/sizeBytes"},
		"unknown format":  {s.request("vol-1", "vmdk", mebibyte), "format-unknown", "/format"},
		"source too big":  {s.clone("vol-1", "raw", mebibyte, template(t, "raw"), "raw"), "size-too-small", "/sizeBytes"},
		"source of vmdk":  {s.clone("vol-1", "raw", 0, template(t, "raw"), "vmdk"), "source-invalid", "/templateId"},
		"relative source": {s.clone("vol-1", "raw", 0, "template.raw", "raw"), "source-invalid", "/templateId"},
		"folder":          {s.clone("vol-1", "raw", 0, t.TempDir(), "raw"), "source-invalid", "/templateId"},
		"device":          {s.clone("vol-1", "raw", 0, "/dev/zero", "raw"), "source-invalid", "/templateId"},
		"raw as qcow2":    {s.clone("vol-1", "raw", 0, template(t, "raw"), "qcow2"), "not-an-image", "/templateId"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.driver.Storage.CreateVolume(t.Context(), test.req)
			if fault := expectFault(t, err, invalid, test.code); fault.GetField() != test.field {
				t.Errorf("field = %q, want %q", fault.GetField(), test.field)
			}
		})
	}
	_, err := s.driver.Storage.CreateVolume(t.Context(), s.clone("vol-1", "raw", 0, "/nowhere/at/all", "raw"))
	expectFault(t, err, notFound, "source-missing")
	s.nothingLeft()
}

func TestTooLargeForTheFileSystem(t *testing.T) {
	t.Parallel()
	s := openSite(t, diskdirtest.Mount(t, diskdirtest.Ext4, 32), nil)
	_, err := s.driver.Storage.CreateVolume(t.Context(), s.request("vol-1", "raw", 1<<50))
	expectFault(t, err, invalid, "size-too-large")
	s.nothingLeft()
}

func TestOddSizesBecomeWholeSectors(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	if got := s.create(s.request("vol-1", "raw", mebibyte+1)).GetSizeBytes(); got != mebibyte+512 {
		t.Errorf("size = %d, want %d", got, mebibyte+512)
	}
	s.create(s.request("vol-1", "raw", mebibyte+1)) // the same again is no conflict
}

func TestGrow(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := openSite(t, t.TempDir(), nil)
			disk := s.create(s.request("vol-1", format, 8*mebibyte)).GetDisk()
			writeDisk(t, disk, 7, 4*mebibyte, mebibyte)
			for _, step := range []struct{ ask, want uint64 }{
				{16 * mebibyte, 16 * mebibyte},
				{16 * mebibyte, 16 * mebibyte},
				{4 * mebibyte, 16 * mebibyte},
				{1 << 40, 1 << 40},
			} {
				reply, err := s.driver.Storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
					Call: s.call("volume", "vol-1"), Pool: s.pool, SizeBytes: step.ask,
				})
				if err != nil || reply.GetSizeBytes() != step.want {
					t.Fatalf("growing to %d gives %d, %v; want %d", step.ask, reply.GetSizeBytes(), err, step.want)
				}
			}
			diskOK(t, disk)
			qemu(t, "qemu-io", "-f", format, "-c", "read -P 7 4M 1M", disk.GetPath())
		})
	}
	s := openSite(t, t.TempDir(), nil)
	_, err := s.driver.Storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
		Call: s.call("volume", "vol-9"), Pool: s.pool, SizeBytes: mebibyte,
	})
	expectFault(t, err, notFound, "volume-missing")
}

func TestDeleteAndDetachAreRepeatable(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	made := s.create(s.request("vol-1", "qcow2", mebibyte))
	attach := &driverpb.AttachVolumeRequest{
		Call: s.call("volume", "vol-1"), Pool: s.pool, Host: ref("host", "host-1"), ReadOnly: true,
	}
	for range 2 {
		reply, err := s.driver.Storage.AttachVolume(t.Context(), attach)
		if err != nil || !reply.GetDisk().GetReadOnly() || reply.GetDisk().GetPath() != made.GetDisk().GetPath() {
			t.Errorf("attaching gives %v, %v", reply.GetDisk(), err)
		}
	}
	attach.Call.Handle = made.GetHandle()
	for range 2 {
		if _, err := s.driver.Storage.DetachVolume(t.Context(), attach); err != nil {
			t.Errorf("detaching: %v", err)
		}
	}
	for range 2 {
		if _, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1")); err != nil {
			t.Errorf("deleting: %v", err)
		}
	}
	_, err := s.driver.Storage.StatVolume(t.Context(), s.volume("vol-1"))
	expectFault(t, err, notFound, "volume-missing")
	s.nothingLeft()
}

func TestHandlesAreRebuiltFromDisk(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	volume := s.create(s.request("vol-1", "qcow2", mebibyte)).GetHandle()
	snapshot := s.take("snap-1", "vol-1").GetHandle()
	for kind, want := range map[string]*driverpb.Handle{"vol-1": volume, "snap-1": snapshot, poolID: s.pool.GetHandle()} {
		call := s.call(map[string]string{"vol-1": "volume", "snap-1": "snapshot", poolID: "pool"}[kind], kind)
		for _, handle := range []*driverpb.Handle{nil, want} {
			call.Handle = handle
			got, err := s.driver.Resources.Adopt(t.Context(), call)
			if err != nil {
				t.Errorf("adopting %s: %v", kind, err)
			}
			if kind != poolID && string(got.GetData()) != string(want.GetData()) {
				t.Errorf("%s: handle %s, want %s", kind, got.GetData(), want.GetData())
			}
		}
	}
	_, err := s.driver.Resources.Adopt(t.Context(), s.call("volume", "vol-9"))
	expectFault(t, err, notFound, "volume-missing")
}

// holdOpen opens a disk as a guest does, until the returned function is called.
func holdOpen(t drivertest.T, disk *driverpb.Disk) (command func(string), release func()) {
	t.Helper()
	guest := exec.CommandContext(t.Context(), "qemu-io", "-f", disk.GetFormat(), disk.GetPath())
	input, err := guest.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := guest.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Start(); err != nil {
		t.Fatalf("starting qemu-io (install qemu-utils): %v", err)
	}
	prompt := func() {
		buffer := make([]byte, 1)
		for last := ""; last != "qemu-io> "; {
			if _, err := output.Read(buffer); err != nil {
				t.Fatal(err)
			}
			last = (last + string(buffer))[max(0, len(last)+1-len("qemu-io> ")):]
		}
	}
	prompt()
	return func(line string) {
			if _, err := io.WriteString(input, line+"\n"); err != nil {
				t.Fatal(err)
			}
			prompt()
		}, sync.OnceFunc(func() {
			_ = input.Close()
			_, _ = io.Copy(io.Discard, output)
			if err := guest.Wait(); err != nil {
				t.Errorf("qemu-io: %v", err)
			}
		})
}

func TestVolumeInUseIsNotPulledAway(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := openSite(t, t.TempDir(), nil)
			disk := s.create(s.request("vol-1", format, 8*mebibyte)).GetDisk()
			s.take("snap-1", "vol-1")
			_, release := holdOpen(t, disk)
			defer release()
			_, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1"))
			expectFault(t, err, conflict, "volume-in-use")
			_, err = s.driver.Storage.RevertSnapshot(t.Context(), s.snapshot("snap-1", "vol-1"))
			expectFault(t, err, conflict, "volume-in-use")
			grown, err := s.driver.Storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
				Call: s.call("volume", "vol-1"), Pool: s.pool, SizeBytes: 16 * mebibyte,
			})
			if format == "qcow2" {
				expectFault(t, err, conflict, "volume-in-use")
			} else if err != nil || grown.GetSizeBytes() != 16*mebibyte {
				t.Errorf("growing a raw volume under a guest: %v", err)
			}
			release()
			if _, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1")); err != nil {
				t.Errorf("deleting after the guest ended: %v", err)
			}
			if !slices.Equal(s.files("snapshots"), []string{"snap-1@vol-1." + format}) {
				t.Errorf("snapshots = %v, want the one that was taken", s.files("snapshots"))
			}
		})
	}
}

// TestTamperedQCOW2IsNotOpened changes a volume's header to name another file, as a guest that broke out of its QEMU
// could, and checks that no program is run on it.
func TestTamperedQCOW2IsNotOpened(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	disk := s.create(s.request("vol-1", "qcow2", mebibyte)).GetDisk()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, make([]byte, mebibyte), 0o600); err != nil {
		t.Fatal(err)
	}
	qemu(t, "qemu-img", "rebase", "-u", "-f", "qcow2", "-b", secret, "-F", "raw", disk.GetPath())
	_, err := s.driver.Storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
		Call: s.call("volume", "vol-1"), Pool: s.pool, SizeBytes: 2 * mebibyte,
	})
	expectFault(t, err, conflict, "volume-damaged")
	_, err = s.driver.Storage.AttachVolume(t.Context(), &driverpb.AttachVolumeRequest{
		Call: s.call("volume", "vol-1"), Pool: s.pool, Host: ref("host", "host-1"),
	})
	expectFault(t, err, conflict, "volume-damaged")
	seen := s.observe("pool", poolID)
	if len(seen) != 1 || seen[0].GetFacts().AsMap()["problem"] == nil {
		t.Errorf("observed %v, want the volume with its problem", seen)
	}
	if _, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1")); err != nil {
		t.Errorf("deleting a damaged volume: %v", err)
	}
}

func TestLinkInPlaceOfAVolumeIsNotFollowed(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	target := template(t, "raw")
	if err := os.Symlink(target, filepath.Join(s.path, "volumes", "vol-1.raw")); err != nil {
		t.Fatal(err)
	}
	_, err := s.driver.Storage.StatVolume(t.Context(), s.volume("vol-1"))
	expectFault(t, err, conflict, "not-a-file")
	_, err = s.driver.Storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
		Call: s.call("volume", "vol-1"), Pool: s.pool, SizeBytes: 100 * mebibyte,
	})
	expectFault(t, err, conflict, "not-a-file")
	_, err = s.driver.Storage.CreateSnapshot(t.Context(), s.snapshot("snap-1", "vol-1"))
	expectFault(t, err, conflict, "not-a-file")
	if info, err := os.Stat(target); err != nil || info.Size() != 6*mebibyte {
		t.Errorf("the link's target has %d bytes now, %v", info.Size(), err)
	}
}

func TestManyCreationsOfOneVolume(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	other := newDriver(t) // another version, at work in the same pool during a swap
	source := template(t, "raw")
	var group sync.WaitGroup
	for i := range 8 {
		driver := []driverpb.StorageServer{s.driver.Storage, other.Storage}[i%2]
		group.Go(func() {
			if _, err := driver.CreateVolume(t.Context(), s.clone("vol-1", "raw", 0, source, "raw")); err != nil {
				t.Errorf("creating: %v", err)
			}
		})
	}
	group.Wait()
	if got := s.files("volumes"); !slices.Equal(got, []string{"vol-1.raw"}) {
		t.Errorf("volumes = %v", got)
	}
	if got := s.files("staging"); len(got) > 0 {
		t.Errorf("staging = %v", got)
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	source := template(t, "raw")
	for _, format := range []string{"raw", "qcow2"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.driver.Storage.CreateVolume(ctx, s.clone("vol-1", format, 0, source, "raw"))
		if err == nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error = %v, want context.Canceled", format, err)
		}
	}
	s.nothingLeft()
}
