package drivertest_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// A planted bug makes a wrong driver of the simulator. The kit must find it, by exactly the checks that say what is
// wrong.
type planted struct {
	name  string
	plant func(d *sdk.Driver, world *simworld.World)
	// plantLog is plant for a bug that logs.
	plantLog func(d *sdk.Driver, log *slog.Logger)
	// want lists the checks that must fail; an entry that ends in * stands for all that begin so.
	want []string
}

func TestTheKitFindsPlantedBugs(t *testing.T) {
	for _, bug := range plantedBugs() {
		t.Run(bug.name, func(t *testing.T) {
			t.Parallel()
			world := simworld.New()
			h := simulator(t, world, func(env sdk.Environment) (sdk.Driver, error) {
				d := sim.NewDriver(world, sim.Options{Instance: env.Instance})
				if bug.plantLog != nil {
					bug.plantLog(&d, env.Log)
					return d, nil
				}
				bug.plant(&d, world)
				return d, nil
			})
			compare(t, drivertest.Evaluate(t, h), bug.want)
		})
	}
}

// compare holds results to the checks that are to fail.
func compare(t *testing.T, results []report.Check, want []string) {
	t.Helper()
	if len(results) < 100 {
		t.Fatalf("only %d checks ran", len(results))
	}
	found := map[string]bool{}
	for _, r := range results {
		expected := slices.IndexFunc(want, func(w string) bool {
			prefix, open := strings.CutSuffix(w, "*")
			return r.Name == w || open && strings.HasPrefix(r.Name, prefix)
		})
		if expected >= 0 && r.Failed() {
			found[want[expected]] = true
		}
		switch {
		case r.Failed() && expected < 0:
			t.Errorf("%q failed, though nothing of that is wrong: %s", r.Name, strings.Join(r.Log, "; "))
		case !r.Failed() && expected >= 0 && !strings.HasSuffix(want[expected], "*"):
			t.Errorf("%q passed, though the driver is wrong", r.Name)
		}
	}
	for _, w := range want {
		if !found[w] {
			t.Errorf("no check failed of %q", w)
		}
	}
}

// step is the name of a check that holds for all mutating calls.
func step(method, sentence string) string { return method + ": " + sentence }

const (
	twice     = "asked twice with one token it acts once and answers twice"
	together  = "two callers with one token at the same time get one effect"
	again     = "what is so already succeeds for another token"
	reused    = "a token that came with another request is refused"
	recalls   = "Recall tells the outcome by the token"
	stale     = "a stale epoch is refused and has no effect"
	first     = "a repeat of what never happened does it"
	later     = "a repeat after the driver was killed succeeds and acts once"
	killed    = "killed in the middle and repeated it has one effect"
	cancelled = "cancelled it stops and can be repeated"
	expired   = "past its deadline it stops and can be repeated"
	lost      = "its answer is lost, and a repeat has one effect"
)

// The names of the checks of every category that has resources of its own.
const (
	late              = "a call to make something that arrives late, when that is gone again, makes nothing"
	epochsApart       = "the epoch of one resource says nothing of another's"
	adoptFenced       = "Adopt and Release with a stale epoch are refused with FENCED"
	foreignHandle     = "a handle of a version that the driver can't read is refused by Adopt"
	handleVersion     = "each handle has the version that is declared, and at most 64 KiB"
	adoptGone         = "Adopt of what is gone is refused with NOT_FOUND"
	atOnce            = "different resources are made at the same time, as many as are declared"
	operationValues   = "each value that the description allows for an operation is taken, or refused with its field"
	operationDeclared = "a setting for an operation is of one that the driver declares it can do"

	values  = "each value that the description allows is taken, or refused with its field"
	secrets = "no secret is in a log, a handle, a fault or a fact"
	swapped = "swapped under load with itself, nothing fails, is lost or reordered"
)

// everywhere is a check in each category that has resources of its own.
func everywhere(sentence string) []string {
	var all []string
	for _, category := range []string{"Storage", "Images", "Hypervisor", "Networks"} {
		all = append(all, step(category, sentence))
	}
	return all
}

