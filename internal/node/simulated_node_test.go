package node_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/placement"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/clustertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

var simulatedNames = []string{"n1", "n2", "n3"}

// simulatedNode is a node as the product puts it together, with a network, a disk and hardware in memory.
type simulatedNode struct {
	t      testing.TB
	name   string
	hub    *clustertest.Hub
	watch  *watch
	host   *simulatedHost
	memory *cluster.Memory
	store  *memstore.Store
	codec  *persistence.Codec

	machine *persistence.Machine
	net     *clustertest.Network
	cluster *cluster.Node
	stop    context.CancelFunc // nil while it does not run
	running sync.WaitGroup

	mu     sync.Mutex
	system *actors.System // nil while it can't be asked
	pause  chan struct{}  // closed when the pause is over; nil = none
	trap   chan struct{}  // closed when the next call is about to leave; nil = none is set
}

// leaseTerms are a quarter of the product's, so that more happens.
func leaseTerms() placement.Terms {
	return placement.Terms{Lease: 2 * time.Second, Margin: 400 * time.Millisecond}
}

// open starts the node on what its disk has.
func (n *simulatedNode) open(join bool) {
	n.t.Helper()
	var err error
	if n.machine, err = persistence.Open(n.store, n.codec); err != nil {
		n.t.Fatal(err)
	}
	n.net = n.hub.Network(n.name)
	n.cluster, err = cluster.Open(cluster.Config{
		NodeID: n.name, ClusterID: "c", Machine: node.StateMachine(n.machine), InMemory: true, Memory: n.memory,
		Network: n.net, Join: join, SnapshotEntries: 400, TrailingBytes: 32 << 10,
		ElectionTimeout: 500 * time.Millisecond, Register: func(s grpc.ServiceRegistrar) { relay.Register(s, n.host, nil) },
	})
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.running.Go(func() { n.run(ctx) })
}

// run takes up the node's work as soon as it can, and does it until ctx ends.
func (n *simulatedNode) run(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) { // a loop without a pause would keep time from passing
		if n.cluster.Ready(ctx) != nil {
			continue
		}
		var system *actors.System
		lease := placement.NewLease(leaseTerms(), n.cluster.Renew, func(may bool) { system.Hold(may) })
		log := node.Log(n.cluster, n.machine)
		system = actors.New(actors.Config{
			Node: n.name, Log: log, State: n.machine, Codec: n.codec, Vocabulary: resources.NewVocabulary(),
			Drivers: reach{n}, Lease: lease.Holds, Fresh: node.Fresh(n.cluster), IdleAfter: 2 * time.Second,
			CareEvery: time.Second, Logger: slog.New(slog.DiscardHandler),
		})
		unwatch := n.cluster.OnApplied(func(uint64) { system.Applied() })
		if err := system.Start(ctx); err == nil {
			n.offer(system)
			placer := &placement.Placer{
				Terms: leaseTerms(), Log: log, State: n.machine, Members: node.Leading(n.cluster),
				Settled: n.cluster.Settled, Logger: slog.New(slog.DiscardHandler),
			}
			var chores sync.WaitGroup
			chores.Go(func() { lease.Keep(ctx) })
			chores.Go(func() { placer.Run(ctx) })
			chores.Wait()
			n.offer(nil)
		}
		unwatch()
		if err := system.Stop(context.Background()); err != nil {
			n.t.Errorf("%s: stopping the actors: %v", n.name, err)
		}
	}
}

func (n *simulatedNode) offer(s *actors.System) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.system = s
}

// asked is the system, if the node answers.
func (n *simulatedNode) asked() *actors.System {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pause != nil {
		return nil
	}
	return n.system
}

// kill ends the node; what it wrote is on its disk.
func (n *simulatedNode) kill() {
	if n.stop == nil {
		return
	}
	closed := make(chan error, 1)
	go func() { closed <- n.cluster.Close() }()
	time.Sleep(time.Nanosecond) // it has begun: that nobody can be reached is no failure then
	_ = n.net.Close()
	n.resume()
	n.stop()
	n.running.Wait()
	if err := <-closed; err != nil {
		n.t.Errorf("%s: closing: %v", n.name, err)
	}
	n.stop = nil
}

// suspend holds back what the node sends, as if it got no CPU; its timers go on.
func (n *simulatedNode) suspend() {
	n.mu.Lock()
	if n.pause == nil {
		n.pause = make(chan struct{})
	}
	n.mu.Unlock()
	n.hub.Isolate(n.name)
}

// suspendInCall pauses the node as it is about to call a driver, or after a while if it does not.
func (n *simulatedNode) suspendInCall() {
	trap := make(chan struct{})
	n.mu.Lock()
	n.trap = trap
	n.mu.Unlock()
	select {
	case <-trap:
	case <-time.After(3 * time.Second):
	}
	n.mu.Lock()
	n.trap = nil
	n.mu.Unlock()
	n.suspend()
}

// spring is called before each call of a driver.
func (n *simulatedNode) spring() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.trap == nil {
		return
	}
	close(n.trap)
	n.trap = nil
	if n.pause == nil {
		n.pause = make(chan struct{})
	}
}

func (n *simulatedNode) resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pause != nil {
		close(n.pause)
		n.pause = nil
	}
}

// whilePaused waits for the end of a pause, and reports whether there was one.
func (n *simulatedNode) whilePaused() bool {
	n.mu.Lock()
	pause := n.pause
	n.mu.Unlock()
	if pause == nil {
		return false
	}
	<-pause
	return true
}

// adopt has the node give a driver that was started again its resources back.
func (n *simulatedNode) adopt(on string) {
	if s := n.asked(); s != nil {
		if err := s.Adopt(operations.Started{Product: sim.Name, Node: on}); err != nil {
			n.t.Errorf("%s: giving the driver its resources back: %v", n.name, err)
		}
	}
}
