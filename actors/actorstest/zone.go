package actorstest

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Shards of a test zone: few, so that actors share them.
const Shards = 8

// Zone is a zone in one process.
type Zone struct {
	t          testing.TB
	Machine    *persistence.Machine
	Vocabulary resources.Vocabulary
	World      *simworld.World
	// Secrets has the key that secrets are sealed with.
	Secrets *secrets.Keeper
	// Table is what the next system carries out; nil = the real one.
	Table operations.Table
	// Cared is told by the next system what became of the care for resources.
	Cared func(kind resources.Kind, what actors.Care)
	// Crashed is told by the next system of crashes.
	Crashed func(kind resources.Kind)
	// State is what the next system reads; nil = Machine.
	State actors.State
	// Wrap, if set, puts something between the next system and the log.
	Wrap func(actors.Log) actors.Log
	// Lease says whether the next system may act, as of a node of several; nil = it is
	// the only one.
	Lease func() bool
	// BeforeStart is called with a system that was made and not started.
	BeforeStart func(*actors.System)
	mu          sync.Mutex
	index       uint64
	System      *actors.System
	// engine is that of the last system: it reads the state also after a kill.
	engine  *actors.Engine
	driver  *driver
	refuse  func(properties map[string]any) error
	called  func(node, method string)
	carried func(method string, call *driverpb.Call)
	behave  func(ctx context.Context, version, method string, request any) error
	// served are the versions of drivers that are not the simulator.
	served map[driverVersion]func() (grpc.ClientConnInterface, error)
	// proposing is called before a command is applied.
	proposing func(cmd persistence.Command)
}

// New sets a zone up and starts it.
func New(t testing.TB) *Zone {
	t.Helper()
	z := Prepare(t)
	z.Start()
	return z
}

// Prepare sets a zone up without starting it.
func Prepare(t testing.TB) *Zone {
	t.Helper()
	vocabulary := resources.NewVocabulary()
	codec, err := persistence.NewCodec(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New()
	machine, err := persistence.Open(store, codec)
	if err != nil {
		t.Fatal(err)
	}
	z := &Zone{t: t, Machine: machine, Vocabulary: vocabulary, World: simworld.New(), Secrets: &secrets.Keeper{}}
	z.Secrets.Use(secrets.Ring{}.With())
	z.bootstrap()
	z.driver = serve(t, z.World)
	t.Cleanup(func() {
		z.Kill()
		z.driver.stop()
		if err := store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return z
}

func (z *Zone) bootstrap() {
	zone := &resources.Zone{
		Meta: resources.Meta{
			Kind: resources.KindZone, ID: z.Vocabulary.NewID(resources.KindZone, time.Now(), [10]byte{1}), Name: "zone",
		},
		Status: resources.ZoneStatus{ClusterID: "test", Shards: Shards},
	}
	doc, err := z.Machine.Codec().Seal(zone)
	if err != nil {
		z.t.Fatal(err)
	}
	begin := &persistence.Bootstrap{
		Level: persistence.NewestLevel, Documents: []*persistence.Document{doc}, SecretKey: z.Secrets.Ring().IDs()[0],
	}
	if _, err := z.Propose(z.t.Context(), begin); err != nil {
		z.t.Fatal(err)
	}
}

// Start starts a system on the zone's state, with a new epoch.
func (z *Zone) Start() {
	z.t.Helper()
	state := actors.State(z.Machine)
	if z.State != nil {
		state = z.State
	}
	log := actors.Log(z)
	if z.Wrap != nil {
		log = z.Wrap(z)
	}
	system := actors.New(actors.Config{
		Node: ownNode, Log: log, Lease: z.Lease, State: state, Codec: z.Machine.Codec(), Vocabulary: z.Vocabulary, Drivers: z,
		Logger: slog.New(slog.DiscardHandler), Table: z.Table, Cared: z.Cared, Crashed: z.Crashed,
		Secrets: z.Secrets,
	})
	z.mu.Lock()
	z.System, z.engine = system, system.Engine()
	z.mu.Unlock()
	if z.BeforeStart != nil {
		z.BeforeStart(system)
	}
	if err := system.Start(context.Background()); err != nil {
		z.t.Fatal(err)
	}
}

// Kill ends the system where it stands: what ran is cut off, nothing more is
// written by it.
func (z *Zone) Kill() {
	z.mu.Lock()
	system := z.System
	z.System = nil
	z.mu.Unlock()
	if system == nil {
		return
	}
	if err := system.Stop(context.Background()); err != nil {
		z.t.Errorf("stopping the system: %v", err)
	}
}

// Before sets what is called before each command is applied, by whoever proposes it: what it does itself comes first.
func (z *Zone) Before(proposing func(cmd persistence.Command)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.proposing = proposing
}

// Propose implements actors.Log: it applies at once.
func (z *Zone) Propose(_ context.Context, cmd persistence.Command) (persistence.Result, error) {
	z.mu.Lock()
	proposing := z.proposing
	z.mu.Unlock()
	if proposing != nil {
		proposing(cmd)
	}
	data, err := z.Machine.Codec().EncodeCommand(cmd)
	if err != nil {
		return persistence.Result{}, err
	}
	z.mu.Lock()
	z.index++
	results, err := z.Machine.Apply([]persistence.Entry{{Index: z.index, At: time.Now(), Commands: [][]byte{data}}})
	system := z.System
	z.mu.Unlock()
	if err != nil {
		return persistence.Result{}, err
	}
	if system != nil {
		system.Applied()
	}
	return results[0][0], results[0][0].Err
}

// Engine is what can be asked of the zone.
func (z *Zone) Engine() *actors.Engine {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.engine
}

// driver is the simulator, served in this process.
type driver struct {
	conn   *grpc.ClientConn
	cancel context.CancelFunc
	done   chan struct{}
}

const bufferBytes = 1 << 16

func serve(t testing.TB, world *simworld.World) *driver {
	t.Helper()
	listener := bufconn.Listen(bufferBytes)
	ctx, cancel := context.WithCancel(context.Background())
	d := &driver{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		sdk.ServeListener(ctx, listener, sim.NewDriver(world, sim.Options{}), nil) // ends with ctx
	}()
	conn, err := grpc.NewClient("passthrough:///sim",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	d.conn = conn
	return d
}

func (d *driver) stop() {
	d.conn.Close()
	d.cancel()
	<-d.done
}

// Restart kills the system and takes its state up again with a new one.
func (z *Zone) Restart() {
	z.Kill()
	z.Start()
}

// Cancel asks for an operation to stop; one that has ended is left alone.
func (z *Zone) Cancel(id string) {
	if err := z.decide(id, resources.ResolutionCancel); err != nil && resources.ClassOf(err) != resources.ClassConflict {
		z.t.Errorf("cancelling operation %s: %v", id, err)
	}
}

// Resolve is an operator's decision on an operation, which must be taken.
func (z *Zone) Resolve(id string, resolution resources.Resolution) {
	z.t.Helper()
	if err := z.decide(id, resolution); err != nil {
		z.t.Fatalf("deciding to %s operation %s: %v", resolution, id, err)
	}
}

func (z *Zone) decide(id string, resolution resources.Resolution) error {
	_, err := z.Propose(context.Background(), &persistence.Resolve{
		Operation: id, Resolution: resolution, Whole: true, Origin: resources.Origin{Principal: "test"}, Unwinding: true,
	})
	return err
}
