package diskdir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const property = "/properties/path"

func pool(id string) diskdir.Owner { return diskdir.Owner{Kind: "pool", ID: id} }

func claim(t testing.TB, path string) *diskdir.Dir {
	t.Helper()
	dir, err := diskdir.Claim(path, pool("pool-1"), property, "disks")
	if err != nil {
		t.Fatalf("claiming %s: %v", path, err)
	}
	t.Cleanup(dir.Close)
	return dir
}

// write puts a file into a directory of the test.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestClaimSaysWhatIsWrongWithAPath(t *testing.T) {
	t.Parallel()
	for code, path := range map[string]func(t *testing.T) string{
		diskdir.CodePathInvalid: func(*testing.T) string { return "relative/path" },
		diskdir.CodePathMissing: func(t *testing.T) string { return filepath.Join(t.TempDir(), "nothing") },
		diskdir.CodePathNotDirectory: func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "file")
			write(t, path, "x")
			return path
		},
		diskdir.CodePathNotEmpty: func(t *testing.T) string {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "holiday.jpg"), "x")
			return dir
		},
		diskdir.CodePathTaken: func(t *testing.T) string {
			dir := t.TempDir()
			other, err := diskdir.Claim(dir, pool("pool-2"), property)
			if err != nil {
				t.Fatal(err)
			}
			other.Close()
			return dir
		},
		diskdir.CodePathNotOurs: func(t *testing.T) string {
			dir := t.TempDir()
			write(t, filepath.Join(dir, ".bulkhead.json"), "{not json")
			return dir
		},
		diskdir.CodePathNotWritable: func(t *testing.T) string {
			point := diskdirtest.Mount(t, diskdirtest.Ext4, diskdirtest.SmallestExt4)
			diskdirtest.Remount(t, point, true)
			return point
		},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			at := path(t)
			_, err := diskdir.Claim(at, pool("pool-1"), property, "disks")
			fault := sdk.FaultOf(err)
			if fault.GetCode() != code || fault.GetField() != property || fault.GetRemedy() == "" ||
				fault.GetClass() != driverpb.Class_CLASS_INVALID {
				t.Errorf("fault = %v, want %s at %s with a remedy", fault, code, property)
			}
		})
	}
}

func TestClaimTakesWhatMkfsMade(t *testing.T) {
	t.Parallel()
	point := diskdirtest.Mount(t, diskdirtest.Ext4, diskdirtest.SmallestExt4)
	claim(t, point)
	dir, err := diskdir.Open(point, pool("pool-1"), "disks")
	if err != nil {
		t.Fatalf("opening a directory that was claimed: %v", err)
	}
	dir.Close()
}

func TestTwoClaimsHaveOneWinner(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	var group sync.WaitGroup
	winners := make(chan string, 20)
	for i := range 20 {
		group.Go(func() {
			owner := pool("pool-" + string(rune('a'+i)))
			dir, err := diskdir.Claim(path, owner, property, "disks")
			if err == nil {
				dir.Close()
				winners <- owner.ID
				return
			}
			if fault := sdk.FaultOf(err); fault.GetCode() != diskdir.CodePathTaken &&
				fault.GetCode() != diskdir.CodePathNotEmpty {
				t.Errorf("a loser gets %v", err)
			}
		})
	}
	group.Wait()
	close(winners)
	won := slices.Collect(func(yield func(string) bool) {
		for id := range winners {
			if !yield(id) {
				return
			}
		}
	})
	if len(won) != 1 {
		t.Errorf("%d claims of one directory succeeded: %v", len(won), won)
	}
}

