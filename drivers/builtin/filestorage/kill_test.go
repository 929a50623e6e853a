package filestorage_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// killedMebibytes is how much there is to copy: enough for a kill to come in the middle.
const killedMebibytes = 256

// killed is a driver in a process of its own with an open pool.
type killed struct {
	*site
	process drivertest.Instance
}

func startKilled(t *testing.T) *killed {
	t.Helper()
	k := &killed{
		site:    &site{t: t, path: diskdirtest.Mount(t, diskdirtest.Ext4, 1500)},
		process: drivertest.Process(drivertest.ProcessOptions{})(t),
	}
	reply := k.openAgain()
	k.pool = &driverpb.PoolRef{Resource: ref("pool", poolID), Handle: reply.GetHandle()}
	return k
}

func (k *killed) storage() driverpb.StorageClient { return driverpb.NewStorageClient(k.process.Conn()) }

func (k *killed) openAgain() *driverpb.PoolReply {
	k.t.Helper()
	reply, err := k.storage().OpenPool(k.t.Context(), &driverpb.OpenPoolRequest{Call: k.call("pool", poolID)})
	if err != nil {
		k.t.Fatalf("opening the pool: %v", err)
	}
	return reply
}

// killDuring kills the driver once the call has written something and has not published it. False when the call was
// faster.
func (k *killed) killDuring(call func(ctx context.Context) error) bool {
	k.t.Helper()
	done := make(chan error, 1)
	go func() { done <- call(context.WithoutCancel(k.t.Context())) }()
	staging := filepath.Join(k.path, "staging")
	for {
		select {
		case err := <-done:
			if err != nil {
				k.t.Fatalf("the call failed before the driver was killed: %v", err)
			}
			return false
		default:
		}
		if begun(staging) {
			break
		}
	}
	k.process.Kill(k.t)
	if err := <-done; err == nil {
		return false
	}
	return true
}

// abandoned waits until no process has a staged file open: a qemu-img must not outlive the driver that started it.
func (k *killed) abandoned() {
	k.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for k.anyOpen() {
		if time.Now().After(deadline) {
			k.t.Fatal("a process still has a staged file open after the driver was killed")
		}
		<-time.After(time.Millisecond)
	}
}

func (k *killed) anyOpen() bool {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		k.t.Fatal(err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(target, filepath.Join(k.path, "staging")+"/") {
			return true
		}
	}
	return false
}

// cleared restarts the driver and checks that nothing half made is left.
func (k *killed) cleared() {
	k.t.Helper()
	k.abandoned()
	names, _ := filepath.Glob(filepath.Join(k.path, "staging", "*.data"))
	if len(names) == 0 {
		k.t.Error("the kill left nothing to clear away: it did not come in the middle")
	}
	for _, name := range names {
		var stat unix.Stat_t
		if err := unix.Stat(name, &stat); err != nil || stat.Blocks*512 > killedMebibytes*mebibyte*9/10 {
			k.t.Errorf("%d bytes were written, %v: the work went on after the driver was killed", stat.Blocks*512, err)
		}
	}
	k.process.Restart(k.t)
	k.openAgain()
	if left := k.files("staging"); len(left) > 0 {
		k.t.Errorf("after the pool was opened again staging holds %v", left)
	}
}

