package shard_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
	"github.com/bulkhead-cloud/bulkhead/actors/shard"
)

// ledger is the truth about a load: what each client sent to each resource, and what came, in which order.
type ledger struct {
	mu     sync.Mutex
	next   map[string]int // the number expected next from one client at one resource
	wrong  []string
	busy   sync.Map // resources with a task under way
	done   atomic.Int64
	failed atomic.Int64
}

func (l *ledger) came(client, n int, resource string) {
	key := fmt.Sprint(client, resource)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next[key] != n && len(l.wrong) < 10 {
		l.wrong = append(l.wrong, fmt.Sprintf("client %d to %s: %d came, want %d", client, resource, n, l.next[key]))
	}
	l.next[key] = n + 1
}

// order is a task of a client.
type order struct {
	task
	client int
	credit chan struct{}
}

// busyResource does every fourth task outside its handler, says that it is idle whenever it is, and forgets all when
// it is passivated.
func (l *ledger) receive(c actor.Context, name string) {
	box := mailbox.Of(c)
	switch m := c.Message().(type) {
	case order:
		l.came(m.client, m.n, name)
		if m.n%4 != 0 {
			l.finish(m)
			break
		}
		if _, twice := l.busy.LoadOrStore(name, true); twice {
			l.failed.Add(1)
		}
		box.Close(mailbox.Busy)
		root, self := c.ActorSystem().Root, c.Self()
		go root.Send(self, ordered{order: m})
	case ordered:
		l.busy.Delete(name)
		l.finish(m.order)
		box.Open(mailbox.Busy)
	case *mailbox.Rejected:
		l.failed.Add(1)
	}
	shard.Idle(c)
}

func (l *ledger) finish(m order) {
	l.done.Add(1)
	m.credit <- struct{}{}
}

// ordered completes an order.
type ordered struct{ order }

func (ordered) ControlLane() {}
func (ordered) Completion()  {}

// 200,000 messages of 8 clients to 2,000 resources that are passivated all the time: none is lost, none is overtaken,
// no resource does two things at once, and nothing is left at the end.
func TestPassivationUnderLoad(t *testing.T) {
	const clients, resources, inFlight = 8, 2_000, 64
	for idleAfter, each := range map[time.Duration]int{0: 25_000, 2 * time.Millisecond: 5_000} {
		t.Run(fmt.Sprint("idle after ", idleAfter), func(t *testing.T) {
			before := runtime.NumGoroutine()
			l := &ledger{next: map[string]int{}}
			s := start(t, shard.Settings{IdleAfter: idleAfter}, l.receive)
			rejected := s.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
				if m, ok := c.Message().(*mailbox.Rejected); ok {
					l.failed.Add(1)
					m.Message.(order).credit <- struct{}{}
				}
			}))
			var sending sync.WaitGroup
			for client := range clients {
				sending.Go(func() {
					source := rand.New(rand.NewPCG(1, uint64(client)))
					next := map[string]int{}
					credit := make(chan struct{}, inFlight)
					for sent := range each {
						if sent >= inFlight {
							<-credit
						}
						name := fmt.Sprint("r", source.IntN(resources))
						m := order{task: task{to: name, n: next[name]}, client: client, credit: credit}
						next[name]++
						s.system.Root.RequestWithCustomSender(s.pid, m, rejected)
					}
					for range min(inFlight, each) {
						<-credit
					}
				})
			}
			sending.Wait()
			for s.Stats().Active > 0 { // every resource says that it is idle
				runtime.Gosched()
			}
			stats := s.Stats()
			t.Logf("%+v", stats)
			if got := int(l.done.Load()); got != clients*each {
				t.Errorf("%d tasks done, want %d", got, clients*each)
			}
			if l.failed.Load() != 0 || len(l.wrong) != 0 {
				t.Errorf("%d refused or at once; order: %v", l.failed.Load(), l.wrong)
			}
			if stats.Passivations < resources || stats.Activations != stats.Passivations {
				t.Errorf("want every resource passivated, most often: %+v", stats)
			}
			s.system.Root.Stop(rejected)
			s.stop()
			for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines are left of %d", runtime.NumGoroutine(), before)
				}
			}
		})
	}
}
