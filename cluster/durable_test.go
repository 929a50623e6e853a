package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
)

// counter is a state machine on a persistence.Store. A command is the name of a counter, which it raises by one; the
// result is the new count. A second key is the sum of all.
type counter struct {
	store interface {
		persistence.Store
		persistence.Snapshotter
	}
	applied uint64
}

var indexKey, sumKey = []byte("index"), []byte("sum")

func openCounter(dir string) (*counter, error) {
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir, MemTableBytes: 8 << 20})
	if err != nil {
		return nil, err
	}
	c := &counter{store: s}
	return c, c.load()
}

func (c *counter) load() error {
	return c.store.View(func(r persistence.Reader) (err error) {
		c.applied, err = number(r, indexKey)
		return err
	})
}

func number(r persistence.Reader, key []byte) (uint64, error) {
	value, ok, err := r.Get(key)
	if !ok || err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(value), nil
}

func raise(w persistence.Writer, key []byte) (uint64, error) {
	n, err := number(w, key)
	if err != nil {
		return 0, err
	}
	return n + 1, w.Put(key, binary.BigEndian.AppendUint64(nil, n+1))
}

// Apply implements cluster.StateMachine.
func (c *counter) Apply(entries []cluster.Entry) (all []cluster.Results, err error) {
	err = c.store.Update(func(w persistence.Writer) error {
		for _, e := range entries {
			var results cluster.Results
			for command := range e.Commands() {
				name, _, _ := bytes.Cut(command, []byte(" "))
				n, err := raise(w, append([]byte("c/"), name...))
				if err != nil {
					return err
				}
				if _, err := raise(w, sumKey); err != nil {
					return err
				}
				results = append(results, n)
			}
			all = append(all, results)
		}
		return w.Put(indexKey, binary.BigEndian.AppendUint64(nil, entries[len(entries)-1].Index))
	})
	return all, err
}

// AppliedIndex implements cluster.StateMachine.
func (c *counter) AppliedIndex() uint64 {
	if err := c.load(); err != nil {
		return 0
	}
	return c.applied
}

// Snapshot implements cluster.StateMachine.
func (c *counter) Snapshot() (cluster.Snapshot, error) {
	f, err := c.store.Freeze()
	return counterSnapshot{f, c}, err
}

// Restore implements cluster.StateMachine.
func (c *counter) Restore(r io.Reader) error { return c.store.Load(r) }

type counterSnapshot struct {
	persistence.Frozen
	c *counter
}

// Persist implements cluster.Snapshot.
func (s counterSnapshot) Persist(w io.Writer) error {
	_, err := s.WriteTo(w)
	return err
}

// Sync implements cluster.Snapshot.
func (s counterSnapshot) Sync() error { return s.c.store.Sync() }

func (c *counter) stream(t *testing.T) []byte {
	t.Helper()
	f, err := c.store.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const childDir = "CLUSTER_CHILD_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
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
	cfg := onDisk(filepath.Join(dir, "node"), c)
	cfg.SnapshotBytes, cfg.TrailingBytes = 128<<10, 16<<10
	n, err := cluster.Open(cfg)
	return c, n, err
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
	for kill := range kills {
		for _, name := range runChild(t, dir) {
			answered[name] = true
		}
		c, n, err := counterNode(dir)
		if err != nil {
			t.Fatalf("opening after kill %d: %v", kill, err)
		}
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkCounters(t, c, answered)
		stop(t, n)
		if err := c.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d commands answered", kills, len(answered))
	if len(answered) < kills*10 {
		t.Errorf("only %d commands were answered: the test did not test much", len(answered))
	}
	checkReplay(t, dir)
}

// runChild runs a child for a moment and returns what it said was answered.
func runChild(t *testing.T, dir string) (answered []string) {
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
	kill := time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		answered = append(answered, lines.Text())
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the child ended by itself: %v", err)
	}
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
	c, n, err := counterNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	expect := c.stream(t)
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	if c, n, err = counterNode(dir); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	if !bytes.Equal(c.stream(t), expect) {
		t.Error("what snapshot and log give is not the state that was there")
	}
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkPropose measures proposals of 300 bytes by so many callers, on a real disk.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			dir := b.TempDir()
			c, err := openCounter(filepath.Join(dir, "state"))
			if err != nil {
				b.Fatal(err)
			}
			cfg := cluster.Config{Dir: filepath.Join(dir, "node"), NodeID: "n1", Machine: c}
			var frames, commands int
			cfg.Metrics.Framed = func(n, _ int) { frames, commands = frames+1, commands+n }
			n := start(b, cfg)
			var tickets = make(chan int, 1024)
			var working sync.WaitGroup
			b.ResetTimer()
			for range callers {
				working.Go(func() {
					for i := range tickets {
						if _, err := n.Propose(b.Context(), fmt.Appendf(nil, "%d %0290d", i%1000, i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for i := range b.N {
				tickets <- i
			}
			close(tickets)
			working.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
			b.ReportMetric(float64(commands)/float64(frames), "commands/frame")
			stop(b, n)
			if err := c.store.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
