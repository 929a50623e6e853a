package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	l := &ledger{}
	var expect []string
	id := ""
	for round := range 4 {
		n := start(t, onDisk(dir, l))
		if id == "" {
			id = n.ClusterID()
		}
		if n.ClusterID() != id || id == "" {
			t.Errorf("round %d: the cluster is %q, it was %q", round, n.ClusterID(), id)
		}
		for i := range 5 {
			expect = append(expect, fmt.Sprint(round, i))
			propose(t, n, expect[len(expect)-1])
		}
		stop(t, n)
		if got := l.commands(); !slices.Equal(got, expect) {
			t.Fatalf("round %d: the ledger holds %q, want %q", round, got, expect)
		}
	}
	lost := &ledger{} // a state machine that lost its state
	n := start(t, onDisk(dir, lost))
	if got := lost.commands(); !slices.Equal(got, expect) {
		t.Errorf("a new ledger is given %q, want %q", got, expect)
	}
	if a, b := l.copy(), lost.copy(); !slices.Equal(a.Times, b.Times) || !slices.Equal(a.Indexes, b.Indexes) {
		t.Error("times and indexes are not the same the second time")
	}
	stop(t, n)
}

func TestDirectoryIsChecked(t *testing.T) {
	dir := t.TempDir()
	l := &ledger{}
	n := start(t, onDisk(dir, l))
	propose(t, n, "a")
	refuse := func(what string, target error, change func(*cluster.Config)) {
		t.Helper()
		cfg := onDisk(dir, l)
		change(&cfg)
		n, err := cluster.Open(cfg)
		if !errors.Is(err, target) {
			t.Errorf("opening %s = %v, want %v", what, err, target)
		}
		if err == nil {
			stop(t, n)
		}
	}
	refuse("a directory that is open", cluster.ErrLocked, func(*cluster.Config) {})
	cluster1 := n.ClusterID()
	stop(t, n)
	refuse("as another node", cluster.ErrForeign, func(c *cluster.Config) { c.NodeID = "n2" })
	refuse("as another cluster", cluster.ErrForeign, func(c *cluster.Config) { c.ClusterID = "other" })
	refuse("with a state that is ahead", cluster.ErrForeign, func(c *cluster.Config) {
		c.Machine = &ledger{state: ledgerState{Applied: 1000}}
	})
	refuse("with too little disk", cluster.ErrDiskLow, func(c *cluster.Config) {
		c.DiskLowBytes, c.DiskFloorBytes = 1<<60, 1<<60
	})
	identity := filepath.Join(dir, "identity.json")
	good, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string]string{"cut": "{", "empty": ""} {
		rewrite(t, identity, []byte(content))
		refuse("with an identity that is "+what, cluster.ErrCorrupt, func(*cluster.Config) {})
	}
	rewrite(t, identity, []byte(strings.Replace(string(good), `"format": 1`, `"format": 2`, 1)))
	refuse("with an identity of a newer format", cluster.ErrVersion, func(*cluster.Config) {})
	rewrite(t, identity, good)
	cfg := onDisk(dir, l)
	cfg.ClusterID = cluster1
	propose(t, start(t, cfg), "b")
	if got := l.commands(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the ledger holds %q", got)
	}
	for _, cfg := range []cluster.Config{{}, {NodeID: "n"}, {NodeID: "n", Machine: l}} {
		if _, err := cluster.Open(cfg); err == nil {
			t.Errorf("Open(%+v) succeeded", cfg)
		}
	}
}

func rewrite(tb testing.TB, path string, content []byte) {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// TestSnapshotKeepsTheLogShort lets the log grow far beyond what is due for a snapshot, then lets the state machine
// lose its state: it must get it back from the snapshot and the rest of the log.
func TestSnapshotKeepsTheLogShort(t *testing.T) {
	for name, limit := range map[string]func(*cluster.Config){
		"by bytes":   func(c *cluster.Config) { c.SnapshotBytes = 256 << 10 },
		"by entries": func(c *cluster.Config) { c.SnapshotEntries = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := &ledger{}
			cfg := onDisk(dir, l)
			cfg.TrailingBytes = 64 << 10
			snapshots := make(chan error, 1000)
			cfg.Metrics.Snapshotted = func(_ int64, _ time.Duration, err error) { snapshots <- err }
			limit(&cfg)
			n := start(t, cfg)
			for taken := 0; taken < 3; {
				propose(t, n, strings.Repeat("x", 10<<10)+fmt.Sprint(len(l.commands())))
				select {
				case err := <-snapshots:
					if err != nil {
						t.Fatal(err)
					}
					taken++
				default:
				}
			}
			if l.synced == 0 {
				t.Error("the state was never synced, but the log was cut")
			}
			first, err := firstIndex(n)
			if err != nil || first < 100 {
				t.Errorf("the log begins at %d (%v) after three snapshots, want more than 100", first, err)
			}
			stop(t, n)
			lost := &ledger{}
			cfg.Machine = lost
			n = start(t, cfg)
			if !slices.Equal(lost.commands(), l.commands()) {
				t.Errorf("a new ledger is given %d commands, want %d", len(lost.commands()), len(l.commands()))
			}
			propose(t, n, "goes on")
			stop(t, n)
		})
	}
}

