package cluster_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/clustertest"
)

var (
	simulatedSeed  = flag.Uint64("seed", 1, "simulation: the first seed")
	simulatedSeeds = flag.Uint64("seeds", 100, "simulation: so many, one after the other")
)

// TestSimulation puts clusters of three into bubbles: they elect, are cut, have wrong clocks and slow disks, and are
// killed as the seed has it, while a client at each node proposes and reads. What the log alone promises is checked; a
// zone on top of it, with all that acts for resources, is what internal/node simulates, at ten times the work a seed.
func TestSimulation(t *testing.T) {
	var next atomic.Uint64
	var sum simulated
	began := time.Now()
	t.Cleanup(func() {
		t.Logf("%d seeds from %d, %.0f a second: %d commands answered, %d with an unknown outcome, %d reads, %d leaders",
			sum.seeds.Load(), *simulatedSeed, float64(sum.seeds.Load())/time.Since(began).Seconds(),
			sum.answered.Load(), sum.unknown.Load(), sum.reads.Load(), sum.leaders.Load())
	})
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
			t.Parallel()
			for k := next.Add(1) - 1; k < *simulatedSeeds; k = next.Add(1) - 1 {
				seed := *simulatedSeed + k
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { simulate(t, seed, &sum) })
				})
				if t.Failed() {
					t.Logf("to see it again: go test ./cluster -run '^TestSimulation$' -seeds=1 -seed=%d -count=20", seed)
					return
				}
			}
		})
	}
}

// simulated is what all seeds that came to their end had.
type simulated struct{ seeds, answered, unknown, reads, leaders atomic.Int64 }

const (
	// faultsOfASeed is how many faults there are, one of them at a time or two.
	faultsOfASeed = 5
	// longestFault is three times as long as it takes until another node leads.
	longestFault = 2 * time.Second
)

// simulation is one cluster.
type simulation struct {
	t      *testing.T
	hub    *clustertest.Hub
	dice   *rand.Rand // of the faults
	names  []string
	memory map[string]*cluster.Memory
	ledger map[string]*ledger
	nets   map[string]*clustertest.Network

	mu    sync.Mutex
	nodes map[string]*cluster.Node // those that run
	terms map[uint64]string        // who led in which

	history history
}

func simulate(t *testing.T, seed uint64, sum *simulated) {
	t.Helper()
	s := &simulation{
		t: t, hub: clustertest.NewHub(), dice: rand.New(rand.NewPCG(seed, 1)), names: []string{"n0", "n1", "n2"},
		memory: map[string]*cluster.Memory{}, ledger: map[string]*ledger{}, nets: map[string]*clustertest.Network{},
		nodes: map[string]*cluster.Node{}, terms: map[uint64]string{},
	}
	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, name := range s.names {
		clients.Go(func() { s.renew(ctx, name) })
	}
	s.found()
	for i, name := range s.names {
		clients.Go(func() { s.client(ctx, name, rand.New(rand.NewPCG(seed, uint64(2+i)))) })
	}
	clients.Go(func() { s.watchLeaders(ctx) })
	for range faultsOfASeed {
		s.fault()
	}
	s.heal()
	s.await("all answer again", func() bool { return s.allAnswer(ctx) })
	end()
	clients.Wait()
	s.check()
	s.close()
	sum.seeds.Add(1)
	sum.leaders.Add(int64(len(s.terms)))
	s.history.count(sum)
}