func plantedBugs() []planted {
	return slices.Concat(plantedStorage(), plantedSnapshots(), plantedElsewhere(), plantedOutOfBand(), plantedRules(),
		plantedHonesty())
}

func plantedStorage() []planted {
	return []planted{
		{name: "nothing", plant: func(*sdk.Driver, *simworld.World) {}},
		{
			name: "delete of what is gone fails",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, remove: func(
					ctx context.Context, r *driverpb.VolumeRequest,
				) (*driverpb.OutcomeReply, error) {
					if _, err := right.StatVolume(ctx, &driverpb.VolumeRequest{Call: r.GetCall(), Pool: r.GetPool()}); err != nil {
						return nil, err
					}
					return right.DeleteVolume(ctx, r)
				}}
			},
			want: []string{
				"Storage: deleting what is gone succeeds",
				step("Storage.DeleteVolume", again), step("Storage.DeleteVolume", later),
				step("Storage.DeleteVolume", killed), step("Storage.DeleteVolume", cancelled),
				step("Storage.DeleteVolume", expired),
			},
		},
		{
			name: "grow shrinks",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, grow: func(
					ctx context.Context, r *driverpb.GrowVolumeRequest,
				) (*driverpb.VolumeReply, error) {
					reply, err := right.GrowVolume(ctx, r)
					if reply != nil {
						reply.SizeBytes = r.GetSizeBytes()
					}
					return reply, err
				}}
			},
			want: []string{"Storage: GrowVolume never makes a volume smaller"},
		},
		{
			name: "a repeat makes a second volume",
			plant: func(d *sdk.Driver, world *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, create: func(
					ctx context.Context, r *driverpb.CreateVolumeRequest,
				) (*driverpb.VolumeReply, error) {
					reply, err := right.CreateVolume(ctx, r)
					if r.GetCall().GetRepeat() && err == nil {
						duplicate(world, r.GetCall().GetResource().GetId())
					}
					return reply, err
				}}
			},
			want: []string{
				step("Storage.CreateVolume", first), step("Storage.CreateVolume", later),
				step("Storage.CreateVolume", killed), step("Storage.CreateVolume", cancelled),
				step("Storage.CreateVolume", expired),
			},
		},
		{
			name: "an error without a fault",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, stat: func(
					ctx context.Context, r *driverpb.VolumeRequest,
				) (*driverpb.VolumeReply, error) {
					reply, err := right.StatVolume(ctx, r)
					if err != nil {
						return nil, status.Error(codes.NotFound, "gone")
					}
					return reply, nil
				}}
			},
			want: []string{"Storage: StatVolume of what is not there is refused with NOT_FOUND"},
		},
		{
			name: "a conflict without a remedy, and without its code",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, closes: func(
					ctx context.Context, r *driverpb.PoolRequest,
				) (*driverpb.OutcomeReply, error) {
					reply, err := right.ClosePool(ctx, r)
					if err != nil {
						return nil, sdk.Conflict("busy", "the pool is busy", "")
					}
					return reply, nil
				}}
			},
			want: []string{"Storage: ClosePool of a pool that holds volumes is refused with CONFLICT"},
		},
	}
}

// duplicate plants a volume with the same id into another pool.
func duplicate(world *simworld.World, id string) {
	_ = world.Plant(simworld.Object{Key: simworld.Key{Kind: simworld.KindPool, ID: "pool-other"}})
	_ = world.Plant(simworld.Object{Key: simworld.Key{Kind: simworld.KindVolume, Scope: "pool-other", ID: id}})
}

