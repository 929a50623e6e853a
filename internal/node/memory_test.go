package node_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// TestMemoryIsGivenBackOnceAfterALoad: while the process works nothing is given back, at rest it is, once.
func TestMemoryIsGivenBackOnceAfterALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var allocated atomic.Uint64
		given := 0
		go node.Tidy(ctx, allocated.Load, func() { given++ })
		rounds := func(n int, bytes uint64, want int) {
			t.Helper()
			for range n {
				synctest.Wait()
				allocated.Add(bytes)
				time.Sleep(10 * time.Second)
			}
			synctest.Wait()
			if given != want {
				t.Fatalf("memory was given back %d times, want %d", given, want)
			}
		}
		rounds(5, 100<<20, 0) // a load
		rounds(6, 1<<20, 1)   // at rest, and at rest still
		rounds(2, 100<<20, 1)
		rounds(6, 1<<20, 2)
	})
}

// TestGarbageOfAShareOfTheMemoryMayGather: as much as was said if little is in use, and of much four times that.
func TestGarbageOfAShareOfTheMemoryMayGather(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, garbage uint64
		want          int
	}{
		{live: 80 * mib, garbage: 1536 * mib, want: 1920},
		{live: 1024 * mib, garbage: 1536 * mib, want: 400},
		{live: 384 * mib, garbage: 1536 * mib, want: 400},
		{live: 80 * mib, garbage: 0, want: 400}, // nobody knows how much memory there is
		{live: 0, garbage: 400 * mib, want: 10000},
	} {
		if got := node.PercentFor(c.live, c.garbage); got != c.want {
			t.Errorf("with %d MiB in use and garbage of %d MiB: %d percent, want %d", c.live/mib, c.garbage/mib, got, c.want)
		}
	}
}

// TestCollectionsFollowWhatIsInUse: each collection is followed by the percentage for what it left.
func TestCollectionsFollowWhatIsInUse(t *testing.T) {
	const garbage = 1 << 30
	set := make(chan int, 100)
	node.CollectSeldom(garbage, func(percent int) int { set <- percent; return 0 })
	const inUse = 128 << 20
	most := garbage * 100 / inUse
	kept := make([]byte, inUse) // never touched: it costs no memory
	percent := <-set
	until := func(enough func() bool) {
		for !enough() {
			runtime.GC()
			select {
			case percent = <-set:
			default: // it is set soon, or was not, as it is about the same
				runtime.Gosched()
			}
		}
	}
	until(func() bool { return percent <= most })
	runtime.KeepAlive(kept) // until here
	until(func() bool { return percent > 2*most })
}