func TestUnmountedFileSystemIsNotUsed(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	claim(t, path)
	uncover := diskdirtest.Cover(t, path)
	_, err := diskdir.Open(path, pool("pool-1"), "disks")
	if fault := sdk.FaultOf(err); fault.GetCode() != diskdir.CodeNotMounted ||
		fault.GetClass() != driverpb.Class_CLASS_TRANSIENT {
		t.Errorf("opening a covered directory: %v, want a transient %s", err, diskdir.CodeNotMounted)
	}
	if names, _ := os.ReadDir(path); len(names) != 0 {
		t.Errorf("something was written to the file system on top: %v", names)
	}
	uncover()
	dir, err := diskdir.Open(path, pool("pool-1"), "disks")
	if err != nil {
		t.Fatalf("opening it uncovered: %v", err)
	}
	dir.Close()
}

func TestOpenRefusesAnotherOwner(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	claim(t, path)
	_, err := diskdir.Open(path, pool("pool-2"), "disks")
	if fault := sdk.FaultOf(err); fault.GetClass() != driverpb.Class_CLASS_CONFLICT {
		t.Errorf("opening the directory of pool-1 for pool-2: %v, want a conflict", err)
	}
}

func TestModesLetTheGroupIn(t *testing.T) {
	path := t.TempDir()
	if err := os.Chown(path, -1, 62000); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o770|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	defer unix.Umask(unix.Umask(0o077))
	dir := claim(t, path)
	staged, err := dir.Stage("vol-1")
	if err != nil {
		t.Fatal(err)
	}
	defer staged.Discard()
	if err := staged.Publish("disks", "vol-1.raw"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{
		"disks": unix.S_IFDIR | 0o2770, "staging": unix.S_IFDIR | 0o2770,
		"disks/vol-1.raw": unix.S_IFREG | 0o660, ".bulkhead.json": unix.S_IFREG | 0o660,
	} {
		var stat unix.Stat_t
		if err := unix.Stat(filepath.Join(path, name), &stat); err != nil {
			t.Fatal(err)
		}
		if stat.Mode != want || stat.Gid != 62000 {
			t.Errorf("%s has mode %o and group %d, want %o and 62000", name, stat.Mode, stat.Gid, want)
		}
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := claim(t, path)
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "do not read")
	for name, target := range map[string]string{"out": secret, "in": "real", "dots": "../../etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(path, "disks", name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(path, "disks", "real"), "x")
	if err := unix.Mkfifo(filepath.Join(path, "disks", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(path, "disks", "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out", "in", "dots", "pipe", "folder"} {
		for _, flags := range []int{unix.O_RDONLY, unix.O_RDWR, unix.O_RDWR | unix.O_CREAT} {
			if _, err := dir.OpenFile("disks", name, flags); !errors.Is(err, diskdir.ErrNotRegular) {
				t.Errorf("opening %s with %#x: %v, want ErrNotRegular", name, flags, err)
			}
		}
	}
	for _, name := range []string{"../disks/real", "/etc/passwd", "..", ".", "", "a/b"} {
		if _, err := dir.OpenFile("disks", name, unix.O_RDONLY); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("opening %q: %v, want ErrInvalid", name, err)
		}
	}
	if _, err := diskdir.OpenPath(filepath.Join(path, "disks", "out")); !errors.Is(err, diskdir.ErrNotRegular) {
		t.Errorf("opening a link by its path: %v, want ErrNotRegular", err)
	}
}

func TestFolderReplacedByALinkIsNotUsed(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	claim(t, path)
	elsewhere := t.TempDir()
	if err := os.Remove(filepath.Join(path, "disks")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(path, "disks")); err != nil {
		t.Fatal(err)
	}
	if _, err := diskdir.Open(path, pool("pool-1"), "disks"); err == nil {
		t.Error("a folder that is a link was opened")
	}
}

func TestPublishReplacesNothing(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := claim(t, path)
	write(t, filepath.Join(path, "disks", "vol-1.raw"), "first")
	staged, err := dir.Stage("vol-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := staged.File().WriteString("second"); err != nil {
		t.Fatal(err)
	}
	if err := staged.Publish("disks", "vol-1.raw"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("publishing over a file: %v, want ErrExist", err)
	}
	expect(t, filepath.Join(path, "disks", "vol-1.raw"), "first")
	if err := staged.Replace("disks", "vol-1.raw"); err != nil {
		t.Errorf("replacing: %v", err)
	}
	expect(t, filepath.Join(path, "disks", "vol-1.raw"), "second")
	staged.Discard()
	staged.Discard()
	expect(t, filepath.Join(path, "disks", "vol-1.raw"), "second")
	if left, _ := os.ReadDir(filepath.Join(path, "staging")); len(left) != 0 {
		t.Errorf("staging holds %v after all is done", left)
	}
}

func expect(t testing.TB, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), got, err, want)
	}
}

