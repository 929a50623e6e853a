package agreement_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

const childDir = "AGREEMENT_CHILD_DIR"

func TestMain(m *testing.M) {
	if powercut.Main() {
		return
	}
	dir := os.Getenv(childDir)
	if dir == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := child(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func counterNode(dir string) (*counter, *cluster.Node, error) {
	c, err := openCounter(filepath.Join(dir, "state"))
	if err != nil {
		return nil, nil, err
	}
	cfg := config(filepath.Join(dir, "node"), c)
	cfg.SnapshotBytes, cfg.TrailingBytes = 128<<10, 16<<10
	n, err := cluster.Open(cfg)
	if err != nil {
		return nil, nil, errors.Join(err, c.store.Close())
	}
	return c, n, nil
}

// child runs a node with many callers, until it is killed. It writes every command that was answered on a line.
func child(dir string) error {
	_, n, err := counterNode(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		return err
	}
	var mu sync.Mutex
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), caller, i)
				result, err := n.Propose(ctx, []byte(name+strings.Repeat(" padding", 30)))
				if err != nil || result != uint64(1) {
					fmt.Fprintf(os.Stderr, "%s: %v, %v\n", name, result, err)
					os.Exit(4)
				}
				mu.Lock()
				fmt.Println(name)
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	return nil
}

// TestKilled kills a node under load, again and again. No command that was answered may be lost, none may be applied
// twice, and the state must be what the log says.
func TestKilled(t *testing.T) {
	const kills = 25
	dir := t.TempDir()
	answered := map[string]bool{}
	for range kills {
		remember(answered, runChild(t, dir, func(cmd *exec.Cmd) { _ = cmd.Process.Kill() }))
		reopen(t, dir, answered)
	}
	t.Logf("%d kills, %d commands answered", kills, len(answered))
	if len(answered) < kills*10 {
		t.Errorf("only %d commands were answered: the test did not test much", len(answered))
	}
	checkReplay(t, dir)
}

// runChild runs a child for a moment, ends it, and returns what it said was answered.
func runChild(t *testing.T, dir string, end func(*exec.Cmd)) (answered []string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if lines.Scan() { // it is at work
		answered = append(answered, lines.Text())
	}
	ended := make(chan struct{})
	timer := time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() {
		defer close(ended)
		end(cmd)
	})
	for lines.Scan() {
		answered = append(answered, lines.Text())
	}
	err = cmd.Wait()
	if timer.Stop() {
		t.Fatalf("the child ended by itself: %v", err)
	}
	<-ended
	return answered
}

func checkCounters(t *testing.T, c *counter, answered map[string]bool) {
	t.Helper()
	count, found := uint64(0), 0
	err := c.store.View(func(r persistence.Reader) error {
		err := r.Scan([]byte("c/"), nil, func(key, value []byte) (bool, error) {
			count++
			if n := binary.BigEndian.Uint64(value); n != 1 {
				t.Errorf("%s was applied %d times", key, n)
			}
			if answered[string(key[2:])] {
				found++
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		if sum, err := number(r, sumKey); err != nil || sum != count {
			t.Errorf("the sum is %d (%v), there are %d", sum, err, count)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != len(answered) {
		t.Fatalf("%d commands were answered, %d of them are in the state", len(answered), found)
	}
}

// checkReplay gives snapshot and log to a new state, which must become the same as the one that was there all along.
func checkReplay(t *testing.T, dir string) {
	t.Helper()
	expect := settled(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(settled(t, dir), expect) {
		t.Error("what snapshot and log give is not the state that was there")
	}
}

// settled opens the node, lets it apply all of its log, and returns its state.
func settled(t *testing.T, dir string) []byte {
	t.Helper()
	c, n, err := counterNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n, c)
	if err := n.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.stream(t)
}

// config is a configuration with files so small that many kills come while the log goes on to the next, on a disk that
// is never too full.
func config(dir string, machine cluster.StateMachine) cluster.Config {
	return cluster.Config{
		Dir: dir, NodeID: "n1", Machine: machine, SegmentBytes: 64 << 10, DiskLowBytes: 2, DiskFloorBytes: 1,
	}
}

func stop(tb testing.TB, n *cluster.Node, c *counter) {
	tb.Helper()
	if err := errors.Join(n.Close(), c.store.Close()); err != nil {
		tb.Fatal(err)
	}
}