func TestKillInTheMiddleOfAClone(t *testing.T) {
	t.Parallel()
	plain := bigTemplate(t, killedMebibytes)
	packed := filepath.Join(t.TempDir(), "packed")
	qemu(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", plain, packed)
	want := contentHash(t, plain, "raw")
	for name, test := range map[string]struct{ path, from, into string }{
		"copy": {plain, "raw", "raw"}, "convert": {packed, "qcow2", "raw"}, "convert back": {plain, "raw", "qcow2"},
	} {
		t.Run(name, func(t *testing.T) {
			k := startKilled(t)
			hit := false
			for attempt := range 10 {
				req := k.clone("vol-"+string(rune('a'+attempt)), test.into, 0, test.path, test.from)
				if hit = k.killDuring(func(ctx context.Context) error {
					_, err := k.storage().CreateVolume(ctx, req)
					return err
				}); !hit {
					k.process.Restart(t)
					continue
				}
				if left := k.files("volumes"); len(left) != attempt {
					t.Errorf("volumes = %v after the kill", left)
				}
				k.cleared()
				req.Call.Repeat = true
				made, err := k.storage().CreateVolume(t.Context(), req)
				if err != nil {
					t.Fatalf("repeating it: %v", err)
				}
				if got := contentHash(t, made.GetDisk().GetPath(), test.into); got != want {
					t.Error("the content differs")
				}
				diskOK(t, made.GetDisk())
				break
			}
			if !hit {
				t.Error("no kill came in the middle")
			}
		})
	}
}

// TestKillInTheMiddleOfARevert leaves the volume with its old content, all of it.
func TestKillInTheMiddleOfARevert(t *testing.T) {
	t.Parallel()
	k := startKilled(t)
	made, err := k.storage().CreateVolume(t.Context(), k.clone("vol-1", "raw", 0, bigTemplate(t, killedMebibytes), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	before := contentHash(t, made.GetDisk().GetPath(), "raw")
	if _, err := k.storage().CreateSnapshot(t.Context(), k.snapshot("snap-1", "vol-1")); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		writeDisk(t, made.GetDisk(), 7, 0, 64*mebibyte)
		changed := contentHash(t, made.GetDisk().GetPath(), "raw")
		req := k.snapshot("snap-1", "vol-1")
		hit := k.killDuring(func(ctx context.Context) error {
			_, err := k.storage().RevertSnapshot(ctx, req)
			return err
		})
		if !hit {
			k.process.Restart(t)
			continue
		}
		if got := contentHash(t, made.GetDisk().GetPath(), "raw"); got != changed && got != before {
			t.Error("the volume is a mixture")
		}
		k.abandoned()
		k.process.Restart(t)
		k.openAgain()
		req.Call.Repeat = true
		if _, err := k.storage().RevertSnapshot(t.Context(), req); err != nil {
			t.Fatalf("repeating it: %v", err)
		}
		if got := contentHash(t, made.GetDisk().GetPath(), "raw"); got != before {
			t.Error("the volume was not reverted")
		}
		if left := k.files("staging"); len(left) > 0 {
			t.Errorf("staging = %v", left)
		}
		return
	}
	t.Error("no kill came in the middle")
}

// TestCancelInTheMiddle cancels while qemu-img is at work: it must be gone, and what it made too.
func TestCancelInTheMiddle(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	source := bigTemplate(t, killedMebibytes)
	for _, format := range []string{"raw", "qcow2"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.driver.Storage.CreateVolume(ctx, s.clone("vol-1", format, 0, source, "raw"))
			done <- err
		}()
		for !begun(filepath.Join(s.path, "staging")) && len(done) == 0 {
			continue
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error = %v, want context.Canceled", format, err)
		}
		(&killed{site: s}).abandoned()
		s.nothingLeft()
	}
}

// TestSecondInstanceLeavesTheFirstItsWork opens a pool by another process while the first is at work in it, as during
// a swap.
func TestSecondInstanceLeavesTheFirstItsWork(t *testing.T) {
	t.Parallel()
	k := startKilled(t)
	other := newDriver(t)
	done := make(chan error, 1)
	req := k.clone("vol-1", "raw", 0, bigTemplate(t, killedMebibytes), "raw")
	go func() {
		_, err := k.storage().CreateVolume(t.Context(), req)
		done <- err
	}()
	for opened := 0; ; opened++ {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("creating: %v", err)
			}
			if opened == 0 {
				t.Error("the pool was not opened meanwhile")
			}
			if _, err := os.Stat(filepath.Join(k.path, "volumes", "vol-1.raw")); errors.Is(err, fs.ErrNotExist) {
				t.Error("the volume is missing")
			}
			return
		default:
		}
		call := &driverpb.OpenPoolRequest{Call: k.call("pool", poolID)}
		if _, err := other.Storage.OpenPool(t.Context(), call); err != nil {
			t.Errorf("opening by the second: %v", err)
		}
	}
}