func plantedSnapshots() []planted {
	return []planted{
		{
			name: "revert restores nothing",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				right := d.Storage
				d.Storage = &wrongStorage{StorageServer: right, revert: func(
					ctx context.Context, r *driverpb.SnapshotRequest,
				) (*driverpb.VolumeReply, error) {
					return right.StatVolume(ctx, &driverpb.VolumeRequest{
						Call: &driverpb.Call{Resource: r.GetVolume(), Epoch: r.GetCall().GetEpoch()}, Pool: r.GetPool(),
					})
				}}
			},
			want: []string{
				"Storage: RevertSnapshot restores the content, and later snapshots stay",
				"Storage: RevertSnapshot to what is not there is refused with NOT_FOUND",
				step("Storage.RevertSnapshot", twice), step("Storage.RevertSnapshot", together),
				step("Storage.RevertSnapshot", again), step("Storage.RevertSnapshot", first),
				step("Storage.RevertSnapshot", later), step("Storage.RevertSnapshot", killed),
				step("Storage.RevertSnapshot", cancelled), step("Storage.RevertSnapshot", expired),
				step("Storage.RevertSnapshot", lost),
			},
		},
		{
			name: "observe does not know snapshots",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Resources = &wrongBase{Resources: d.Resources, observe: func(o *driverpb.Observed) []*driverpb.Observed {
					if o.GetResource().GetKind() == "snapshot" {
						return nil
					}
					return []*driverpb.Observed{o}
				}}
			},
			want: []string{
				"Storage: Observe lists snapshots", "Storage: RevertSnapshot restores the content, and later snapshots stay",
				"Storage.CreateSnapshot: *", step("Storage.DeleteSnapshot", stale),
			},
		},
		{
			name: "adopt takes what is gone",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Resources = &wrongBase{Resources: d.Resources, adopt: func(
					_ context.Context, call *driverpb.Call,
				) (*driverpb.Handle, error) {
					return call.GetHandle(), nil
				}}
			},
			want: []string{
				"Storage: Adopt of a volume that is gone is refused with NOT_FOUND", step("Images", adoptGone),
			},
		},
	}
}

func plantedElsewhere() []planted {
	return []planted{
		{
			name: "pause works though it is not declared",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Description, _ = proto.Clone(d.Description).(*driverpb.DescribeReply)
				d.Description.Capabilities.Pause = false
			},
			want: []string{"Hypervisor: pause is not declared and is refused with UNSUPPORTED"},
		},
		{
			name: "guests die with the driver",
			plant: func(_ *sdk.Driver, world *simworld.World) {
				truth, err := world.Truth()
				if err != nil {
					return
				}
				for _, o := range truth.Objects(simworld.KindMachine) {
					_ = world.Vanish(o.Key) // as each process starts
				}
			},
			want: []string{
				"Hypervisor: a machine runs on when the driver is killed, and is adopted",
				"Hypervisor: Observe lists exactly the machines that exist",
				"Hypervisor: what moved never runs here again, also after the driver was killed",
				"Hypervisor.*",
			},
		},
		{
			name: "rules are not looked at", plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Networks = wrongNetworks{d.Networks}
			},
			want: []string{"Networks: a rule that can't be applied is refused with INVALID and its place"},
		},
		{
			name: "the checksum is not looked at", plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Images = wrongImages{d.Images}
			},
			want: []string{
				"Images: a template with a wrong checksum is refused with INVALID and leaves nothing",
				"Images: an unknown format or no source is refused with INVALID and the field",
			},
		},
		{
			name: "a property without a type, and one twice",
			plant: func(d *sdk.Driver, _ *simworld.World) {
				d.Description, _ = proto.Clone(d.Description).(*driverpb.DescribeReply)
				properties := d.Description.GetProperties()
				properties[0].Type = driverpb.Property_TYPE_UNSPECIFIED
				d.Description.Properties = append(properties, properties[1])
			},
			want: []string{"Base: properties are described well enough to be validated and shown"},
		},
		{
			name: "a name without a vendor", plant: func(d *sdk.Driver, _ *simworld.World) { d.Name = fmt.Sprint("Sim ", 2) },
			want: []string{"Base: Hello names vendor, version and the categories that are served"},
		},
		{
			name: "a category is missing", plant: func(d *sdk.Driver, _ *simworld.World) { d.Networks = nil },
			want: []string{
				"Base: Hello names vendor, version and the categories that are served",
				"Base: ids that are no file names are refused", "Networks: *", "Networks.*",
			},
		},
	}
}
