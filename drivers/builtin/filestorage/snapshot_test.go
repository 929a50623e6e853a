package filestorage_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

func stat(t drivertest.T, s *site) int64 {
	t.Helper()
	reply, err := s.driver.Storage.StatPool(t.Context(), &driverpb.PoolRequest{Call: s.call("pool", poolID)})
	if err != nil {
		t.Fatal(err)
	}
	return int64(reply.GetUsedBytes())
}

// TestSnapshotsAreIndependent takes three, reverts back and forth and deletes in an odd order; the content is checked
// by hash each time.
func TestSnapshotsAreIndependent(t *testing.T) {
	t.Parallel()
	pools(t, func(t *testing.T, s *site) {
		for _, format := range []string{"raw", "qcow2"} {
			id := "vol-" + format
			disk := s.create(s.request(id, format, 8*mebibyte)).GetDisk()
			var hashes []string
			for i := range 3 {
				writeDisk(t, disk, byte(i+1), i*mebibyte, 2*mebibyte)
				taken := s.take(fmt.Sprintf("snap-%s-%d", format, i), id)
				if taken.GetSizeBytes() != 8*mebibyte || taken.GetVolumeDisk() != nil {
					t.Errorf("taken %v", taken)
				}
				hashes = append(hashes, contentHash(t, disk.GetPath(), format))
			}
			writeDisk(t, disk, 99, 0, 8*mebibyte)
			revert := func(i int) {
				t.Helper()
				reply, err := s.driver.Storage.RevertSnapshot(t.Context(),
					s.snapshot(fmt.Sprintf("snap-%s-%d", format, i), id))
				if err != nil || reply.GetDisk().GetPath() != disk.GetPath() {
					t.Fatalf("reverting to %d: %v, %v", i, reply, err)
				}
				if got := contentHash(t, disk.GetPath(), format); got != hashes[i] {
					t.Errorf("%s: reverted to %d the content differs", format, i)
				}
				diskOK(t, disk)
			}
			revert(1)
			writeDisk(t, disk, 55, 0, mebibyte) // must not reach the snapshot
			revert(0)
			revert(2)
			for range 2 {
				if _, err := s.driver.Storage.DeleteSnapshot(t.Context(), s.snapshot("snap-"+format+"-1", id)); err != nil {
					t.Errorf("deleting the middle one: %v", err)
				}
			}
			revert(0)
			revert(2)
			_, err := s.driver.Storage.RevertSnapshot(t.Context(), s.snapshot("snap-"+format+"-1", id))
			expectFault(t, err, notFound, "snapshot-missing")
		}
	})
}

func TestSnapshotOutlivesItsVolume(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2"} {
		s := openSite(t, t.TempDir(), nil)
		disk := s.create(s.request("vol-1", format, 8*mebibyte)).GetDisk()
		writeDisk(t, disk, 3, mebibyte, mebibyte)
		want := contentHash(t, disk.GetPath(), format)
		handle := s.take("snap-1", "vol-1").GetHandle()
		if _, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1")); err != nil {
			t.Fatal(err)
		}
		_, err := s.driver.Storage.RevertSnapshot(t.Context(), s.snapshot("snap-1", "vol-1"))
		expectFault(t, err, notFound, "volume-missing")
		for i, known := range []*driverpb.Handle{handle, nil} { // with the handle, and found on disk
			for _, into := range []string{"raw", "qcow2"} {
				req := s.request(fmt.Sprintf("vol-%s-%d", into, i), into, 0)
				req.Source = &driverpb.CreateVolumeRequest_Snapshot{
					Snapshot: &driverpb.SnapshotSource{Resource: ref("snapshot", "snap-1"), Handle: known},
				}
				made := s.create(req)
				if got := contentHash(t, made.GetDisk().GetPath(), into); got != want {
					t.Errorf("a volume made %s from a snapshot of %s differs", into, format)
				}
			}
		}
	}
}

func TestSnapshotIsTakenOnce(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	disk := s.create(s.request("vol-1", "raw", 8*mebibyte)).GetDisk()
	s.create(s.request("vol-2", "raw", 8*mebibyte))
	s.take("snap-1", "vol-1")
	want := contentHash(t, filepath.Join(s.path, "snapshots", "snap-1@vol-1.raw"), "raw")
	writeDisk(t, disk, 9, 0, mebibyte)
	s.take("snap-1", "vol-1")
	if got := contentHash(t, filepath.Join(s.path, "snapshots", "snap-1@vol-1.raw"), "raw"); got != want {
		t.Error("asked again, a later moment was taken under the same id")
	}
	_, err := s.driver.Storage.CreateSnapshot(t.Context(), s.snapshot("snap-1", "vol-2"))
	expectFault(t, err, conflict, "snapshot-exists")
	_, err = s.driver.Storage.RevertSnapshot(t.Context(), s.snapshot("snap-1", "vol-2"))
	expectFault(t, err, conflict, "snapshot-of-another")
	_, err = s.driver.Storage.CreateSnapshot(t.Context(), s.snapshot("snap-2", "vol-9"))
	expectFault(t, err, notFound, "volume-missing")
	_, err = s.driver.Storage.CreateSnapshot(t.Context(), s.snapshot("snap-2", ""))
	expectFault(t, err, invalid, "volume-required")
}