// found has the first node begin a cluster and take the others in.
func (s *simulation) found() {
	for _, name := range s.names {
		s.memory[name], s.ledger[name] = &cluster.Memory{}, &ledger{}
		s.open(name)
	}
	first := s.node(s.names[0])
	err := first.Ready(s.t.Context())
	for _, name := range s.names[1:] {
		err = errors.Join(err, first.Add(s.t.Context(), name, name))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.await("all vote", func() bool {
		voters := 0
		for _, m := range first.Members() {
			if m.Voter {
				voters++
			}
		}
		return voters == len(s.names)
	})
}

// open starts a node on what its memory has.
func (s *simulation) open(name string) {
	s.nets[name] = s.hub.Network(name)
	n, err := cluster.Open(cluster.Config{
		NodeID: name, ClusterID: "c", Machine: s.ledger[name], InMemory: true, Memory: s.memory[name],
		Network: s.nets[name], Join: name != s.names[0], SnapshotEntries: 60, TrailingBytes: 2 << 10,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[name] = n
}

// node is nil if the node does not run.
func (s *simulation) node(name string) *cluster.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[name]
}

// renew has a node say that it is well all the time, as those that hold leases do.
func (s *simulation) renew(ctx context.Context, name string) {
	for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		if n := s.node(name); n != nil {
			asking, cancel := context.WithTimeout(ctx, time.Second)
			_, _ = n.Renew(asking) // it may be cut off
			cancel()
		}
	}
}

// kill ends a node as the end of its process would for the others.
func (s *simulation) kill(name string) {
	n := s.node(name)
	if n == nil {
		return
	}
	s.mu.Lock()
	delete(s.nodes, name)
	s.mu.Unlock()
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	time.Sleep(time.Nanosecond) // it has begun: that nobody can be reached is no failure then
	_ = s.nets[name].Close()
	if err := <-closed; err != nil {
		s.t.Errorf("%s: closing: %v", name, err)
	}
}

// leader is a node that leads, or any.
func (s *simulation) leader() string {
	for _, name := range s.names {
		if n := s.node(name); n != nil && n.Status().Leading {
			return name
		}
	}
	return s.any()
}

func (s *simulation) any() string { return s.names[s.dice.IntN(len(s.names))] }

// victim is the leader every second time.
func (s *simulation) victim() string {
	if s.dice.IntN(2) == 0 {
		return s.leader()
	}
	return s.any()
}

// other is another node.
func (s *simulation) other(than string) string {
	for {
		if name := s.any(); name != than {
			return name
		}
	}
}

// pause is for a while, of the bubble's time.
func (s *simulation) pause(most time.Duration) {
	time.Sleep(time.Duration(1 + s.dice.Int64N(int64(most))))
}

// fault does something bad, and takes it back after a while, but a cut every third time only when all is.
func (s *simulation) fault() {
	who := s.victim()
	whom := s.other(who)
	switch s.dice.IntN(8) {
	case 0, 1:
		s.hub.Isolate(who)
	case 2: // it is not heard
		for _, name := range s.names {
			if name != who {
				s.hub.Cut(who, name)
			}
		}
	case 3: // the third hears both
		s.hub.Cut(who, whom)
		s.hub.Cut(whom, who)
	case 4:
		s.hub.Refuse(who, whom)
	case 5:
		s.kill(who)
		s.pause(longestFault)
		s.open(who)
		return
	case 6:
		if n := s.node(s.leader()); n != nil {
			ctx, cancel := context.WithTimeout(s.t.Context(), longestFault)
			_ = n.Transfer(ctx, whom) // it may not be possible
			cancel()
		}
	case 7: // its clock is wrong, and its disk slow
		ahead := time.Duration(s.dice.Int64N(int64(2*time.Hour))) - time.Hour
		slow := time.Duration(s.dice.Int64N(int64(50 * time.Millisecond)))
		if n := s.node(who); n != nil {
			n.SetClock(func() time.Time { return time.Now().Add(ahead) })
			n.Stall(func() { time.Sleep(slow) })
		}
	}
	s.pause(longestFault)
	if s.dice.IntN(3) > 0 {
		s.hub.Heal()
		s.pause(longestFault)
	}
}

// heal takes all faults back.
func (s *simulation) heal() {
	s.hub.Heal()
	for _, name := range s.names {
		n := s.node(name)
		if n == nil {
			s.open(name)
			continue
		}
		n.Stall(func() {})
	}
}

// allAnswer reports whether each node takes commands.
func (s *simulation) allAnswer(ctx context.Context) bool {
	for _, name := range s.names {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := s.node(name).ReadIndex(ctx)
		cancel()
		if err != nil {
			return false
		}
	}
	return true
}

// await waits for something, in the time of the bubble.
func (s *simulation) await(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if so() {
			return
		}
	}
	s.t.Fatalf("not after a minute: %s", what)
}

// watchLeaders: nobody else leads in a term.
func (s *simulation) watchLeaders(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		for _, name := range s.names {
			n := s.node(name)
			if n == nil {
				continue
			}
			status := n.Status()
			s.mu.Lock()
			if before, known := s.terms[status.Term]; status.Leading && known && before != name {
				s.t.Errorf("%s leads in term %d, and %s did", name, status.Term, before)
			}
			if status.Leading {
				s.terms[status.Term] = name
			}
			s.mu.Unlock()
		}
	}
}

func (s *simulation) close() {
	var closing sync.WaitGroup
	for _, n := range s.nodes {
		closing.Go(func() { stop(s.t, n) })
	}
	closing.Wait()
	for _, n := range s.nets {
		_ = n.Close()
	}
}
