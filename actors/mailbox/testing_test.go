package mailbox_test

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/actors/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSystem returns an actor system that logs nothing.
func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithDeadLetterThrottleInterval(time.Millisecond), actor.WithLoggerFactory(
		func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.DiscardHandler)
		}))
}

// Messages of the tests. work has no lane of its own.
type (
	work       struct{ n int }
	control    struct{ n int }
	completion struct{ n int }
)

func (control) ControlLane()    {}
func (completion) ControlLane() {}
func (completion) Completion()  {}

// stage is an invoker and dispatcher that runs a mailbox by hand, without an actor and without goroutines.
type stage struct {
	scheduled []func()
	handled   []any
	system    []any
	failures  []any
	onHandle  func(message any)
}

func (s *stage) Schedule(run func()) { s.scheduled = append(s.scheduled, run) }
func (*stage) Throughput() int       { return 1 }

func (s *stage) InvokeSystemMessage(message any) { s.system = append(s.system, message) }
func (s *stage) EscalateFailure(reason, _ any)   { s.failures = append(s.failures, reason) }
func (s *stage) InvokeUserMessage(message any) {
	s.handled = append(s.handled, message)
	if s.onHandle != nil {
		s.onHandle(message)
	}
}

// run lets the mailbox handle all it may handle now, and returns what it handled.
func (s *stage) run() []any {
	s.handled = nil
	for len(s.scheduled) > 0 {
		run := s.scheduled[0]
		s.scheduled = s.scheduled[1:]
		run()
	}
	return s.handled
}

func staged(settings mailbox.Settings) (*mailbox.Mailbox, *stage) {
	s := &stage{}
	m := mailbox.Producer(settings)().(*mailbox.Mailbox)
	m.RegisterHandlers(s, s)
	m.Start()
	return m, s
}

// counter is an observer that counts.
type counter struct {
	mu       sync.Mutex
	accepted map[mailbox.Lane]int
	deepest  map[mailbox.Lane]int
	taken    map[mailbox.Lane]int
	waited   map[mailbox.Lane]time.Duration
	refused  map[mailbox.Reason]int
}

func newCounter() *counter {
	return &counter{
		accepted: map[mailbox.Lane]int{}, deepest: map[mailbox.Lane]int{}, taken: map[mailbox.Lane]int{},
		waited: map[mailbox.Lane]time.Duration{}, refused: map[mailbox.Reason]int{},
	}
}

func (c *counter) Accepted(lane mailbox.Lane, depth int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted[lane]++
	c.deepest[lane] = max(c.deepest[lane], depth)
}

func (c *counter) Taken(lane mailbox.Lane, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken[lane]++
	c.waited[lane] = max(c.waited[lane], wait)
}

func (c *counter) Refused(_ mailbox.Lane, reason mailbox.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[reason]++
}

// of returns what happened in a lane: how many messages were taken, the greatest depth and the longest wait.
func (c *counter) of(lane mailbox.Lane) (taken, deepest int, waited time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[lane], c.deepest[lane], c.waited[lane]
}

func (c *counter) refusals() (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.refused {
		sum += n
	}
	return sum
}

// always is a guardian that restarts without limit.
func always() actor.PropsOption {
	return actor.WithGuardian(actor.NewOneForOneStrategy(1<<30, time.Second, actor.DefaultDecider))
}
