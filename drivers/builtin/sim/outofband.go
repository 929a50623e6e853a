package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// What a simulated controller does.
const (
	obeys   = "obeys"
	ignores = "ignores"
	silent  = "silent"
)

// outOfBand serves the power of hosts.
type outOfBand struct {
	driverpb.UnimplementedOutOfBandServer
	driver *driver
}

// HostUUID is the UUID of a simulated host.
func HostUUID(host string) string {
	sum := sha256.Sum256([]byte("sim host " + host))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8, vendor's own
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// controllerOf refuses a call whose controller can't be the right one, and tells whether it obeys.
func controllerOf(call *driverpb.Call) (obedient bool, err error) {
	if err := wantKind(call, simworld.KindHost); err != nil {
		return false, err
	}
	p := properties(call.GetProperties().GetFields())
	expected, err := p.text(propUUID)
	if err != nil {
		return false, err
	}
	how, err := p.text(propController)
	if err != nil {
		return false, err
	}
	host := call.GetResource().GetId()
	switch how {
	case "", obeys, ignores:
	case silent:
		return false, sdk.Transient("controller-unreachable", "the controller of "+host+" does not answer")
	default:
		return false, badProperty(propController, "want obeys, ignores or silent")
	}
	if uuid := HostUUID(host); expected != "" && !strings.EqualFold(expected, uuid) {
		return false, sdk.Invalid("another-host", "/properties/"+propUUID,
			"the controller belongs to the host with the UUID "+uuid+"; nothing was done",
			"correct the address of the controller, or the expected UUID")
	}
	return how != ignores, nil
}

// powerOf is the switch of a call's host; one that nobody touched is on.
func powerOf(tx *simworld.Tx, call *driverpb.Call) simworld.Object {
	power, touched := tx.Get(simworld.PowerOf(call.GetResource().GetId()))
	if !touched {
		power.State = simworld.On
	}
	return power
}

// awake refuses what nobody on a host can do whose power is off.
func awake(tx *simworld.Tx, call *driverpb.Call) error {
	return powered(tx, simworld.Key{Kind: simworld.KindHost, ID: call.GetResource().GetId()})
}

// powered refuses what is asked about a scope that is a host whose power is off.
func powered(tx *simworld.Tx, scope simworld.Key) error {
	if scope.Kind != simworld.KindHost {
		return nil
	}
	if power, _ := tx.Get(simworld.PowerOf(scope.ID)); power.State == simworld.Off {
		return sdk.Transient("host-off", "the power of host "+scope.ID+" is off")
	}
	return nil
}

func powerReply(tx *simworld.Tx, power simworld.Object) *driverpb.PowerReply {
	reply := &driverpb.PowerReply{
		Power: driverpb.Power_POWER_ON, ObservedAtMs: tx.Now().UnixMilli(),
		Facts: map[string]string{"uuid": HostUUID(power.ID), "model": "simulated"},
	}
	if power.State == simworld.Off {
		reply.Power = driverpb.Power_POWER_OFF
	}
	return reply
}

// StatPower implements driverpb.OutOfBandServer.
func (o *outOfBand) StatPower(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	if _, err := controllerOf(r.GetCall()); err != nil {
		return nil, err
	}
	return look(ctx, o.driver, "StatPower", r.GetCall(), func(tx *simworld.Tx) (*driverpb.PowerReply, error) {
		return powerReply(tx, powerOf(tx, r.GetCall())), nil
	})
}

// turn changes the power, unless it is so already. What the simulated switch does it does at once.
func (o *outOfBand) turn(
	ctx context.Context, method, effect, state string, call *driverpb.Call, ignored error,
) (*driverpb.PowerReply, error) {
	obedient, err := controllerOf(call)
	if err != nil {
		return nil, err
	}
	return act(ctx, o.driver, method, call, func(tx *simworld.Tx) (*driverpb.PowerReply, error) {
		power := powerOf(tx, call)
		done := power.State == state
		if effect == simworld.EffectCycle {
			done = power.ChangedBy(call.GetToken())
		}
		switch {
		case done:
			return powerReply(tx, power), nil
		case !obedient:
			return nil, ignored
		}
		power.State = state
		return answer(tx.Switch(effect, &power), func() *driverpb.PowerReply { return powerReply(tx, power) })
	})
}

func unconfirmed() error {
	return sdk.Unknown("power-unconfirmed", "the controller took the order, and does not say that it is so")
}

// PowerOff implements driverpb.OutOfBandServer.
func (o *outOfBand) PowerOff(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return o.turn(ctx, "PowerOff", "power-off", simworld.Off, r.GetCall(), unconfirmed())
}

// PowerOn implements driverpb.OutOfBandServer.
func (o *outOfBand) PowerOn(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return o.turn(ctx, "PowerOn", "power-on", simworld.On, r.GetCall(), unconfirmed())
}

// CyclePower implements driverpb.OutOfBandServer.
func (o *outOfBand) CyclePower(ctx context.Context, r *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return o.turn(ctx, "CyclePower", simworld.EffectCycle, simworld.On, r.GetCall(), unconfirmed())
}

// ShutDownHost implements driverpb.OutOfBandServer.
func (o *outOfBand) ShutDownHost(
	ctx context.Context, r *driverpb.ShutDownHostRequest,
) (*driverpb.PowerReply, error) {
	return o.turn(ctx, "ShutDownHost", "shut-down", simworld.Off, r.GetCall(), sdk.Conflict("shutdown-ignored",
		fmt.Sprintf("the host did not shut down within %s", time.Duration(r.GetGraceMs())*time.Millisecond),
		"give it more time, or turn its power off"))
}
