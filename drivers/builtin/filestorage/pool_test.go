package filestorage_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

func TestUnknownFormat(t *testing.T) {
	t.Parallel()
	s := &site{t: t, driver: newDriver(t), path: t.TempDir(), more: map[string]any{"format": "vmdk"}}
	_, err := s.open()
	if fault := expectFault(t, err, invalid, "format-unknown"); fault.GetField() == "" {
		t.Errorf("the fault names no field: %v", fault)
	}
}

func TestPoolOpensAgainAndCloses(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	first, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	s.create(s.request("vol-1", "raw", mebibyte))
	closing := &driverpb.PoolRequest{Call: s.call("pool", poolID)}
	closing.Call.Handle = first.GetHandle()
	_, err = s.driver.Storage.ClosePool(t.Context(), closing)
	expectFault(t, err, conflict, "not-empty")
	if _, err := s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.driver.Storage.ClosePool(t.Context(), closing); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
	if left, _ := os.ReadDir(s.path); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.driver.Storage.ClosePool(t.Context(), closing); err != nil {
		t.Errorf("closing a pool whose directory is gone: %v", err)
	}
}

// TestUnmountedPool hides the pool behind another file system, as a failed mount does.
func TestUnmountedPool(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	s.create(s.request("vol-1", "raw", mebibyte))
	uncover := diskdirtest.Cover(t, s.path)
	opening := &driverpb.OpenPoolRequest{Call: s.call("pool", poolID)}
	opening.Call.Handle = s.pool.GetHandle()
	_, err := s.driver.Storage.OpenPool(t.Context(), opening)
	expectFault(t, err, transient, "not-mounted")
	_, err = s.driver.Storage.ClosePool(t.Context(), &driverpb.PoolRequest{Call: opening.GetCall()})
	expectFault(t, err, transient, "not-mounted")
	_, err = s.driver.Storage.CreateVolume(t.Context(), s.request("vol-2", "raw", mebibyte))
	expectFault(t, err, transient, "not-mounted")
	_, err = s.driver.Storage.DeleteVolume(t.Context(), s.volume("vol-1"))
	expectFault(t, err, transient, "not-mounted")
	probe, err := s.driver.Resources.Probe(t.Context(), s.call("pool", poolID))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_UNREADY || probe.GetReason() == "" {
		t.Errorf("probe = %v, %v; want unready with a reason", probe, err)
	}
	uncover()
	probe, err = s.driver.Resources.Probe(t.Context(), s.call("volume", "vol-1"))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Errorf("probe of the volume = %v, %v; want ready", probe, err)
	}
}

func TestPoolReportsItsFileSystem(t *testing.T) {
	t.Parallel()
	pools(t, func(t *testing.T, s *site) {
		reply, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		facts := reply.GetFacts()
		if facts["fileSystem"] != filepath.Base(s.path) {
			t.Errorf("facts = %v", facts)
		}
		if shares := facts["sharesBlocks"] == "true"; shares == (facts["fileSystem"] == "ext4") {
			t.Errorf("facts = %v", facts)
		}
		s.create(s.clone("vol-1", "raw", 0, bigTemplate(t, 8), "raw"))
		before := reply.GetUsedBytes()
		reply, err = s.open()
		if err != nil || reply.GetUsedBytes() < before || reply.GetTotalBytes() <= reply.GetUsedBytes() {
			t.Errorf("used %d, then %d of %d, %v", before, reply.GetUsedBytes(), reply.GetTotalBytes(), err)
		}
		taken, err := strconv.ParseInt(reply.GetFacts()["allocatedBytes"], 10, 64)
		if err != nil || taken < 8*mebibyte || taken > 9*mebibyte || reply.GetFacts()["volumes"] != "1" {
			t.Errorf("facts = %v after one volume of 8 MiB", reply.GetFacts())
		}
	})
}

