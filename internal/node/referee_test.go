package node_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// run is one QEMU of a machine.
type run struct {
	pid   int
	began float64 // seconds since this computer started
	space string  // what it was in: that of its host
}

// referee notes which guests run, and of which machine more than one did.
type referee struct {
	mu    sync.Mutex
	seen  map[string][]run // by the machine's id
	twice []string
}

// watch looks all the time, until the test ends.
func (f *referee) watch(t *testing.T, machines ...string) {
	t.Helper()
	ended := make(chan struct{})
	var done sync.WaitGroup
	t.Cleanup(func() {
		close(ended)
		done.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.twice) > 0 {
			t.Errorf("guests ran twice: %v", f.twice)
		}
	})
	done.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-ended:
				tick.Stop()
				return
			case <-tick.C:
				f.look(machines)
			}
		}
	})
}

// look takes down the guests that run now.
func (f *referee) look(machines []string) {
	now := map[string][]run{}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("qemu-system")) {
			continue
		}
		for _, m := range machines {
			if one, ok := runOf(filepath.Dir(path)); ok && bytes.Contains(line, []byte(m)) {
				now[m] = append(now[m], one)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for m, all := range now {
		for _, one := range all {
			if !slices.Contains(f.seen[m], one) {
				f.seen[m] = append(f.seen[m], one)
			}
		}
		if len(all) > 1 {
			f.twice = append(f.twice, fmt.Sprintf("%s: %v", m, all))
		}
	}
}

// runOf reads about a process that is there.
func runOf(dir string) (run, bool) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return run{}, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	space, err := os.Readlink(dir + "/ns/pid")
	if err != nil || len(fields) < 20 || strings.ContainsAny(fields[0], "ZX") {
		return run{}, false
	}
	pid, _ := strconv.Atoi(filepath.Base(dir))
	const ticks = 100 // in a second
	began, err := strconv.ParseFloat(fields[19], 64)
	return run{pid, began / ticks, space}, err == nil
}

// runs are the guests of a machine that were seen, in order.
func (f *referee) runs(machine string) []run {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen[machine])
}

// alive reports whether a guest still runs.
func (one run) alive() bool {
	now, ok := runOf(fmt.Sprintf("/proc/%d", one.pid))
	return ok && now == one
}