// firstIndex asks raft for the first index of the log.
func firstIndex(n *cluster.Node) (first uint64, err error) {
	_, err = fmt.Sscan(n.Raft().Stats()["last_snapshot_index"], &first)
	return first, err
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := &ledger{}
	cfg := onDisk(dir, l)
	cfg.TrailingBytes = 1
	n := start(t, cfg)
	for i := range 20 {
		propose(t, n, fmt.Sprint(i))
	}
	if err := n.Snapshot(); err != nil {
		t.Fatal(err)
	}
	propose(t, n, "behind")
	stop(t, n)
	states, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin"))
	if err != nil || len(states) != 1 {
		t.Fatalf("snapshots: %q, %v", states, err)
	}
	good, err := os.ReadFile(states[0])
	if err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(dir, "snapshots", "9-9-9.tmp")
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{
		"cut": good[:len(good)/2], "flipped": flip(good, len(good)/2), "empty": {}, "foreign": []byte("something else"),
	} {
		rewrite(t, states[0], content)
		lost := &ledger{}
		cfg.Machine = lost
		if _, err := cluster.Open(cfg); err == nil {
			t.Errorf("a snapshot that is %s was restored", what)
		}
		if len(lost.commands()) > 0 {
			t.Errorf("a snapshot that is %s changed the state", what)
		}
	}
	// The state machine that still has its state does not need it.
	rewrite(t, states[0], good)
	cfg.Machine = l
	stop(t, start(t, cfg))
	if _, err := os.Stat(unfinished); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished snapshot was left: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "snapshots")); err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Open(cfg)
	want(t, "Open with the snapshot gone and the log cut", err, cluster.ErrCorrupt)
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// Damage in the last segment is found when the node is opened, damage before it when the entry is read.
func TestDamagedLogEntryEndsTheNode(t *testing.T) {
	for name, behind := range map[string]int{"in the last segment": 1, "before it": 40} {
		t.Run(name, func(t *testing.T) {
			cfg := onDisk(t.TempDir(), &ledger{})
			cfg.SegmentBytes = 16 << 10
			n := start(t, cfg)
			for _, command := range []string{"first", "the-one-to-damage"} {
				propose(t, n, command)
			}
			for range behind {
				propose(t, n, strings.Repeat("x", 1000))
			}
			stop(t, n)
			damageLog(t, cfg.Dir, "the-one-to-damage")
			l := &ledger{}
			cfg.Machine = l
			n, err := cluster.Open(cfg)
			if behind == 1 {
				want(t, "opening a node with a damaged log", err, cluster.ErrCorrupt)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want(t, "Failed() of a node with a damaged log", <-n.Failed(), cluster.ErrCorrupt)
			want(t, "Ready() of a node with a damaged log", n.Ready(t.Context()), cluster.ErrStopped)
			stop(t, n)
			if got := l.commands(); len(got) > 1 {
				t.Errorf("the ledger holds %q: it must not go beyond the damage", got)
			}
		})
	}
}

// damageLog changes a bit of a command in the first segment of a log.
func damageLog(t *testing.T, dir, command string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("log segments: %q, %v", segments, err)
	}
	content, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, segments[0], flip(content, strings.Index(string(content), command)))
}

func TestDiskLow(t *testing.T) {
	l := &ledger{}
	cfg := onDisk(t.TempDir(), l)
	cfg.DiskLowBytes, cfg.DiskFloorBytes = 1000, 500
	n := start(t, cfg)
	for _, c := range []struct {
		free              uint64
		propose, reserved bool
	}{{1000, true, true}, {999, false, true}, {500, false, true}, {499, false, false}} {
		n.SetDiskSpace(func(string) (uint64, uint64, error) { return c.free, 1 << 40, nil })
		check := func(what string, err error, ok bool, needed uint64) {
			t.Helper()
			if ok {
				want(t, what, err, nil)
				return
			}
			want(t, what, err, cluster.ErrDiskLow)
			if low, is := errors.AsType[*cluster.DiskLowError](err); !is || low.Free != c.free || low.Needed != needed {
				t.Errorf("%s with %d bytes free: %+v, want it to need %d", what, c.free, low, needed)
			}
		}
		_, err := n.Propose(t.Context(), []byte("normal"))
		check("Propose", err, c.propose, 1000)
		_, err = n.ProposeReserved(t.Context(), []byte("reserved"))
		check("ProposeReserved", err, c.reserved, 500)
	}
}

