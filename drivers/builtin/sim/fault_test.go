package sim_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// rig is a driver served in memory, and one pool that is open.
type rig struct {
	drivertest.T
	world   *simworld.World
	conn    *grpc.ClientConn
	crashed chan struct{}
	storage driverpb.StorageClient
	base    driverpb.BaseClient
}

// serve serves an instance on a world until the test ends, or until it crashes on request.
func serve(tb drivertest.T, world *simworld.World, instance string) *rig {
	tb.Helper()
	return serveWith(tb, world, sim.Options{Instance: instance})
}

// serveIn serves an instance with a directory of its own.
func serveIn(tb drivertest.T, world *simworld.World, dir string) *rig {
	tb.Helper()
	return serveWith(tb, world, sim.Options{Instance: "sim-1", WorkDir: dir})
}

func serveWith(tb drivertest.T, world *simworld.World, options sim.Options) *rig {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	listener := bufconn.Listen(1 << 16)
	r := &rig{T: tb, world: world, crashed: make(chan struct{})}
	options.Done, options.Crash = ctx.Done(), func() { close(r.crashed); cancel() }
	driver := sim.NewDriver(world, options)
	served := make(chan error, 1)
	go func() { served <- sdk.ServeListener(ctx, listener, driver, nil) }()
	conn, err := grpc.NewClient("passthrough:memory",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	r.conn, r.storage, r.base = conn, driverpb.NewStorageClient(conn), driverpb.NewBaseClient(conn)
	return r
}

// inBubble runs a test in virtual time with an instance and an open pool.
func inBubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, simworld.New(), "sim-1")
		if err := r.openPool(); err != nil {
			t.Fatal(err)
		}
		test(t, r)
	})
}

func call(token, kind, id string) *driverpb.Call {
	return &driverpb.Call{Token: token, Epoch: 1, Resource: &driverpb.Ref{Kind: kind, Id: id}}
}

func (r *rig) inject(text string) {
	r.Helper()
	rules, err := simfault.Parse(text)
	if err != nil {
		r.Fatal(err)
	}
	for _, rule := range rules {
		if _, err := r.world.Inject(rule); err != nil {
			r.Fatal(err)
		}
	}
}

// create creates a volume; properties may order faults.
func (r *rig) create(
	ctx context.Context, token, id string, repeat bool, properties ...string,
) (*driverpb.VolumeReply, error) {
	c := call(token, "volume", id)
	c.Repeat = repeat
	if len(properties) > 0 {
		c.Properties = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for i := 0; i < len(properties); i += 2 {
			c.Properties.Fields[properties[i]] = structpb.NewStringValue(properties[i+1])
		}
	}
	return r.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{
		Call: c, Pool: &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}}, SizeBytes: 1 << 20,
	})
}

func (r *rig) truth() *simworld.Truth {
	r.Helper()
	found, err := r.world.Truth()
	if err != nil {
		r.Fatal(err)
	}
	return found
}

func (r *rig) volumes() int {
	r.Helper()
	return len(r.truth().Objects(simworld.KindVolume))
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestFaultError(t *testing.T) {
	for _, test := range []struct {
		rule    string
		class   driverpb.Class
		code    string
		effects int
	}{
		{"action=error", driverpb.Class_CLASS_TRANSIENT, "injected", 0},
		{"action=error class=exhausted code=no-disk remedy=buy", driverpb.Class_CLASS_EXHAUSTED, "no-disk", 0},
		{"action=error class=unknown at=after", driverpb.Class_CLASS_UNKNOWN, "injected", 1},
	} {
		t.Run(test.rule, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.inject("call=CreateVolume token=op-1/* nth=1 " + test.rule)
				_, err := r.create(t.Context(), "op-1/1", "vol-1", false)
				fault := sdk.FaultOf(err)
				if fault.GetClass() != test.class || fault.GetCode() != test.code {
					t.Errorf("got %v, want %s %s", err, test.class, test.code)
				}
				if got := len(r.truth().EffectsBy("op-1/1")); got != test.effects {
					t.Errorf("%d effects, want %d", got, test.effects)
				}
				if _, err := r.create(t.Context(), "op-1/1", "vol-1", true); err != nil {
					t.Errorf("repeated: %v", err)
				}
				if r.volumes() != 1 || len(r.truth().EffectsBy("op-1/1")) != 1 || len(r.truth().Faults()) != 1 {
					t.Errorf("truth: %v, faults %v", r.truth().Effects(), r.truth().Faults())
				}
			})
		})
	}
}

