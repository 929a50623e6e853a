package node_test

import (
	"context"
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
		var allocated uint64
		given := 0
		go node.Tidy(ctx, func() uint64 { return allocated }, func() { given++ })
		rounds := func(n int, bytes uint64, want int) {
			t.Helper()
			for range n {
				synctest.Wait()
				allocated += bytes
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
