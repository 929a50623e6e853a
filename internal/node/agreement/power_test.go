package agreement_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// TestPowerLoss cuts the power of a disk under a node, again and again. The log is synced and the store is not:
// together they must have everything that was answered, once.
func TestPowerLoss(t *testing.T) {
	const nodes, cuts = 4, 4 // cuts of each node
	disk := powercut.New(t, 256<<20)
	total := 0
	for node := range nodes {
		dir := filepath.Join(disk.Dir, fmt.Sprint(node))
		answered := map[string]bool{}
		for cut := range cuts {
			if cut%2 == 1 { // what a killed process leaves may not be on the disk yet
				remember(answered, runChild(t, dir, func(cmd *exec.Cmd) { _ = cmd.Process.Kill() }))
			}
			var cutError error
			remember(answered, runChild(t, dir, func(cmd *exec.Cmd) {
				cutError = disk.Cut(func() { _ = cmd.Process.Kill() })
			}))
			if cutError != nil {
				t.Fatal(cutError)
			}
			disk.Restore(t)
			reopen(t, dir, answered)
		}
		checkReplay(t, dir)
		total += len(answered)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d power losses, %d commands answered", nodes*cuts, total)
	if total < nodes*cuts*10 {
		t.Error("that are so few that the test did not test much")
	}
}

func remember(answered map[string]bool, names []string) {
	for _, name := range names {
		answered[name] = true
	}
}

// reopen opens a node that was stopped at once, and checks that it has what was answered.
func reopen(t *testing.T, dir string, answered map[string]bool) {
	t.Helper()
	c, n, err := counterNode(dir)
	if err != nil {
		t.Fatalf("opening again: %v", err)
	}
	defer func() {
		if err := errors.Join(n.Close(), c.store.Close()); err != nil {
			t.Error(err)
		}
	}()
	if err := n.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkCounters(t, c, answered)
}
