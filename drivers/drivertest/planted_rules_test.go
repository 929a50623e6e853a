package drivertest_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const metricsRules = "Base: Metrics are in the text format, and none breaks a rule"

// gauge are metrics with one series.
func gauge(name, label, value string) sdk.Metrics {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "How many there are."}, []string{label})
	g.WithLabelValues(value).Set(1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(g)
	return registry
}

// TestMetricsThatAreRightPass: no check fails for a driver that registers some.
func TestMetricsThatAreRightPass(t *testing.T) {
	world := simworld.New()
	h := simulator(t, world, func(env sdk.Environment) (sdk.Driver, error) {
		d := sim.NewDriver(world, sim.Options{Instance: env.Instance})
		d.Metrics = gauge("volumes", "pool", "fast")
		return d, nil
	})
	results := drivertest.Evaluate(t, h)
	compare(t, results, nil)
	if !slices.ContainsFunc(results, func(c report.Check) bool { return c.Name == metricsRules && c.Passed() }) {
		t.Error("its metrics were not looked at")
	}
}

// plantedRules are bugs that each break one rule, and are found by the check of that rule alone.
func plantedRules() []planted {
	return []planted{
		{
			name: "a secret is among the facts", want: []string{step("Storage", secrets)},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Resources = &wrongBase{Resources: d.Resources, observe: func(o *driverpb.Observed) []*driverpb.Observed {
					if o.GetResource().GetKind() == "volume" {
						o.Facts, _ = structpb.NewStruct(map[string]any{"url": "sim://user:" + accessKey + "@pool"})
					}
					return []*driverpb.Observed{o}
				}}
			},
		},
		{
			name: "a secret is logged", want: []string{step("Storage", secrets)},
			plantLog: logsSecrets,
		},
		{
			name: "metrics that say they are of another driver", want: []string{metricsRules},
			plant: func(d *sdk.Driver, _ *simworld.World) { d.Metrics = gauge("volumes", "driver", "other/one") },
		},
		{
			name: "metrics without a value", want: []string{metricsRules},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				registry := prometheus.NewRegistry()
				registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rate", Help: "None."}, math.NaN))
				d.Metrics = registry
			},
		},
		{
			name: "one epoch for all", want: []string{step("Storage", epochsApart)}, plant: oneEpoch,
		},
		{
			name: "handles are of another version than declared", want: everywhere(handleVersion),
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.HandleReads, d.HandleWrites = []uint32{1, 2}, 2
			},
		},
		{
			name: "a value that is allowed breaks it", want: []string{step("Storage", values)},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, opens: func(
					ctx context.Context, r *driverpb.OpenPoolRequest,
				) (*driverpb.PoolReply, error) {
					if r.GetCall().GetProperties().GetFields()["thin"].GetBoolValue() {
						return nil, sdk.Internal("not-thought-of", errors.New("nobody has ever tried this"))
					}
					return right.OpenPool(ctx, r)
				}}
			},
		},
		{
			name: "an operation's value that is allowed breaks it", want: []string{step("Base", operationValues)},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, create: func(
					ctx context.Context, r *driverpb.CreateVolumeRequest,
				) (*driverpb.VolumeReply, error) {
					if r.GetCall().GetProperties().GetFields()["compression"].GetStringValue() == "zstd" {
						return nil, sdk.Internal("not-thought-of", errors.New("nobody has ever tried this"))
					}
					return right.CreateVolume(ctx, r)
				}}
			},
		},
		{
			name: "a setting is for an operation that the driver can't do",
			want: []string{
				step("Base", operationDeclared), "Hypervisor: live migration is not declared and is refused with UNSUPPORTED",
			},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Description, _ = proto.Clone(d.Description).(*driverpb.DescribeReply)
				d.Description.Capabilities.LiveMigration = false
				d.Description.Properties = append(d.Description.Properties, &driverpb.Property{
					Key: "bandwidth", Scope: "machine/migrate", Type: driverpb.Property_TYPE_BOOLEAN, Label: "Bandwidth",
					Description: "Whether to take all there is.",
				})
			},
		},
		{
			name: "a driver-wide value that is allowed is refused without its field", want: []string{step("Base", values)},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Resources
				d.Resources = &wrongBase{Resources: right, set: func(
					ctx context.Context, properties map[string]any, secrets map[string]string,
				) error {
					if note, ok := properties["noteCalls"].(bool); ok && !note {
						return sdk.Invalid("bad-setting", "", "one of the settings is wrong", "")
					}
					return right.Configure(ctx, properties, secrets)
				}}
			},
		},
		{
			name: "a machine's value that is allowed is not known", want: []string{step("Hypervisor", values)},
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Description, _ = proto.Clone(d.Description).(*driverpb.DescribeReply)
				for _, p := range d.Description.GetProperties() {
					if p.GetScope() == "machine" && p.GetKey() == "shutdown" {
						p.Enum = append(p.Enum, structpb.NewStringValue("never"))
					}
				}
				d.Hypervisor = &wrongHypervisor{d.Hypervisor}
			},
		},
		{
			name: "one volume at a time", plant: oneAtATime,
			want: []string{
				"Storage: different volumes are served at the same time", step("Storage", atOnce),
			},
		},
		{
			name: "what was released is never served again", want: []string{step("Storage", swapped)},
			plant: releasedForGood,
		},
		{
			name: "release destroys", plant: func(d *sdk.Driver, world *simworld.World) {
				right := d.Resources
				d.Resources = &wrongBase{Resources: right, release: func(
					ctx context.Context, call *driverpb.Call,
				) (*driverpb.Handle, error) {
					handle, err := right.Release(ctx, call)
					if call.GetResource().GetKind() == "volume" {
						vanish(world, call.GetResource().GetId())
					}
					return handle, err
				}}
			},
			want: []string{"Storage: Release and Adopt hand a volume over unharmed", step("Storage", swapped)},
		},
	}
}

