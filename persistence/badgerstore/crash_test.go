package badgerstore_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// TestKilled kills a process that writes, many times, in the middle of small and of large updates. The store must hold
// whole updates only, in order, and at least those that were there before.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	var reached uint64
	interrupted := 0 // kills in the middle of an update of several Badger transactions
	for kill := 0; kill < 20 || interrupted < 2 && kill < 100; kill++ {
		cmd, synced := start(t, "load", dir)
		if kill%4 == 3 {
			awaitLarge(dir)
		} else {
			time.Sleep(time.Duration(20+rand.IntN(180)) * time.Millisecond) // a random moment, not a wait
		}
		end(t, cmd)
		if inLarge(dir) {
			interrupted++
		}
		s, err := badgerstore.Open(small(dir))
		if err != nil {
			t.Fatalf("opening after kill %d: %v", kill, err)
		}
		n, err := checkPrefix(s, withLarge)
		if err != nil {
			t.Fatalf("after kill %d: %v", kill, err)
		}
		if n < synced.number || n < reached {
			t.Fatalf("after kill %d the store is at %d, it was at %d", kill, n, max(synced.number, reached))
		}
		reached = n
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d updates; %d kills in the middle of a large one", reached, interrupted)
	if interrupted == 0 {
		t.Error("no kill hit a large update in its middle: the test did not test it")
	}
}

// inLarge reports whether an update of several Badger transactions is under way.
func inLarge(dir string) bool {
	redo, err := filepath.Glob(filepath.Join(dir, "state-*", "REDO"))
	return err == nil && len(redo) > 0
}

// awaitLarge waits for a large update to be under way, for a while: on a machine with much else to do, a random moment
// may never be in one.
func awaitLarge(dir string) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && !inLarge(dir); {
		runtime.Gosched()
	}
}

// end kills a child and waits for its end.
func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// TestPowerLoss cuts the power of a disk at random moments of a load, and at the worst one: right after the first write
// to a new write-ahead file was synced.
func TestPowerLoss(t *testing.T) {
	for _, mode := range []string{
		"load", "load", "load", "until-rotation", "until-rotation", "until-rotation", badgerAlone,
	} {
		n, synced, err := losePower(t, mode)
		if err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if n < synced {
			t.Errorf("%s: the store is at %d, Sync returned at %d", mode, n, synced)
		}
		t.Logf("%s: synced %d, found %d", mode, synced, n)
	}
}

// TestPowerLossWithoutRotation shows that the test above finds what it looks for.
func TestPowerLossWithoutRotation(t *testing.T) {
	for range 10 {
		if _, _, err := losePower(t, "trust-badger"); err != nil {
			t.Logf("as expected: %v", err)
			return
		}
	}
	t.Error("a store that leaves the order of the files to Badger lost nothing in ten power losses; is it still needed?")
}

// losePower runs a child on a disk of its own, cuts the power, and returns what is found after and how far Sync had
// returned.
func losePower(t *testing.T, mode string) (found, synced uint64, err error) {
	t.Helper()
	disk := powercut.New(t, 1<<30)
	dir := filepath.Join(disk.Dir, "db")
	cmd, out := start(t, mode, dir)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if mode == "load" {
		time.Sleep(time.Duration(500+rand.IntN(1500)) * time.Millisecond) // a random moment, not a wait
	} else {
		select {
		case <-out.rotated:
		case err := <-ended:
			t.Fatalf("the child ended by itself: %v", err)
		}
	}
	if err := disk.Cut(func() { _ = cmd.Process.Kill() }); err != nil {
		t.Fatal(err)
	}
	<-ended
	disk.Restore(t)
	s, err := badgerstore.Open(small(dir))
	if err != nil {
		t.Fatalf("opening after the power loss: %v", err)
	}
	found, err = checkPrefix(s, widths[mode])
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return found, out.number, err
}