func TestFreeSpaceIsKept(t *testing.T) {
	t.Parallel()
	point := diskdirtest.Mount(t, diskdirtest.Ext4, 64)
	s := openSite(t, point, map[string]any{"minimumFreeBytes": float64(20 * mebibyte)})
	source := bigTemplate(t, 24)
	s.create(s.clone("vol-1", "raw", 0, source, "raw"))
	for _, format := range []string{"raw", "qcow2"} {
		_, err := s.driver.Storage.CreateVolume(t.Context(), s.clone("vol-2", format, 0, source, "raw"))
		expectFault(t, err, exhausted, "no-space")
	}
	_, err := s.driver.Storage.CreateSnapshot(t.Context(), s.snapshot("snap-1", "vol-1"))
	expectFault(t, err, exhausted, "no-space")
	s.more["minimumFreeBytes"] = float64(40 * mebibyte)
	_, err = s.driver.Storage.CreateVolume(t.Context(), s.request("vol-2", "raw", mebibyte))
	expectFault(t, err, exhausted, "no-space")
	probe, err := s.driver.Resources.Probe(t.Context(), s.call("pool", poolID))
	if err != nil || probe.GetHealth() != driverpb.ProbeReply_HEALTH_DEGRADED {
		t.Errorf("probe = %v, %v; want degraded", probe, err)
	}
	if got := s.files("staging"); len(got) > 0 {
		t.Errorf("staging = %v", got)
	}
}

// TestDiskFullInTheMiddle fills the file system between the check and the end of the work.
func TestDiskFullInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]diskdirtest.Kind{"ext4": diskdirtest.Ext4, "xfs": diskdirtest.XFS} {
		for _, format := range []string{"raw", "qcow2"} {
			t.Run(name+" "+format, func(t *testing.T) {
				t.Parallel()
				size := map[diskdirtest.Kind]int64{diskdirtest.Ext4: 64, diskdirtest.XFS: diskdirtest.SmallestXFS}[kind]
				s := openSite(t, diskdirtest.Mount(t, kind, size), nil)
				reply, err := s.open()
				if err != nil {
					t.Fatal(err)
				}
				// There is room when it is checked; somebody else takes it while the copy is made.
				source := bigTemplate(t, int((reply.GetTotalBytes()-reply.GetUsedBytes())>>20)-8)
				for i := 0; err == nil; i++ {
					if i == 20 {
						t.Fatal("the copy was made each time before somebody else took the room")
					}
					err = s.cloneBeside(fmt.Sprint("vol-", i), format, source, reply.GetUsedBytes()+mebibyte)
				}
				fault := expectFault(t, err, exhausted, "no-space")
				if !strings.Contains(fault.GetMessage(), "is full") {
					t.Errorf("refused before it began: %v", fault)
				}
				s.nothingLeft()
				waitForSpace(t, s, reply.GetUsedBytes()+mebibyte)
			})
		}
	}
}

// cloneBeside makes a copy while somebody else takes all room there is. A copy that was made all the same, before that,
// is deleted.
func (s *site) cloneBeside(volume, format, source string, used uint64) error {
	s.t.Helper()
	ballast := filepath.Join(s.path, "volumes", "ballast")
	stop := fillOnceBegun(s.t, ballast)
	_, err := s.driver.Storage.CreateVolume(s.t.Context(), s.clone(volume, format, 0, source, "raw"))
	stop()
	if err := os.Remove(ballast); err != nil {
		s.t.Fatal(err)
	}
	if err != nil {
		return err
	}
	if _, err := s.driver.Storage.DeleteVolume(s.t.Context(), s.volume(volume)); err != nil {
		s.t.Fatal(err)
	}
	waitForSpace(s.t, s, used)
	return nil
}

// waitForSpace waits until no more than this is used: XFS frees what was deleted in the background.
func waitForSpace(t drivertest.T, s *site, most uint64) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		reply, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		if reply.GetUsedBytes() <= most {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are used, want at most %d", reply.GetUsedBytes(), most)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// fillOnceBegun takes the last space of a file system once somebody else has begun to use it.
func fillOnceBegun(t drivertest.T, path string) (stop func()) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer func() { _ = file.Close() }()
		staging := filepath.Join(filepath.Dir(filepath.Dir(path)), "staging")
		block := make([]byte, mebibyte)
		for {
			select {
			case <-stopping:
				return
			default:
			}
			if !begun(staging) {
				continue
			}
			if _, err := file.Write(block); err != nil {
				return // full
			}
		}
	}()
	return func() {
		close(stopping)
		<-stopped
	}
}

// begun tells whether a staged file has content.
func begun(staging string) bool {
	names, _ := filepath.Glob(filepath.Join(staging, "*.data"))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}
