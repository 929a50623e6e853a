package node_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/clustertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

var (
	simulatedSeeds  = flag.Uint64("seeds", 4, "how many seeds the simulation of a zone tries")
	simulatedSeed   = flag.Uint64("seed", 1, "the first of them")
	simulatedWithin = flag.Duration("within", 0, "begin no other seed after so long; 0 = go on")
)

// TestSimulation runs zones of three nodes in fake time: the real cluster, state and actors, a network that is cut,
// nodes that are paused, killed and started again, drivers that forget. What happens follows from the seed; in which
// order goroutines run does not. docs/reliability.md says more.
func TestSimulation(t *testing.T) {
	var next atomic.Uint64
	var sum sums
	began := time.Now()
	garbage := debug.SetGCPercent(400) // much is made, and little of it kept
	t.Cleanup(func() {
		debug.SetGCPercent(garbage)
		t.Logf("%d seeds from %d, %.0f a minute: %d operations, %d calls of drivers, %d refused by fences",
			sum.seeds.Load(), *simulatedSeed, float64(sum.seeds.Load())/time.Since(began).Minutes(),
			sum.operations.Load(), sum.calls.Load(), sum.refused.Load())
	})
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
			t.Parallel()
			for *simulatedWithin == 0 || time.Since(began) < *simulatedWithin {
				k := next.Add(1) - 1
				if k >= *simulatedSeeds {
					return
				}
				seed := *simulatedSeed + k
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { simulateGuarded(t, seed, &sum) })
			}
		})
	}
}

// sums are of all seeds that came to their end.
type sums struct{ seeds, operations, calls, refused atomic.Int64 }

const again = "to see it again: go test ./internal/node -run '^TestSimulation$' -seeds=1 -seed=%d -count=20"

// simulateGuarded runs one zone in a bubble.
func simulateGuarded(t *testing.T, seed uint64, sum *sums) {
	dir := simulationDir(t)
	var passed atomic.Int64
	defer guard(seed, &passed)()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf(again, seed)
		}
	})
	synctest.Test(t, func(t *testing.T) { simulate(t, seed, dir, &passed, sum) })
}

// simulationDir is in the memory that root's tests have as /run, and that goes with them: disks take real time.
func simulationDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "simulation-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// simulation is one zone.
type simulation struct {
	t      *testing.T
	ctx    context.Context // ends with the simulation
	end    context.CancelFunc
	random *rand.Rand
	hub    *clustertest.Hub
	world  *simworld.World
	watch  *watch
	nodes  map[string]*simulatedNode
	load   *load
	story  []string
	began  time.Time
}

func simulate(t *testing.T, seed uint64, dir string, passed *atomic.Int64, sum *sums) {
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), hub: clustertest.NewHub(), world: simworld.New(), watch: newWatch(),
		nodes: map[string]*simulatedNode{}, began: time.Now(),
	}
	s.ctx, s.end = context.WithCancel(t.Context())
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range simulatedNames {
		s.nodes[name] = &simulatedNode{
			t: t, name: name, hub: s.hub, watch: s.watch, memory: &cluster.Memory{}, store: memstore.New(), codec: codec,
			host: newSimulatedHost(t, dir, name, s.world, s.watch),
		}
	}
	defer s.close()
	go s.tick(passed)
	s.found()
	s.load = s.newLoad(rand.New(rand.NewPCG(seed, 2)))
	s.faults()
	s.calm()
	accepted := s.load.stop()
	s.await("all operations have ended", s.ended(accepted))
	s.check(accepted)
	sum.seeds.Add(1)
	sum.operations.Add(int64(len(accepted)))
	sum.calls.Add(int64(s.watch.calls))
	sum.refused.Add(int64(s.watch.refused))
}

// tick counts the seconds that pass.
func (s *simulation) tick(passed *atomic.Int64) {
	for s.ctx.Err() == nil {
		time.Sleep(time.Second)
		passed.Add(1)
	}
}

func (s *simulation) close() {
	if s.t.Failed() || *simulatedSeeds == 1 {
		s.t.Logf("what was done:\n%s", strings.Join(s.story, "\n"))
	}
	s.end()
	if s.load != nil {
		s.load.stop()
	}
	for _, name := range simulatedNames {
		s.nodes[name].kill()
	}
	for _, name := range simulatedNames {
		s.nodes[name].host.close()
	}
	time.Sleep(10 * time.Second) // the actor library's dead letters have a timer that nobody stops
}

