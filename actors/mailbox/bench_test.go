package mailbox_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

// BenchmarkTell compares a message through our mailbox with one through the library's default.
func BenchmarkTell(b *testing.B) {
	for _, c := range []struct {
		name    string
		options []actor.PropsOption
	}{
		{"lanes", []actor.PropsOption{actor.WithMailbox(mailbox.Producer(mailbox.Settings{Work: 1 << 30}))}},
		{"unbounded", nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			system := newSystem()
			var done sync.WaitGroup
			done.Add(b.N)
			pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
				if _, ok := c.Message().(*work); ok {
					done.Done()
				}
			}, c.options...))
			message := &work{}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				system.Root.Send(pid, message)
			}
			done.Wait()
			b.StopTimer()
			_ = system.Root.StopFuture(pid).Wait()
		})
	}
}

// BenchmarkIdleMailbox reports the memory of an idle mailbox that has handled a message of each kind.
func BenchmarkIdleMailbox(b *testing.B) {
	produce := mailbox.Producer(mailbox.Settings{})
	s := &stage{}
	boxes := make([]actor.Mailbox, b.N)
	before := heap()
	b.ResetTimer()
	for i := range boxes {
		boxes[i] = produce()
		boxes[i].RegisterHandlers(s, s)
		boxes[i].Start()
		boxes[i].PostUserMessage(work{})
		boxes[i].PostUserMessage(control{})
		s.run()
	}
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/mailbox")
	runtime.KeepAlive(boxes)
}

func heap() int64 {
	for range 3 { // the second and third also empty the pools
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