func TestFaultDelayAndLatency(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.inject("call=CreateVolume resource=vol-slow action=delay for=3s")
		for id, want := range map[string]time.Duration{"vol-slow": 3 * time.Second, "vol-fast": 0} {
			start := time.Now()
			if _, err := r.create(t.Context(), "op-"+id, id, false); err != nil || time.Since(start) != want {
				t.Errorf("%s took %s, %v; want %s", id, time.Since(start), err, want)
			}
		}
		start := time.Now()
		if _, err := r.create(t.Context(), "op-2", "vol-2", false, "latency", "Create*=2s *=9s"); err != nil ||
			time.Since(start) != 2*time.Second {
			t.Errorf("took %s, %v; want the latency of its property, 2s", time.Since(start), err)
		}
		_, err := r.create(t.Context(), "op-3", "vol-3", false, "latency", "soon")
		if fault := sdk.FaultOf(err); fault.GetField() != "/properties/latency" {
			t.Errorf("got %v, want INVALID at /properties/latency", err)
		}
	})
}

func TestFaultHang(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.inject("call=CreateVolume resource=vol-1 nth=1 action=hang")
		_, err := r.create(within(t, time.Hour), "op-1", "vol-1", false)
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v, want the deadline", err)
		}
		synctest.Wait() // until the driver knows that nobody waits; before, a repetition would join the call that hangs
		if _, err := r.create(t.Context(), "op-2", "vol-2", false); err != nil {
			t.Errorf("another volume beside a hanging call: %v", err)
		}
		if _, err := r.create(t.Context(), "op-1", "vol-1", true); err != nil || r.volumes() != 2 {
			t.Errorf("repeated after the hang: %v, %d volumes", err, r.volumes())
		}
	})
}

func TestFaultHangThatIgnoresCancels(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.inject("call=CreateVolume resource=vol-1 nth=1 action=hang ignore-cancel=true")
		if _, err := r.create(within(t, time.Minute), "op-1", "vol-1", false); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v, want the deadline", err)
		}
		time.Sleep(time.Hour)
		recalled, err := r.base.Recall(t.Context(), &driverpb.RecallRequest{Token: "op-1"})
		if err != nil || recalled.GetState() != driverpb.RecallReply_STATE_RUNNING {
			t.Errorf("recalled an hour later: %v, %v; want it running", recalled, err)
		}
		if _, err := r.create(t.Context(), "op-2", "vol-2", false); err != nil {
			t.Errorf("another volume beside a hanging call: %v", err)
		}
	})
}

func TestFaultLoseAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.inject("call=CreateVolume nth=1 action=lose-answer")
		if _, err := r.create(within(t, time.Minute), "op-1", "vol-1", false); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v, want the deadline", err)
		}
		time.Sleep(time.Second)
		recalled, err := r.base.Recall(t.Context(), &driverpb.RecallRequest{Token: "op-1"})
		if err != nil || recalled.GetState() != driverpb.RecallReply_STATE_DONE || recalled.GetFault() != nil {
			t.Errorf("recalled: %v, %v; want it done", recalled, err)
		}
		if got := len(r.truth().EffectsBy("op-1")); got != 1 {
			t.Errorf("%d effects, want 1", got)
		}
	})
}

func TestFaultLies(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.inject("call=CreateVolume resource=vol-1 action=lie-success; call=CreateVolume resource=vol-2 action=lie-size")
		if reply, err := r.create(t.Context(), "op-1", "vol-1", false); err != nil || reply.GetSizeBytes() != 1<<20 {
			t.Errorf("a lied success answers %v, %v", reply, err)
		}
		if r.volumes() != 0 {
			t.Error("a lied success had an effect")
		}
		if reply, err := r.create(t.Context(), "op-2", "vol-2", false); err != nil || reply.GetSizeBytes() == 1<<20 {
			t.Errorf("a lied size answers %v, %v", reply, err)
		}
		if o := r.truth().Objects(simworld.KindVolume); len(o) != 1 || o[0].Bytes != 1<<20 {
			t.Errorf("truth: %v", o)
		}
	})
}

func TestFaultCrash(t *testing.T) {
	for rule, effects := range map[string]int{"crash-before-effect": 0, "crash-after-effect": 1} {
		t.Run(rule, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.inject("call=CreateVolume nth=1 action=" + rule)
				if _, err := r.create(within(t, time.Minute), "op-1", "vol-1", false); err == nil {
					t.Error("a crashed driver answered")
				}
				<-r.crashed
				if got := r.volumes(); got != effects {
					t.Errorf("%d volumes after the crash, want %d", got, effects)
				}
				next := serve(t, r.world, "sim-2")
				if _, err := next.create(t.Context(), "op-1", "vol-1", true); err != nil {
					t.Errorf("repeated on the next instance: %v", err)
				}
				if got := next.truth().EffectsBy("op-1"); len(got) != 1 || len(next.truth().Duplicates()) != 0 {
					t.Errorf("effects %v, duplicates %v", got, next.truth().Duplicates())
				}
			})
		})
	}
}

