package agreement_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// BenchmarkPropose measures proposals of 300 bytes by so many callers, on a real disk.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchPropose(b, callers) })
	}
}

func benchPropose(b *testing.B, callers int) {
	b.Helper()
	dir := b.TempDir()
	c, err := openCounter(filepath.Join(dir, "state"))
	if err != nil {
		b.Fatal(err)
	}
	var frames, commands int
	cfg := cluster.Config{Dir: filepath.Join(dir, "node"), NodeID: "n1", Machine: c}
	cfg.Metrics.Framed = func(n, _ int) { frames, commands = frames+1, commands+n }
	n, err := cluster.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer stop(b, n, c)
	if err := n.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	tickets := make(chan int, 1024)
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
}
