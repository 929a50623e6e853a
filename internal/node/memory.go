package node

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// gcPercent is how much garbage may gather, of what is in use, before it is
// collected. What a server has in use is small, so that Go's default of 100 would
// collect many times a second under load, and each time the requests under way
// are slowed down.
const gcPercent = 400

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
		debug.SetGCPercent(gcPercent)
	}
	// A control group's quota would be used up sooner by more threads, and all of them would wait then.
	limited := runtime.GOMAXPROCS(0) < runtime.NumCPU()
	if os.Getenv("GOMAXPROCS") == "" && !limited && runtime.GOMAXPROCS(0) < leastThreads {
		runtime.GOMAXPROCS(leastThreads)
	}
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
func allocatedBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
