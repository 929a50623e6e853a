package node_test

import (
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// patienceOfGuard is how long, by the clock on the wall, a second in a bubble may take on a machine that is very busy.
const patienceOfGuard = 2 * time.Minute

// mostSeconds of a zone are many times those of any plan and of what is waited for after it.
const mostSeconds = 20 * 60

// guard ends the process when no time passes in the bubble of a seed any more: it passes only while all goroutines wait
// for each other or for the time, which is not so when one waits for a mutex, or for the world outside, or for ever
// tries again. The process says which do.
func guard(seed uint64, passed *atomic.Int64) (stop func()) {
	done := make(chan struct{})
	go func() {
		for last := int64(-1); ; {
			select {
			case <-done:
				return
			case <-time.After(patienceOfGuard):
			}
			now := passed.Load()
			if now == last {
				panic(fmt.Sprintf("seed %d: no time passes after %d s, in which\n\n%s\n"+again, seed, now, awake(), seed))
			}
			if now > mostSeconds {
				panic(fmt.Sprintf("seed %d: not over after %d s of the zone\n\n%s\n"+again, seed, now, awake(), seed))
			}
			last = now
		}
	}()
	return func() { close(done) }
}

// awake lists the goroutines of bubbles that keep time from passing, and then all goroutines: one of them may hold what
// those wait for.
func awake() string {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	waiting := regexp.MustCompile(`^goroutine \d+ \[[^]]*\(durable\)`)
	var first, rest strings.Builder
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		to := &first
		if !strings.Contains(stack, "synctest bubble") || waiting.MatchString(stack) {
			to = &rest
		}
		to.WriteString(stack + "\n\n")
	}
	return first.String() + "all others:\n\n" + rest.String()
}