func TestRevertAlsoRevertsTheSize(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"raw", "qcow2"} {
		s := openSite(t, t.TempDir(), nil)
		s.create(s.request("vol-1", format, 8*mebibyte))
		s.take("snap-1", "vol-1")
		if _, err := s.driver.Storage.GrowVolume(t.Context(), &driverpb.GrowVolumeRequest{
			Call: s.call("volume", "vol-1"), Pool: s.pool, SizeBytes: 32 * mebibyte,
		}); err != nil {
			t.Fatal(err)
		}
		reply, err := s.driver.Storage.RevertSnapshot(t.Context(), s.snapshot("snap-1", "vol-1"))
		if err != nil || reply.GetSizeBytes() != 8*mebibyte {
			t.Errorf("%s: reverted to %d bytes, %v; want %d", format, reply.GetSizeBytes(), err, 8*mebibyte)
		}
	}
}

// TestSnapshotOfAVolumeInUse takes snapshots while a process has the disk open and holds its writes, as the engine
// makes a guest do.
func TestSnapshotOfAVolumeInUse(t *testing.T) {
	t.Parallel()
	pools(t, func(t *testing.T, s *site) {
		for _, format := range []string{"raw", "qcow2"} {
			id := "vol-" + format
			disk := s.create(s.request(id, format, 8*mebibyte)).GetDisk()
			guest, release := holdOpen(t, disk)
			guest("write -P 42 1M 2M")
			guest("flush")
			s.take("snap-"+format, id)
			guest("write -P 43 0 4M")
			if _, err := s.driver.Storage.DeleteSnapshot(t.Context(), s.snapshot("snap-other", id)); err != nil {
				t.Errorf("deleting a snapshot under a guest: %v", err)
			}
			release()
			path := filepath.Join(s.path, "snapshots", "snap-"+format+"@"+id+"."+format)
			qemu(t, "qemu-io", "-f", format, "-r", "-c", "read -P 0 0 1M", "-c", "read -P 42 1M 2M", "-c",
				"read -P 0 3M 5M", path)
			if out := qemu(t, "qemu-io", "-f", format, "-r", "-c", "read -P 42 1M 2M", path); strings.Contains(out,
				"Pattern verification failed") {
				t.Errorf("%s: the snapshot is not of the moment it was taken:\n%s", format, out)
			}
			if format == "qcow2" {
				qemu(t, "qemu-img", "check", "-q", "-f", format, path)
				qemu(t, "qemu-img", "check", "-q", "-f", format, disk.GetPath())
			}
		}
	})
}

// TestVolumeThatChangesWhileCopiedIsNotASnapshot writes to a volume without pause, on a file system that can't share
// blocks: a mixture of moments must not become a snapshot.
func TestVolumeThatChangesWhileCopiedIsNotASnapshot(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil) // the directory of tests does not share blocks; if it does, there is no mixture
	s.create(s.clone("vol-1", "raw", 0, bigTemplate(t, 64), "raw"))
	file, err := os.OpenFile(filepath.Join(s.path, "volumes", "vol-1.raw"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := byte(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = file.WriteAt([]byte{i}, 0)
				_, _ = file.WriteAt([]byte{i}, 63*mebibyte)
			}
		}
	}()
	_, err = s.driver.Storage.CreateSnapshot(t.Context(), s.snapshot("snap-1", "vol-1"))
	close(stop)
	<-stopped
	if shares(t, s) {
		if err != nil {
			t.Errorf("taking a snapshot by sharing blocks: %v", err)
		}
		return
	}
	expectFault(t, err, transient, "volume-changed")
	if got := s.files("snapshots"); len(got) > 0 {
		t.Errorf("snapshots = %v, want none", got)
	}
}

func shares(t drivertest.T, s *site) bool {
	t.Helper()
	reply, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	return reply.GetFacts()["sharesBlocks"] == "true"
}

func TestObserveTellsAll(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	s.create(s.request("vol-1", "raw", 8*mebibyte))
	s.create(s.request("vol-2", "qcow2", 16*mebibyte))
	s.take("snap-1", "vol-1")
	s.take("snap-2", "vol-2")
	for _, name := range []string{
		"volumes/holiday.jpg", "volumes/UPPER.raw", "volumes/-x.raw", "snapshots/snap-3.raw", "notes.txt",
		"staging/vol-9.dead.data", "volumes/\xff\xfe.raw",
	} {
		if err := os.WriteFile(filepath.Join(s.path, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, seen := range s.observe("pool", poolID) {
		line := fmt.Sprintf("%s %s %s %d", seen.GetName(), seen.GetResource().GetId(), seen.GetState(), seen.GetBytes())
		got = append(got, line)
	}
	slices.Sort(got)
	want := []string{
		"notes.txt  foreign 1",
		"snapshots/snap-1@vol-1.raw snap-1 present 8388608",
		"snapshots/snap-2@vol-2.qcow2 snap-2 present 16777216",
		"snapshots/snap-3.raw  foreign 1",
		"staging/vol-9.dead.data  foreign 1",
		"volumes/-x.raw  foreign 1",
		"volumes/?.raw  foreign 1",
		"volumes/UPPER.raw  foreign 1",
		"volumes/holiday.jpg  foreign 1",
		"volumes/vol-1.raw vol-1 present 8388608",
		"volumes/vol-2.qcow2 vol-2 present 16777216",
	}
	if !slices.Equal(got, want) {
		t.Errorf("observed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if of := s.observe("volume", "vol-2"); len(of) != 1 || of[0].GetResource().GetId() != "snap-2" {
		t.Errorf("snapshots of vol-2: %v", of)
	}
	if got := s.files("staging"); len(got) != 1 {
		t.Errorf("observing changed the pool: staging holds %v", got)
	}
}
