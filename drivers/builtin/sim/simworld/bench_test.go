package simworld_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

func fill(b *testing.B, w *simworld.World, n int) {
	b.Helper()
	must(b, create(w, "op-0/1", 1, pool("pool-01jd7x3kq8v5m2n4p6r8s0t2w4", 0)))
	for i := range n {
		v := volume("pool-01jd7x3kq8v5m2n4p6r8s0t2w4", fmt.Sprintf("vol-01jd7x3kq8v5m2n4p6r8%06d", i), 1<<30)
		must(b, create(w, fmt.Sprintf("op-01jd7x3kq8v5m2n4p6r8%06d/1", i), 1, v))
	}
}

// BenchmarkCreate is one effect in a world of files: lock, law, line, unlock.
func BenchmarkCreate(b *testing.B) {
	w := open(b, b.TempDir())
	b.ReportAllocs()
	b.ResetTimer()
	fill(b, w, b.N)
}

// BenchmarkOpen is how long a process needs to know a world of a million volumes, and what it costs in memory.
func BenchmarkOpen(b *testing.B) {
	const volumes = 1_000_000
	dir := b.TempDir()
	fill(b, open(b, dir), volumes)
	b.ResetTimer()
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w, err := simworld.Open(dir, simworld.Options{})
		must(b, err)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/volumes, "heap-B/volume")
		must(b, w.Close())
	}
}
