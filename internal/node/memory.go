package node

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent is how much garbage may gather at least, of what is in use, before it is collected. What a server has in
	// use is small, so that Go's default of 100 would collect many times a second under load.
	gcPercent = 400
	// garbageShare is which part of the memory may be garbage, where that is more, and mostGarbage how much of a large
	// one. While garbage is collected, 30 to 40 ms on two processors, everybody waits: every four seconds that is one
	// request in a hundred, every twenty it is one in five hundred.
	garbageShare = 16
	mostGarbage  = 2 << 30
	// smallestHeap is below what the first collection starts at 100 percent.
	smallestHeap = 4 << 20
)

// leastThreads is how many threads may run Go code at once, at least. Go's default is
// one for each processor, and its scheduler knows no priority: on two processors a
// request waits behind the goroutines that compact the store, for milliseconds each
// time it is handed on. With more threads than processors the kernel decides, and
// whoever has slept goes before who computes for seconds.
const leastThreads = 8

// TuneRuntime sets what Go's runtime leaves to the program, for a process that
// serves a node. What the variables GOGC and GOMAXPROCS of the environment say
// comes first.
func TuneRuntime() {
	if os.Getenv("GOGC") == "" {
		collectSeldom(min(availableBytes()/garbageShare, mostGarbage), debug.SetGCPercent)
	}
	// A control group's quota would be used up sooner by more threads, and all of them would wait then.
	limited := runtime.GOMAXPROCS(0) < runtime.NumCPU()
	if os.Getenv("GOMAXPROCS") == "" && !limited && runtime.GOMAXPROCS(0) < leastThreads {
		runtime.GOMAXPROCS(leastThreads)
	}
}

// collector has garbage collected once a number of bytes of it have gathered, or gcPercent of what is in use if that is
// more. Go knows a percentage only, so that it is set anew after each collection.
type collector struct {
	garbage uint64
	set     func(percent int) (before int)

	mu      sync.Mutex
	percent int
}

func collectSeldom(garbage uint64, set func(percent int) (before int)) {
	c := &collector{garbage: garbage, set: set}
	c.adjust(smallestHeap)
}

// adjust is called after a collection, with what it left.
func (c *collector) adjust(live uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Before the percentage is set, which may begin the next collection: what is made while one runs outlives it.
	runtime.AddCleanup(&collected{}, func(c *collector) { c.adjust(inRuntime("/gc/heap/live:bytes")) }, c)
	percent := percentFor(live, c.garbage)
	// Each time it is set everything stops for a moment.
	if d := percent - c.percent; d > c.percent/10 || -d > c.percent/10 {
		c.set(percent)
		c.percent = percent
	}
}

// collected is garbage that tells of the next collection.
type collected struct{ _ [64]byte }

func percentFor(live, garbage uint64) int {
	return max(gcPercent, int(garbage*100/max(live, smallestHeap)))
}

// availableBytes is the memory of the machine, or of the control group if that may have less; 0 = nobody knows.
func availableBytes() uint64 {
	machine, err := memlimit.FromSystem()
	if err != nil {
		machine = 0
	}
	if group, err := memlimit.FromCgroup(); err == nil {
		return min(group, machine)
	}
	return machine
}

const (
	quietInterval = 10 * time.Second
	// quietBytes is what a server that has nothing to do allocates in an interval, at
	// most; tidyBytes what must have been allocated for it to be worth a collection.
	quietBytes = 4 << 20
	tidyBytes  = 8 << 20
)

// tidy gives memory back to the kernel each time the process comes to rest, until
// ctx ends: what starting up and the last load needed is not needed any more.
func tidy(ctx context.Context, allocated func() uint64, giveBack func()) {
	tick := time.NewTicker(quietInterval)
	defer tick.Stop()
	last, tidied := allocated(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := allocated()
		if now-last < quietBytes && now-tidied > tidyBytes {
			giveBack()
			tidied = allocated()
		}
		last = now
	}
}

// allocatedBytes counts what was ever allocated on the heap.
func allocatedBytes() uint64 { return inRuntime("/gc/heap/allocs:bytes") }

// inRuntime is a number that the runtime keeps; 0 = it keeps none of that name.
func inRuntime(name string) uint64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
