package simworld_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// writerEnv makes the test binary a process that makes volumes until it is killed.
const writerEnv = "SIMWORLD_WRITER"

func TestMain(m *testing.M) {
	if name := os.Getenv(writerEnv); name != "" {
		os.Exit(write(name, os.Args[1]))
	}
	os.Exit(m.Run())
}

// write makes volumes and says of each that it is there.
func write(name, dir string) int {
	w, err := simworld.Open(dir, simworld.Options{})
	for n := 0; err == nil; n++ {
		id := fmt.Sprintf("vol-%s-%d", name, n)
		if err = create(w, "op-"+id, 1, volume("pool-1", id, uint64(n+1))); err == nil {
			_, err = fmt.Println(id)
		}
	}
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestKilledWritersLoseNothing kills processes that write to one world, at no particular instant, and holds the world
// to what they had said.
func TestKilledWritersLoseNothing(t *testing.T) {
	const writers, generations, acks = 3, 8, 40
	dir := t.TempDir()
	must(t, create(open(t, dir), "op-0", 1, pool("pool-1", 0)))
	var mutex sync.Mutex
	said := map[string]bool{}
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for generation := range generations {
				for _, id := range writeAndDie(t, dir, fmt.Sprintf("%d-%d", i, generation), acks+7*i) {
					mutex.Lock()
					said[id] = true
					mutex.Unlock()
				}
			}
		})
	}
	all.Wait()
	found, err := simworld.LoadTruth(dir)
	must(t, err)
	for id := range said {
		if got := found.Count(simworld.KindVolume, id); got != 1 {
			t.Errorf("%s was said to be there and exists %d times", id, got)
		}
	}
	if len(said) < writers*generations*acks || len(found.Duplicates()) != 0 {
		t.Errorf("%d volumes said, duplicates %v", len(said), found.Duplicates())
	}
	w := open(t, dir)
	must(t, create(w, "op-last", 1, volume("pool-1", "vol-last", 1)))
}

// writeAndDie runs a writer until it has said so many ids, kills it, and returns all it said.
func writeAndDie(t *testing.T, dir, name string, acks int) []string {
	command := exec.Command("/proc/self/exe", dir)
	command.Env = append(os.Environ(), writerEnv+"="+name)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Error(err)
		return nil
	}
	if err := command.Start(); err != nil {
		t.Error(err)
		return nil
	}
	lines := bufio.NewReader(output)
	var said []string
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // what has no end was not said
		}
		said = append(said, strings.TrimSpace(line))
		if len(said) == acks {
			if err := command.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = command.Wait() // it was killed
	return said
}
