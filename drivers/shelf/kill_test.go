package shelf_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
)

// TestMain is also the child that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "put" {
		if err := put(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// put is the child: it puts an archive, and removes it.
func put(file, dir string) error {
	s, err := shelf.Open(dir, archive.DefaultLimits())
	if err != nil {
		return err
	}
	car, err := os.Open(file)
	if err != nil {
		return err
	}
	found, err := s.Put(context.Background(), car, "")
	if err != nil {
		return err
	}
	return s.Remove(found.Digest)
}

// TestKilledWhilePuttingAndRemoving kills the child at its n-th call that changes files, for all n: what is here then
// is whole, or is asked for, and nothing else is left.
func TestKilledWhilePuttingAndRemoving(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("this test kills a program at chosen system calls with strace: install strace")
	}
	car := pack(t, "one")
	file := filepath.Join(t.TempDir(), "my.car")
	if err := os.WriteFile(file, car, 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := archive.Inspect(t.Context(), bytes.NewReader(car), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	moments := 0
	for _, call := range []string{"fchmod", "fsync", "renameat", "unlinkat"} {
		for n := 1; ; n++ {
			dir := t.TempDir()
			killed := child(t, file, dir, call, n)
			moments++
			s := open(t, dir)
			if len(s.Lacks([]string{found.Digest})) == 0 {
				if err := s.Verify(t.Context(), found.Digest, found.Tree()); err != nil {
					t.Errorf("%s %d: what is here is not whole: %v", call, n, err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "sha256", ".*")); len(left) > 0 {
				t.Errorf("%s %d: left are %v", call, n, left)
			}
			if err := s.Receive(t.Context(), found.Digest, found.Bytes, bytes.NewReader(car)); err != nil {
				t.Errorf("%s %d: the next one can't: %v", call, n, err)
			}
			if err := s.Verify(t.Context(), found.Digest, found.Tree()); err != nil {
				t.Errorf("%s %d: %v", call, n, err)
			}
			if !killed {
				break
			}
		}
	}
	t.Logf("killed or let live at %d moments", moments)
}

// child is killed at the n-th of a system call; false when it lived.
func child(t *testing.T, file, dir, call string, n int) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "strace", "-f", "-o", os.DevNull, "-e", "trace="+call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), self, "put", file, dir)
	said, err := command.CombinedOutput()
	var exit *exec.ExitError
	if ctx.Err() != nil || errors.As(err, &exit) && exit.ExitCode() == 1 {
		t.Fatalf("%s %d: %v: %s", call, n, err, said)
	}
	return err != nil
}