func TestFaultsOfOneResourceAndOfTheDriver(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		wide := "call=CreateVolume times=1 action=error code=wide"
		configure := func(faults string) error {
			properties, _ := structpb.NewStruct(map[string]any{"faults": faults})
			_, err := r.base.Configure(t.Context(), &driverpb.ConfigureRequest{Properties: properties})
			return err
		}
		if fault := sdk.FaultOf(configure("action=dance")); fault.GetField() != "/properties/faults" {
			t.Errorf("bad rules: %v, want INVALID at /properties/faults", fault)
		}
		if err := configure(wide); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, faults := range []string{wide, wide, "nth=1 action=error code=own", "nth=1 action=error code=own", wide} {
			id := []string{"vol-1", "vol-2", "vol-3", "vol-4", "vol-5"}[i]
			_, err := r.create(t.Context(), "op-"+id, id, false, "faults", faults)
			got = append(got, sdk.FaultOf(err).GetCode())
		}
		// Driver-wide rules come merged with each call and must count once; equal rules of two resources count apart.
		if want := []string{"wide", "", "own", "own", ""}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFaultSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, simworld.New(), "sim-1")
		r.inject("action=slow-start for=20s")
		for i, want := range []time.Duration{20 * time.Second, 0} {
			start := time.Now()
			_, err := r.base.Configure(t.Context(), &driverpb.ConfigureRequest{})
			if err != nil || time.Since(start) != want {
				t.Errorf("configure %d took %s, %v; want %s", i, time.Since(start), err, want)
			}
		}
	})
}

func TestFaultFloodAndLeak(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.inject("call=CreateVolume action=flood-log lines=1000; call=CreateVolume action=leak-memory bytes=1048576")
		if _, err := r.create(t.Context(), "op-1", "vol-1", false); err != nil {
			t.Errorf("a flooding, leaking call still answers: %v", err)
		}
	})
}

// TestTwoInstancesOnOneWorld is what a live swap is: the old instance is fenced by the adoption of the new one.
func TestTwoInstancesOnOneWorld(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		reply, err := r.create(t.Context(), "op-1", "vol-1", false)
		if err != nil {
			t.Fatal(err)
		}
		next := serve(t, r.world, "sim-2")
		adopt := call("op-2", "volume", "vol-1")
		adopt.Epoch, adopt.Handle = 2, reply.GetHandle()
		adopted, err := next.base.Adopt(t.Context(), &driverpb.AdoptRequest{Call: adopt})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := sim.ReadHandle(reply.GetHandle())
		after, err := sim.ReadHandle(adopted.GetHandle())
		if err != nil || after.Seq <= before.Seq {
			t.Errorf("handles %+v, then %+v, %v; want a newer one", before, after, err)
		}
		_, err = r.storage.DeleteVolume(t.Context(), &driverpb.VolumeRequest{
			Call: call("op-3", "volume", "vol-1"), Pool: &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}},
		})
		if fault := sdk.FaultOf(err); fault.GetClass() != driverpb.Class_CLASS_FENCED {
			t.Errorf("the old instance got %v, want FENCED", err)
		}
		var refusal *simworld.LawError
		if errors.As(err, &refusal) || r.volumes() != 1 || len(r.truth().Refusals()) != 1 {
			t.Errorf("volumes %d, refusals %v", r.volumes(), r.truth().Refusals())
		}
	})
}

// TestACrashedInstanceDoesNothingMore: a process that is dead does not finish what other calls had begun.
func TestACrashedInstanceDoesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := simworld.New()
		driver := sim.NewDriver(world, sim.Options{Crash: func() {}})
		open := func(ctx context.Context, id string) error {
			_, err := driver.Storage.OpenPool(ctx, &driverpb.OpenPoolRequest{Call: call("op-"+id, "pool", id)})
			return err
		}
		if _, err := world.Inject(simfault.Rule{Resource: "pool-1", Action: simfault.CrashBeforeEffect}); err != nil {
			t.Fatal(err)
		}
		if err := open(within(t, time.Second), "pool-1"); err == nil {
			t.Error("the call that crashed succeeded")
		}
		if err := open(t.Context(), "pool-2"); err == nil {
			t.Error("a call after the crash succeeded")
		}
		if found, err := world.Truth(); err != nil || len(found.Effects()) != 0 {
			t.Errorf("effects %v, %v; want none", found.Effects(), err)
		}
	})
}
