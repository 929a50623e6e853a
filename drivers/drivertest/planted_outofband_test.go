package drivertest_test

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// wrongPower is the category with a PowerOff of its own.
type wrongPower struct {
	driverpb.OutOfBandServer
	off func(context.Context, *driverpb.PowerRequest) (*driverpb.PowerReply, error)
}

// PowerOff implements driverpb.OutOfBandServer.
func (w *wrongPower) PowerOff(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return w.off(ctx, r)
}

// wrongOff makes a driver whose PowerOff is off, given the right one.
func wrongOff(
	off func(ctx context.Context, r *driverpb.PowerRequest, right driverpb.OutOfBandServer, world *simworld.World) (
		*driverpb.PowerReply, error),
) func(*sdk.Driver, *simworld.World) {
	return func(d *sdk.Driver, world *simworld.World) {
		right := d.OutOfBand
		d.OutOfBand = &wrongPower{right, func(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
			return off(ctx, r, right, world)
		}}
	}
}

func saysOff() *driverpb.PowerReply {
	return &driverpb.PowerReply{Power: driverpb.Power_POWER_OFF, ObservedAtMs: time.Now().UnixMilli()}
}

// What fails of a driver that does not turn off as it says, in whatever way.
const (
	offIsOff    = "OutOfBand: success of PowerOff means that the power is off"
	offStays    = "OutOfBand: what is on or off already is left alone"
	answered    = "OutOfBand: a token that was answered is never carried out again"
	unconfirmed = "OutOfBand: what the controller does not confirm is refused with UNKNOWN"
)

func plantedOutOfBand() []planted {
	return []planted{
		{
			name: "off is reported before it is off",
			plant: wrongOff(func(
				ctx context.Context, r *driverpb.PowerRequest, right driverpb.OutOfBandServer, _ *simworld.World,
			) (*driverpb.PowerReply, error) {
				if _, err := right.StatPower(ctx, r); err != nil {
					return nil, err
				}
				// The order is on its way, and a host takes longer than any check to go off.
				return saysOff(), nil
			}),
			want: []string{
				offIsOff, offStays, answered, unconfirmed, "OutOfBand: StatPower says on, off, and when it asked",
				"OutOfBand.PowerOff: *", "OutOfBand.PowerOn: *",
			},
		},
		{
			name: "the power goes off twice for one token",
			plant: wrongOff(func(
				ctx context.Context, r *driverpb.PowerRequest, right driverpb.OutOfBandServer, world *simworld.World,
			) (*driverpb.PowerReply, error) {
				before, err := right.StatPower(ctx, r)
				if err != nil {
					return nil, err
				}
				reply, err := right.PowerOff(ctx, r)
				if err != nil || before.GetPower() == driverpb.Power_POWER_OFF {
					return reply, err
				}
				for _, state := range []string{simworld.On, simworld.Off} {
					cause := simworld.Cause{Call: "PowerOff", Token: r.GetCall().GetToken(), Epoch: r.GetCall().GetEpoch()}
					err := world.Update(cause, func(tx *simworld.Tx) error {
						power, _ := tx.Get(simworld.PowerOf(r.GetCall().GetResource().GetId()))
						power.State = state
						return tx.Switch("power-"+state, &power)
					})
					if err != nil {
						return nil, err
					}
				}
				return reply, nil
			}),
			want: []string{offIsOff, offStays, answered, "OutOfBand.PowerOff: *", "OutOfBand.PowerOn: *"},
		},
		{
			name: "an unknown outcome is called success",
			plant: wrongOff(func(
				ctx context.Context, r *driverpb.PowerRequest, right driverpb.OutOfBandServer, _ *simworld.World,
			) (*driverpb.PowerReply, error) {
				reply, err := right.PowerOff(ctx, r)
				if sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_UNKNOWN {
					return saysOff(), nil
				}
				return reply, err
			}),
			want: []string{unconfirmed},
		},
		{
			name: "the host is not asked who it is",
			plant: wrongOff(func(
				ctx context.Context, r *driverpb.PowerRequest, right driverpb.OutOfBandServer, _ *simworld.World,
			) (*driverpb.PowerReply, error) {
				if fields := r.GetCall().GetProperties().GetFields(); fields != nil {
					delete(fields, "expectedUuid")
				}
				return right.PowerOff(ctx, r)
			}),
			want: []string{"OutOfBand: another host is refused, and the power stays"},
		},
	}
}