func TestSweepSparesTheLiving(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := claim(t, path)
	alive, err := dir.Stage("vol-alive")
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Discard()
	staging := filepath.Join(path, "staging")
	write(t, filepath.Join(staging, "vol-dead.x.lock"), "")
	write(t, filepath.Join(staging, "vol-dead.x.data"), "half a disk")
	write(t, filepath.Join(staging, "vol-orphan.y.data"), "half a disk")
	write(t, filepath.Join(path, ".bulkhead.json.half"), "{")
	leftovers, err := dir.Leftovers()
	if err != nil || len(leftovers) != 2 {
		t.Errorf("leftovers = %v, %v; want the two dead files", leftovers, err)
	}
	swept, err := dir.Sweep()
	slices.Sort(swept)
	want := []string{".bulkhead.json.half", "vol-dead.x", "vol-orphan.y"}
	if err != nil || !slices.Equal(swept, want) {
		t.Errorf("swept %v, %v; want %v", swept, err, want)
	}
	if err := alive.Publish("disks", "vol-alive.raw"); err != nil {
		t.Errorf("publishing after a sweep: %v", err)
	}
}

// TestSweepAndStageRace sweeps without pause while files are made: none may be lost.
func TestSweepAndStageRace(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := claim(t, path)
	stop := make(chan struct{})
	var sweeper, makers sync.WaitGroup
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := dir.Sweep(); err != nil {
				t.Errorf("sweeping: %v", err)
			}
		}
	})
	for maker := range 4 {
		makers.Go(func() {
			for i := range 50 {
				name := strings.Repeat("x", maker+1) + string(rune('a'+i%26)) + string(rune('a'+i/26))
				staged, err := dir.Stage(name)
				if err != nil {
					t.Errorf("staging: %v", err)
					return
				}
				if err := staged.Publish("disks", name); err != nil {
					t.Errorf("publishing: %v", err)
				}
				staged.Discard()
			}
		})
	}
	makers.Wait()
	close(stop)
	sweeper.Wait()
	if made, _ := dir.List("disks"); len(made) != 200 {
		t.Errorf("%d files were made, want 200", len(made))
	}
	if left, _ := os.ReadDir(filepath.Join(path, "staging")); len(left) != 0 {
		t.Errorf("staging still holds %v", left)
	}
}

func TestUnclaimLeavesAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	dir := claim(t, path)
	write(t, filepath.Join(path, "disks", "vol-1.raw"), "x")
	if fault := sdk.FaultOf(dir.Unclaim()); fault.GetCode() != diskdir.CodeNotEmpty {
		t.Errorf("unclaiming with a disk left: %v, want %s", fault, diskdir.CodeNotEmpty)
	}
	again, err := diskdir.Open(path, pool("pool-1"), "disks")
	if err != nil {
		t.Fatalf("a refused unclaim broke the directory: %v", err)
	}
	again.Close()
	if err := dir.Remove("disks", "vol-1.raw"); err != nil {
		t.Fatal(err)
	}
	if err := dir.Unclaim(); err != nil {
		t.Fatalf("unclaiming: %v", err)
	}
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	other, err := diskdir.Claim(path, pool("pool-2"), property)
	if err != nil {
		t.Fatalf("claiming the directory for another owner: %v", err)
	}
	other.Close()
}
