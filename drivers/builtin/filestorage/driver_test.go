package filestorage_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/filestorage"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	mebibyte = 1 << 20
	poolID   = "pool-1"
)

// site is a driver with an open pool.
type site struct {
	t      drivertest.T
	driver sdk.Driver
	path   string
	more   map[string]any // further properties
	pool   *driverpb.PoolRef
}

func newDriver(t drivertest.T) sdk.Driver {
	t.Helper()
	driver, err := filestorage.New(sdk.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	return driver
}

// openSite opens a pool in a directory.
func openSite(t drivertest.T, path string, more map[string]any) *site {
	t.Helper()
	s := &site{t: t, driver: newDriver(t), path: path, more: more}
	reply, err := s.open()
	if err != nil {
		t.Fatalf("opening a pool at %s: %v", path, err)
	}
	s.pool = &driverpb.PoolRef{Resource: ref("pool", poolID), Handle: reply.GetHandle()}
	return s
}

func (s *site) open() (*driverpb.PoolReply, error) {
	return s.driver.Storage.OpenPool(s.t.Context(), &driverpb.OpenPoolRequest{Call: s.call("pool", poolID)})
}

func ref(kind, id string) *driverpb.Ref { return &driverpb.Ref{Kind: kind, Id: id} }

func (s *site) call(kind, id string) *driverpb.Call {
	s.t.Helper()
	all := map[string]any{"path": s.path, "minimumFreeBytes": float64(0)}
	maps.Copy(all, s.more)
	properties, err := structpb.NewStruct(all)
	if err != nil {
		s.t.Fatal(err)
	}
	return &driverpb.Call{Token: "op/" + id, Resource: ref(kind, id), Epoch: 1, Properties: properties}
}

// request is a creation of a volume.
func (s *site) request(id, format string, size uint64) *driverpb.CreateVolumeRequest {
	return &driverpb.CreateVolumeRequest{Call: s.call("volume", id), Pool: s.pool, SizeBytes: size, Format: format}
}

func (s *site) clone(id, format string, size uint64, path, from string) *driverpb.CreateVolumeRequest {
	req := s.request(id, format, size)
	req.Source = &driverpb.CreateVolumeRequest_Image{Image: &driverpb.Image{Path: path, Format: from}}
	return req
}

func (s *site) create(req *driverpb.CreateVolumeRequest) *driverpb.VolumeReply {
	s.t.Helper()
	reply, err := s.driver.Storage.CreateVolume(s.t.Context(), req)
	if err != nil {
		s.t.Fatalf("creating volume %s: %v", req.GetCall().GetResource().GetId(), err)
	}
	return reply
}

func (s *site) volume(id string) *driverpb.VolumeRequest {
	return &driverpb.VolumeRequest{Call: s.call("volume", id), Pool: s.pool}
}

func (s *site) snapshot(id, volume string) *driverpb.SnapshotRequest {
	return &driverpb.SnapshotRequest{Call: s.call("snapshot", id), Pool: s.pool, Volume: ref("volume", volume)}
}

func (s *site) take(id, volume string) *driverpb.SnapshotReply {
	s.t.Helper()
	reply, err := s.driver.Storage.CreateSnapshot(s.t.Context(), s.snapshot(id, volume))
	if err != nil {
		s.t.Fatalf("taking snapshot %s: %v", id, err)
	}
	return reply
}

func (s *site) observe(kind, id string) []*driverpb.Observed {
	s.t.Helper()
	var all []*driverpb.Observed
	err := s.driver.Resources.Observe(s.t.Context(), s.call(kind, id), func(seen *driverpb.Observed) error {
		all = append(all, seen)
		return nil
	})
	if err != nil {
		s.t.Fatalf("observing %s: %v", id, err)
	}
	return all
}

// files lists what is in a folder of the pool.
func (s *site) files(folder string) []string {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.path, folder))
	if err != nil {
		s.t.Fatal(err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// nothingLeft checks that a failure left nothing half made.
func (s *site) nothingLeft() {
	s.t.Helper()
	for _, folder := range []string{"volumes", "snapshots", "staging"} {
		if names := s.files(folder); len(names) > 0 {
			s.t.Errorf("left behind in %s: %v", folder, names)
		}
	}
}

// expectFault checks class and code of a fault.
func expectFault(t drivertest.T, err error, class driverpb.Class, code string) *driverpb.Fault {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code {
		t.Errorf("error = %v, want %v %q", err, class, code)
	}
	return fault
}

// qemu runs one of QEMU's tools on files of the test.
func qemu(t drivertest.T, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is missing: install the package qemu-utils", tool)
	}
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// writeDisk writes a pattern into a disk as a guest would, in place.
func writeDisk(t drivertest.T, disk *driverpb.Disk, pattern byte, offset, bytes int) {
	t.Helper()
	qemu(t, "qemu-io", "-f", disk.GetFormat(), "-c", fmt.Sprintf("write -P %d %d %d", pattern, offset, bytes), "-c",
		"flush", disk.GetPath())
}

// contentHash is the hash of what a guest sees in a disk.
func contentHash(t drivertest.T, path, format string) string {
	t.Helper()
	if format != "raw" {
		plain := filepath.Join(t.TempDir(), "plain")
		qemu(t, "qemu-img", "convert", "-f", format, "-O", "raw", path, plain)
		path = plain
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// template makes the content of a template: a raw disk of 6 MiB, and qcow2 ones of the same content.
func template(t drivertest.T, format string, options ...string) string {
	t.Helper()
	dir := t.TempDir()
	plain := filepath.Join(dir, "template.raw")
	content := make([]byte, 6*mebibyte)
	copy(content, "\xeb\x63\x90 boot code")
	for i := 2 * mebibyte; i < 3*mebibyte; i++ {
		content[i] = byte(i*i>>5 + i)
	}
	if err := os.WriteFile(plain, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if format == "raw" {
		return plain
	}
	path := filepath.Join(dir, "template."+format)
	qemu(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", format}, options...), plain, path)...)
	return path
}

// pools runs a test on a pool of every kind of file system.
func pools(t *testing.T, test func(t *testing.T, s *site)) {
	for kind, size := range map[diskdirtest.Kind]int64{
		diskdirtest.Ext4: 96, diskdirtest.XFS: diskdirtest.SmallestXFS, diskdirtest.Btrfs: diskdirtest.SmallestBtrfs,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, openSite(t, diskdirtest.Mount(t, kind, size), nil))
		})
	}
}

// diskOK checks a disk with QEMU's own checker, and that it refers to nothing.
func diskOK(t drivertest.T, disk *driverpb.Disk) {
	t.Helper()
	if disk.GetFormat() == "qcow2" {
		qemu(t, "qemu-img", "check", "-q", "-f", "qcow2", disk.GetPath())
	}
	info := qemu(t, "qemu-img", "info", "-f", disk.GetFormat(), disk.GetPath())
	if strings.Contains(info, "backing file") || strings.Contains(info, "data file") {
		t.Errorf("the disk refers to another file:\n%s", info)
	}
}