func vanish(world *simworld.World, id string) {
	truth, err := world.Truth()
	if err != nil {
		return
	}
	for _, o := range truth.Objects(simworld.KindVolume) {
		if o.ID == id {
			_ = world.Vanish(o.Key)
		}
	}
}

// logsSecrets prints what it is called with.
func logsSecrets(d *sdk.Driver, log *slog.Logger) {
	right := d.Storage
	d.Storage = &wrongStorage{StorageServer: right, create: func(
		ctx context.Context, r *driverpb.CreateVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		log.InfoContext(ctx, "creating volume", slog.String("call", r.GetCall().String()))
		return right.CreateVolume(ctx, r)
	}}
}

// oneEpoch compares epochs without looking whose they are.
func oneEpoch(d *sdk.Driver, _ *simworld.World) {
	var highest atomic.Uint64
	base, storage := d.Resources, d.Storage
	d.Resources = &wrongBase{Resources: base, probe: func(
		ctx context.Context, call *driverpb.Call,
	) (*driverpb.ProbeReply, error) {
		if call.GetResource().GetKind() == "volume" {
			highest.Store(max(highest.Load(), call.GetEpoch()))
		}
		return base.Probe(ctx, call)
	}}
	d.Storage = &wrongStorage{StorageServer: storage, create: func(
		ctx context.Context, r *driverpb.CreateVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		if seen := highest.Load(); r.GetCall().GetEpoch() < seen {
			return nil, sdk.StaleEpoch("volume", r.GetCall().GetResource().GetId(), r.GetCall().GetEpoch(), seen)
		}
		return storage.CreateVolume(ctx, r)
	}}
}

// oneAtATime refuses what it could do a moment later.
func oneAtATime(d *sdk.Driver, _ *simworld.World) {
	var busy sync.Mutex
	right := d.Storage
	d.Storage = &wrongStorage{StorageServer: right, create: func(
		ctx context.Context, r *driverpb.CreateVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		if !busy.TryLock() {
			return nil, sdk.Transient("busy", "another volume is being created")
		}
		defer busy.Unlock()
		return right.CreateVolume(ctx, r)
	}}
}

// releasedForGood remembers what it gave up, and not that it got it back.
func releasedForGood(d *sdk.Driver, _ *simworld.World) {
	var released sync.Map
	base, storage := d.Resources, d.Storage
	d.Resources = &wrongBase{Resources: base, release: func(
		ctx context.Context, call *driverpb.Call,
	) (*driverpb.Handle, error) {
		released.Store(call.GetResource().GetId(), true)
		return base.Release(ctx, call)
	}}
	d.Storage = &wrongStorage{StorageServer: storage, grow: func(
		ctx context.Context, r *driverpb.GrowVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		if _, is := released.Load(r.GetCall().GetResource().GetId()); is {
			return nil, sdk.NotFound("released", "this volume was given up", "")
		}
		return storage.GrowVolume(ctx, r)
	}}
}

// plantedHonesty are drivers that declare something else than what they do.
func plantedHonesty() []planted {
	changed := func(change func(*driverpb.Capabilities)) func(*sdk.Driver, *simworld.World) {
		return func(d *sdk.Driver, _ *simworld.World) {
			d.Description, _ = proto.Clone(d.Description).(*driverpb.DescribeReply)
			change(d.Description.GetCapabilities())
		}
	}
	const modes = "Networks: each declared mode can be designed, and another is refused"
	return []planted{
		{
			name: "a mode that it can't build is declared", want: []string{modes},
			plant: changed(func(c *driverpb.Capabilities) { c.NetworkModes = append(c.NetworkModes, "bridged") }),
		},
		{
			name: "any mode is designed", want: []string{modes},
			plant: func(d *sdk.Driver, _ *simworld.World) { d.Networks = wrongDesign{d.Networks} },
		},
		{
			name:  "rules are applied though they are not declared",
			plant: changed(func(c *driverpb.Capabilities) { c.Firewall = false }),
			want:  []string{"Networks: rules are not declared and are refused with UNSUPPORTED"},
		},
		{
			name:  "volumes grow though that is not declared",
			plant: changed(func(c *driverpb.Capabilities) { c.Grow = false }),
			want:  []string{"Storage: GrowVolume is not declared and is refused with UNSUPPORTED"},
		},
		{
			name:  "volumes are cloned though that is not declared",
			plant: changed(func(c *driverpb.Capabilities) { c.Clone = false }),
			want:  []string{"Storage: clone is not declared and is refused with UNSUPPORTED"},
		},
		{
			name:  "machines move though that is not declared",
			plant: changed(func(c *driverpb.Capabilities) { c.LiveMigration = false }),
			want:  []string{"Hypervisor: live migration is not declared and is refused with UNSUPPORTED"},
		},
		{
			name:  "another protocol than declared",
			plant: changed(func(c *driverpb.Capabilities) { c.Protocol = "rbd" }),
			want:  []string{"Storage: an attached volume can be opened and keeps what is written"},
		},
		{
			name:  "a host can't be turned off, going by what is declared",
			plant: changed(func(c *driverpb.Capabilities) { c.PowerActions = []string{"on", "cycle", "shutdown"} }),
			want: []string{
				"OutOfBand: turning a host off and on is declared",
				"OutOfBand: off is not declared and is refused with UNSUPPORTED",
			},
		},
	}
}
