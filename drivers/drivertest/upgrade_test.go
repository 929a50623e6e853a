package drivertest_test

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	upgraded = "upgraded under load from the older version, nothing fails, is lost or reordered"
	left     = "what the older version left is adopted and served"
)

// TestUpgradesAreTried gives the kit an older version, and newer ones, right and wrong.
func TestUpgradesAreTried(t *testing.T) {
	for _, test := range []struct {
		name  string
		newer func(d *sdk.Driver)
		want  []string
	}{
		{"right", func(*sdk.Driver) {}, nil},
		{"the newer one can't read what the older one wrote", func(d *sdk.Driver) {
			right := d.Resources
			d.Resources = &wrongBase{Resources: right, adopt: func(
				ctx context.Context, call *driverpb.Call,
			) (*driverpb.Handle, error) {
				if call.GetResource().GetKind() == "volume" && len(call.GetHandle().GetData()) > 0 &&
					call.GetHandle().GetVersion() == 1 {
					return nil, sdk.Unsupported("handle-version", "this is of an older version")
				}
				return right.Adopt(ctx, call)
			}}
		}, []string{
			step("Storage", upgraded), step("Storage", left), step("Storage", swapped),
			"Storage: Release and Adopt hand a volume over unharmed", step("Storage", handleVersion),
			"Storage: Adopt of a volume that is gone is refused with NOT_FOUND",
		}},
		{"the newer one starts with other sizes", func(d *sdk.Driver) {
			right := d.Storage
			d.Storage = &wrongStorage{StorageServer: right, grow: func(
				ctx context.Context, r *driverpb.GrowVolumeRequest,
			) (*driverpb.VolumeReply, error) {
				reply, err := right.GrowVolume(ctx, r)
				if r.GetCall().GetEpoch() > 1 && err == nil {
					reply, _ = proto.Clone(reply).(*driverpb.VolumeReply)
					reply.SizeBytes -= 1 << 20
				}
				return reply, err
			}}
		}, []string{step("Storage", upgraded), step("Storage", left), step("Storage", swapped)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			world := simworld.New()
			older := func(env sdk.Environment) (sdk.Driver, error) {
				return sim.NewDriver(world, sim.Options{Instance: env.Instance}), nil
			}
			newer := func(env sdk.Environment) (sdk.Driver, error) {
				d := sim.NewDriver(world, sim.Options{Instance: env.Instance})
				test.newer(&d)
				return d, nil
			}
			h := simulator(t, world, newer)
			h.Before = drivertest.InMemory(older)
			h.Beside = func(tb drivertest.T, _ drivertest.Instance) drivertest.Instance {
				tb.Helper()
				return drivertest.InMemory(newer)(tb)
			}
			compare(t, drivertest.Evaluate(t, h), test.want)
		})
	}
}