// found makes the zone.
func (s *simulation) found() {
	for i, name := range simulatedNames {
		n := s.nodes[name]
		n.open(i > 0)
		if i > 0 {
			if err := s.nodes["n1"].cluster.Add(s.t.Context(), name, name); err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		if err := n.cluster.Ready(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		zone := &resources.Zone{
			Meta:   resources.Meta{Kind: resources.KindZone, ID: "zone-01", Name: "zone"},
			Status: resources.ZoneStatus{ClusterID: "c", Shards: simulatedShards},
		}
		doc, err := n.codec.Seal(zone)
		if err != nil {
			s.t.Fatal(err)
		}
		data, err := n.codec.EncodeCommand(&persistence.Bootstrap{Documents: []*persistence.Document{doc}})
		if err == nil {
			_, err = n.cluster.Propose(s.t.Context(), data)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	s.await("all nodes can be asked", func() bool {
		return !slices.ContainsFunc(simulatedNames, func(name string) bool { return s.nodes[name].asked() == nil })
	})
}

// patienceOfSimulation is how long all may take to be well, in the time of the bubble.
const patienceOfSimulation = 20 * time.Minute

func (s *simulation) await(what string, so func() bool) {
	s.t.Helper()
	for began := time.Now(); !so(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > patienceOfSimulation {
			s.t.Fatalf("not after %s: %s", patienceOfSimulation, what)
		}
	}
}

func (s *simulation) tell(format string, arguments ...any) {
	s.story = append(s.story, time.Since(s.began).Round(time.Millisecond).String()+" "+fmt.Sprintf(format, arguments...))
}

// faults does to the zone what the seed says.
func (s *simulation) faults() {
	for range 3 + s.random.IntN(6) {
		time.Sleep(time.Duration(s.random.Int64N(int64(4 * time.Second))))
		names := slices.Clone(simulatedNames)
		s.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		atLeader := s.random.IntN(2) == 0
		if leader := slices.IndexFunc(names, s.leads); atLeader && leader >= 0 {
			names[0], names[leader] = names[leader], names[0]
		}
		s.fault(names[0], names[1])
	}
	time.Sleep(time.Duration(s.random.Int64N(int64(5 * time.Second))))
}

func (s *simulation) leads(name string) bool {
	n := s.nodes[name]
	return n.stop != nil && n.cluster.Status().Leading
}

func (s *simulation) fault(one, other string) {
	n := s.nodes[one]
	switch s.random.IntN(10) {
	case 0:
		s.tell("cut %s off", one)
		s.hub.Isolate(one)
	case 1:
		s.tell("cut %s from %s", one, other)
		s.hub.Cut(one, other)
		s.hub.Cut(other, one)
	case 2:
		s.tell("cut %s to %s, one way", one, other)
		s.hub.Cut(one, other)
	case 3:
		s.tell("heal")
		s.heal()
	case 4, 8:
		s.pause(n)
	case 5:
		s.tell("kill %s", one)
		n.kill()
		if s.random.IntN(2) == 0 {
			s.revive(n)
		}
	case 6:
		s.tell("start all that were killed")
		for _, name := range simulatedNames {
			s.revive(s.nodes[name])
		}
	case 7:
		s.restartDriver(n)
	default:
		if n.stop != nil {
			s.tell("%s transfers the lead", one)
			ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
			defer cancel()
			_ = n.cluster.Transfer(ctx, "") // it may not lead, or reach nobody
		}
	}
}

// pause holds a node back for longer than a lease lasts, mostly, while drivers may forget who called them.
func (s *simulation) pause(n *simulatedNode) {
	n.suspendInCall()
	s.tell("pause %s", n.name)
	time.Sleep(2*time.Second + time.Duration(s.random.Int64N(int64(7*time.Second))))
	for _, name := range simulatedNames {
		if s.random.IntN(2) == 0 {
			s.restartDriver(s.nodes[name])
		}
	}
	time.Sleep(time.Duration(s.random.Int64N(int64(time.Second))))
	s.tell("resume %s", n.name)
	n.resume()
	s.hub.Heal()
}

func (s *simulation) restartDriver(n *simulatedNode) {
	s.tell("restart the driver of %s", n.name)
	n.host.restart()
	for _, name := range simulatedNames {
		s.nodes[name].adopt(n.name)
	}
}

// heal takes back all cuts and pauses.
func (s *simulation) heal() {
	s.hub.Heal()
	for _, n := range s.nodes {
		n.resume()
	}
}

func (s *simulation) revive(n *simulatedNode) {
	if n.stop == nil {
		n.open(n.name != "n1")
	}
}

// calm ends all faults and waits until every node can be asked.
func (s *simulation) calm() {
	s.tell("calm")
	s.heal()
	for _, n := range s.nodes {
		s.revive(n)
	}
	s.await("all nodes can be asked again", func() bool {
		return !slices.ContainsFunc(simulatedNames, func(name string) bool { return s.nodes[name].asked() == nil })
	})
}
