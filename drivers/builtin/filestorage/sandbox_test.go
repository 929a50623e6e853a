package filestorage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/filestorage"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

const dataGID = 62000

// openDir makes a directory that drivers' users can reach.
func openDir(t drivertest.T, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestInsideTheSandbox runs the driver as a host does: as a user of its own, confined to what its manifest and the
// grants say, qemu-img with it.
func TestInsideTheSandbox(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(host.Config{StateDir: filepath.Join(openDir(t, 0o711), "host"), DataGID: dataGID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	instance, err := h.Start(t.Context(), filestorage.Manifest(self), host.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(context.WithoutCancel(t.Context()), instance.Name()); err != nil {
			t.Errorf("stopping the driver: %v", err)
		}
	})
	if err := instance.Await(t.Context(), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	path, images := openDir(t, 0o755), openDir(t, 0o755)
	if err := h.EnsureGrants(t.Context(), instance.Name(), []host.Grant{
		{Path: path, ReadWrite: true}, {Path: images},
	}); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, path: path}
	storage := driverpb.NewStorageClient(instance.Conn())
	opened, err := storage.OpenPool(t.Context(), &driverpb.OpenPoolRequest{Call: s.call("pool", poolID)})
	if err != nil {
		log, _ := instance.LogTail(1 << 12)
		t.Fatalf("opening the pool: %v\n%s", err, log)
	}
	s.pool = &driverpb.PoolRef{Resource: ref("pool", poolID), Handle: opened.GetHandle()}
	want := contentHash(t, template(t, "raw"), "raw")
	for _, from := range []string{"raw", "qcow2"} {
		image := filepath.Join(images, "image."+from)
		content, err := os.ReadFile(template(t, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(image, content, 0o644); err != nil { //nolint:gosec // others must be able to read it
			t.Fatal(err)
		}
		for _, into := range []string{"raw", "qcow2"} {
			id := "vol-" + from + "-" + into
			made, err := storage.CreateVolume(t.Context(), s.clone(id, into, 8*mebibyte, image, from))
			if err != nil {
				t.Fatalf("%s as %s: %v", from, into, err)
			}
			checkOwner(t, made.GetDisk().GetPath())
			if _, err := storage.CreateSnapshot(t.Context(), s.snapshot("snap-"+from+"-"+into, id)); err != nil {
				t.Errorf("%s: taking a snapshot: %v", id, err)
			}
			if _, err := storage.RevertSnapshot(t.Context(), s.snapshot("snap-"+from+"-"+into, id)); err != nil {
				t.Errorf("%s: reverting: %v", id, err)
			}
			grown, err := storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
				Call: s.call("volume", id), Pool: s.pool, SizeBytes: 16 * mebibyte,
			})
			if err != nil || grown.GetSizeBytes() != 16*mebibyte {
				t.Errorf("%s: growing: %v", id, err)
			}
			if got := headHash(t, made.GetDisk(), 6*mebibyte); got != want {
				t.Errorf("%s: the content differs", id)
			}
			if _, err := storage.DeleteVolume(t.Context(), s.volume(id)); err != nil {
				t.Errorf("%s: deleting: %v", id, err)
			}
		}
	}
	elsewhere := filepath.Join(openDir(t, 0o755), "image")
	if err := os.WriteFile(elsewhere, make([]byte, mebibyte), 0o644); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	_, err = storage.CreateVolume(t.Context(), s.clone("vol-x", "raw", 0, elsewhere, "raw"))
	expectFault(t, err, driverpb.Class_CLASS_DENIED, "source-denied")
}

// checkOwner checks that guests' processes can open a volume, and others can't.
func checkOwner(t drivertest.T, path string) {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Uid == 0 || stat.Gid != dataGID || stat.Mode&0o777 != 0o660 {
		t.Errorf("%s belongs to %d:%d with mode %o", path, stat.Uid, stat.Gid, stat.Mode)
	}
}

// headHash is the hash of the beginning of a disk.
func headHash(t drivertest.T, disk *driverpb.Disk, n int) string {
	t.Helper()
	head := filepath.Join(t.TempDir(), "head")
	if err := os.WriteFile(head, readHead(t, disk, n), 0o600); err != nil {
		t.Fatal(err)
	}
	return contentHash(t, head, "raw")
}