// TestLogFailureEndsTheNode takes the disk away under a node. What was answered must be there when it is back.
func TestLogFailureEndsTheNode(t *testing.T) {
	d := newDisk(t, "300M")
	dir := filepath.Join(d.mount, "node")
	l := &ledger{}
	cfg := onDisk(dir, l)
	n := start(t, cfg)
	propose(t, n, "before")
	takeAway(t, d.mount)
	_, err := n.Propose(t.Context(), []byte("during"))
	want(t, "Propose without a disk", err, cluster.ErrUnknownOutcome)
	want(t, "Failed() without a disk", <-n.Failed(), unix.EIO)
	_, err = n.Propose(t.Context(), []byte("after"))
	want(t, "Propose after the failure", err, cluster.ErrStopped)
	_ = n.Close() // it cannot be clean
	d.remount(t)
	lost := &ledger{}
	cfg.Machine = lost
	n = start(t, cfg)
	propose(t, n, "again")
	got := slices.DeleteFunc(lost.commands(), func(c string) bool { return c == "during" })
	if !slices.Equal(got, []string{"before", "again"}) {
		t.Errorf("with the disk back there is %q, want before and again", got)
	}
	stop(t, n)
}

// TestLogOnFullDisk fills the disk completely, which ends the node, and frees it again.
func TestLogOnFullDisk(t *testing.T) {
	d := newDisk(t, "100M")
	dir := filepath.Join(d.mount, "node")
	l := &ledger{}
	cfg := onDisk(dir, l)
	n := start(t, cfg)
	n.SetDiskSpace(func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil }) // as if nobody looked
	ballast := filepath.Join(d.mount, "ballast")
	d.fill(t, ballast)
	answered := 0
	for {
		if _, err := n.Propose(t.Context(), make([]byte, 100<<10)); err != nil {
			want(t, "Propose on a full disk", err, cluster.ErrUnknownOutcome)
			break
		}
		answered++
	}
	<-n.Failed()
	_ = n.Close()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	lost := &ledger{}
	cfg.Machine = lost
	n = start(t, cfg)
	if got := len(lost.commands()); got < answered || got > answered+1 {
		t.Errorf("after room was made there are %d commands, %d were answered", got, answered)
	}
	propose(t, n, "goes on")
	stop(t, n)
	t.Logf("%d commands fitted into the preallocated log", answered)
}

// disk is an ext4 file system in a file.
type disk struct{ image, mount string }

func newDisk(tb testing.TB, size string) disk {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Fatal("this test mounts file systems: run it as root")
	}
	d := disk{image: filepath.Join(tb.TempDir(), "disk"), mount: tb.TempDir()}
	run(tb, "truncate", "-s", size, d.image)
	run(tb, "mkfs.ext4", "-q", "-m", "0", d.image) // from e2fsprogs
	run(tb, "mount", "-o", "loop", d.image, d.mount)
	tb.Cleanup(func() { run(tb, "umount", d.mount) })
	return d
}

func (d disk) remount(tb testing.TB) {
	tb.Helper()
	run(tb, "umount", d.mount)
	run(tb, "mount", "-o", "loop", d.image, d.mount)
}

func (d disk) fill(tb testing.TB, file string) {
	tb.Helper()
	f, err := os.Create(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	for size := int64(1 << 26); size >= 1<<12; size /= 2 {
		for at := int64(0); err == nil; at += size {
			var info os.FileInfo
			if info, err = f.Stat(); err == nil {
				err = unix.Fallocate(int(f.Fd()), 0, info.Size(), size)
			}
		}
		if !errors.Is(err, unix.ENOSPC) {
			tb.Fatal(err)
		}
		err = nil
	}
}

func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// takeAway makes the file system of dir refuse everything from now on. It forgets what is not yet on its disk, but is
// no power loss: a sync that is under way may succeed and have written nothing. See package powercut.
func takeAway(tb testing.TB, dir string) {
	tb.Helper()
	const shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	f, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	flag := uint32(2) // without flushing the journal
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		tb.Fatalf("shutting the file system down: %v", errno)
	}
}
