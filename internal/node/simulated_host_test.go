package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/fence"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// simulatedShards is how many the zone has: few, so that many resources are in each.
const simulatedShards = 8

// aboutResource is a message about a resource, decoded or on its way through a relay.
type aboutResource interface{ GetCall() *driverpb.Call }

// callOf returns what a call of a driver is about; nil = no resource.
func callOf(request any) *driverpb.Call {
	about, ok := request.(aboutResource)
	if !ok || about.GetCall().GetResource().GetId() == "" {
		return nil
	}
	return about.GetCall()
}

func shardOfCall(kind, id string) int {
	return int(persistence.ShardOf(resources.Ref{Kind: resources.Kind(kind), ID: id}, simulatedShards))
}

// simulatedHost is what a node has that outlives it: its drivers, and what their host remembers.
type simulatedHost struct {
	t     testing.TB
	node  string
	world *simworld.World
	watch *watch
	fence *fence.Fence

	mu     sync.Mutex
	driver *driverProcess
}

// driverProcess is one life of the node's driver.
type driverProcess struct {
	conn *grpc.ClientConn
	stop context.CancelFunc
	done chan struct{}
}

func newSimulatedHost(t testing.TB, dir, node string, world *simworld.World, w *watch) *simulatedHost {
	t.Helper()
	f, _, err := fence.Open(fence.Config{
		Path: filepath.Join(dir, node), Scope: "c", Shards: simulatedShards, ShardOf: shardOfCall,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &simulatedHost{t: t, node: node, world: world, watch: w, fence: f}
	h.driver = h.begin()
	return h
}

func (h *simulatedHost) begin() *driverProcess {
	listener := bufconn.Listen(1 << 16)
	ctx, stop := context.WithCancel(context.Background())
	p := &driverProcess{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		sdk.ServeListener(ctx, listener, sim.NewDriver(h.world, sim.Options{Instance: h.node}), nil) // ends with ctx
	}()
	conn, err := grpc.NewClient("passthrough:///sim",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		h.t.Fatal(err)
	}
	p.conn = conn
	return p
}

func (p *driverProcess) end() {
	p.stop()
	<-p.done
	p.conn.Close()
}

// restart ends the driver's process, which forgets what it was called with, and starts another one.
func (h *simulatedHost) restart() {
	next := h.begin()
	h.mu.Lock()
	old := h.driver
	h.driver = next
	h.mu.Unlock()
	old.end()
}

func (h *simulatedHost) serving() *driverProcess {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.driver
}

func (h *simulatedHost) close() {
	h.driver.end()
	if err := h.fence.Close(); err != nil {
		h.t.Error(err)
	}
}

// Invoke implements grpc.ClientConnInterface, as the host's connection to a driver does.
func (h *simulatedHost) Invoke(
	ctx context.Context, method string, request, reply any, options ...grpc.CallOption,
) error {
	call := callOf(request)
	before := h.watch.before(call)
	if call != nil {
		if err := h.fence.Admit(ctx, call.GetResource().GetKind(), call.GetResource().GetId(), call.GetEpoch()); err != nil {
			h.watch.executed(call, 0, err)
			return err
		}
	}
	err := h.serving().conn.Invoke(ctx, method, request, reply, options...)
	h.watch.executed(call, before, err)
	if err != nil && sdk.FaultOf(err) == nil {
		return sdk.Unknown("outcome-unknown", fmt.Sprintf("calling %s: %v", method, err))
	}
	return err
}

// NewStream implements grpc.ClientConnInterface.
func (h *simulatedHost) NewStream(
	ctx context.Context, about *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return h.serving().conn.NewStream(ctx, about, method, options...)
}

// Conn implements relay.Drivers.
func (h *simulatedHost) Conn(context.Context, relay.Place) (grpc.ClientConnInterface, string, error) {
	return h, sim.Version, nil
}

// Console implements relay.Drivers.
func (h *simulatedHost) Console(context.Context, relay.Place, string) (io.ReadWriteCloser, error) {
	return nil, errors.ErrUnsupported
}

// Overlap implements relay.Drivers.
func (h *simulatedHost) Overlap(context.Context, relay.Place, relay.Place) (string, error) {
	return "", nil
}

// GuestUID implements relay.Drivers.
func (h *simulatedHost) GuestUID(context.Context) (uint32, error) { return 0, nil }

// reach is how the actors of a node reach the drivers of all.
type reach struct{ node *simulatedNode }

// Node implements actors.Drivers.
func (r reach) Node() string { return r.node.name }

// Nodes implements actors.Drivers.
func (r reach) Nodes() []string { return simulatedNames }

// Conn implements actors.Drivers.
func (r reach) Conn(ctx context.Context, place operations.Place) (grpc.ClientConnInterface, string, error) {
	r.node.whilePaused()
	if place.Node == r.node.name || place.Node == "" {
		return &sender{ClientConnInterface: r.node.host, node: r.node}, sim.Version, nil
	}
	link, err := r.node.cluster.Conn(place.Node)
	if err != nil {
		return nil, "", &resources.Error{Class: resources.ClassUnavailable, Code: "node-unreachable", Message: err.Error()}
	}
	conn, version, err := relay.NewRemote(link).Conn(ctx, relay.Place{Product: place.Product, Version: place.Version})
	if err != nil {
		return nil, "", err
	}
	return &sender{ClientConnInterface: conn, node: r.node}, version, nil
}

// Console implements actors.Drivers.
func (r reach) Console(context.Context, operations.Place, string) (io.ReadWriteCloser, error) {
	return nil, errors.ErrUnsupported
}

// GuestUID implements actors.Drivers.
func (r reach) GuestUID(context.Context, string) (uint32, error) { return 0, nil }

// Overlap implements actors.Drivers.
func (r reach) Overlap(context.Context, operations.Place, operations.Place) (string, error) {
	return "", nil
}

// Tunnel implements operations.Drivers.
func (r reach) Tunnel(context.Context, operations.Place, operations.Place, string) (string, func(), error) {
	return "", nil, errors.ErrUnsupported
}

// sender is a connection as a node's actors call it: after they looked whether they may.
type sender struct {
	grpc.ClientConnInterface
	node *simulatedNode
}

// slowest is how long a call takes to leave its node at most: less than the margin of the leases.
const slowest = 200 * time.Millisecond

// sentLate bounds a call that left though its caller was paused, and had given it up when it went on.
const sentLate = 10 * time.Second

// Invoke implements grpc.ClientConnInterface.
func (s *sender) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	s.node.watch.sent(s.node.name, method, callOf(request))
	s.node.spring() // between the look at the lease and the call
	time.Sleep(rand.N(slowest))
	if s.node.whilePaused() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), sentLate)
		defer cancel()
	}
	return s.ClientConnInterface.Invoke(ctx, method, request, reply, options...)
}
