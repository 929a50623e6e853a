package shard_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/shard"
)

// BenchmarkResource reports the memory (heap and stacks) of a resource that is active and idle, and of one that was
// passivated, and the time of one activation with its first message.
func BenchmarkResource(b *testing.B) {
	for _, c := range []struct {
		name string
		idle time.Duration
	}{{"active", time.Hour}, {"passivated", 0}} {
		b.Run(c.name, func(b *testing.B) {
			system := actor.NewActorSystem(actor.WithLoggerFactory(quietly))
			done := make(chan struct{}, 1)
			s, err := shard.New(shard.Settings{
				IdleAfter: c.idle, Log: quiet(),
				Activate: func(a shard.Activation) actor.Producer {
					return func() actor.Actor { return &member{name: a.Resource, done: done} }
				},
			})
			if err != nil {
				b.Fatal(err)
			}
			pid, err := system.Root.SpawnNamed(s.Props(), s.Name())
			if err != nil {
				b.Fatal(err)
			}
			names := make([]string, b.N)
			for i := range names {
				names[i] = fmt.Sprintf("vol-%026d", i)
			}
			before, goroutines := memory(), runtime.NumGoroutine()
			b.ResetTimer()
			for _, name := range names {
				system.Root.Send(pid, task{to: name})
				<-done
			}
			b.StopTimer()
			for c.idle == 0 && s.Stats().Active > 0 {
				runtime.Gosched()
			}
			b.ReportMetric(float64(memory()-before)/float64(b.N), "B/resource")
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
			runtime.KeepAlive(names)
			_ = system.Root.StopFuture(pid).Wait()
		})
	}
}

// member is a resource that remembers nothing but its name.
type member struct {
	name string
	done chan struct{}
}

func (m *member) Receive(c actor.Context) {
	if _, ok := c.Message().(task); ok {
		m.done <- struct{}{}
		shard.Idle(c)
	}
}

func memory() int64 {
	for range 3 { // the second and third also empty the pools
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}
