package drivertest

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// The words of Capabilities.power_actions.
const (
	actionOff      = "off"
	actionOn       = "on"
	actionCycle    = "cycle"
	actionShutDown = "shutdown"
)

// powerAction is a call that changes the power of a host.
type powerAction struct {
	word, method string
	setUp        func(e *env) deed
	request      func(e *env, host scope) proto.Message
}

func powerActions() []powerAction {
	plain := func(e *env, host scope) proto.Message { return e.power(host) }
	return []powerAction{
		{actionOff, driverpb.OutOfBand_PowerOff_FullMethodName, poweringOff, plain},
		{actionOn, driverpb.OutOfBand_PowerOn_FullMethodName, poweringOn, plain},
		{actionCycle, driverpb.OutOfBand_CyclePower_FullMethodName, cyclingPower, plain},
		{
			actionShutDown, driverpb.OutOfBand_ShutDownHost_FullMethodName, shuttingDown,
			func(e *env, host scope) proto.Message { return e.shutDown(host) },
		},
	}
}

func outOfBandSteps(can *driverpb.Capabilities) []step {
	var all []step
	for _, action := range powerActions() {
		if slices.Contains(can.GetPowerActions(), action.word) {
			all = append(all, step{action.method, action.setUp})
		}
	}
	return all
}

// controlled is a host whose power is on, by the properties of its controller.
func (e *env) controlled(properties Properties) scope {
	return scope{ref: e.ref("host"), properties: properties, secrets: e.harness.OutOfBand.Secrets}
}

// live is a host of its own, whose power is on.
func (e *env) live() scope {
	e.Helper()
	host := e.controlled(e.harness.OutOfBand.Host(e.T))
	if e.harness.OutOfBand.Shared {
		e.switches(driverpb.OutOfBand_PowerOn_FullMethodName, host)
	}
	return host
}

func (e *env) power(host scope) *driverpb.PowerRequest {
	e.Helper()
	return &driverpb.PowerRequest{Call: e.call(host.ref, host)}
}

func (e *env) shutDown(host scope) *driverpb.ShutDownHostRequest {
	e.Helper()
	grace := uint32(e.harness.Limits.Cancel.Milliseconds())
	return &driverpb.ShutDownHostRequest{Call: e.call(host.ref, host), GraceMs: grace}
}

func (e *env) statPower(host scope) *driverpb.PowerReply {
	e.Helper()
	return must[*driverpb.PowerReply](e, driverpb.OutOfBand_StatPower_FullMethodName, e.power(host))
}

func (e *env) switches(method string, host scope) *driverpb.PowerReply {
	e.Helper()
	return must[*driverpb.PowerReply](e, method, e.power(host))
}

// powered holds the controller, by the driver and past it, to whether the power is on.
func (e *env) powered(host scope, on bool) {
	e.Helper()
	want := driverpb.Power_POWER_OFF
	if on {
		want = driverpb.Power_POWER_ON
	}
	if really := e.reallyPowered(host, on); really != on {
		e.Errorf("the power is really on: %t, want %t", really, on)
	}
	if got := e.statPower(host).GetPower(); got != want {
		e.Errorf("the driver says %s, want %s", got, want)
	}
}

// reallyPowered tells past the driver whether the power is on; what is expected where nobody can.
func (e *env) reallyPowered(host scope, expected bool) bool {
	e.Helper()
	if e.harness.OutOfBand.Powered == nil {
		return expected
	}
	return e.harness.OutOfBand.Powered(e.T, host.ref, host.properties)
}

// cuts holds the host to how often its power went off, if somebody counts.
func (e *env) cuts(host scope, want int) {
	e.Helper()
	count := e.harness.OutOfBand.Cuts
	if count == nil {
		return
	}
	if got := count(e.T, host.ref, host.properties); got != want {
		e.Errorf("the power went off %d times, want %d", got, want)
	}
}

// is returns an assertion of power and cuts.
func (host scope) is(e *env, on bool, cuts int) func() {
	return func() {
		e.Helper()
		e.powered(host, on)
		e.cuts(host, cuts)
	}
}

func poweringOff(e *env) deed {
	host := e.live()
	return deed{request: e.power(host), reached: host.is(e, false, 1), pristine: host.is(e, true, 0)}
}

func poweringOn(e *env) deed {
	host := e.live()
	e.switches(driverpb.OutOfBand_PowerOff_FullMethodName, host)
	return deed{request: e.power(host), reached: host.is(e, true, 1), pristine: host.is(e, false, 1)}
}

func cyclingPower(e *env) deed {
	host := e.live()
	return deed{
		request: e.power(host), reached: host.is(e, true, 1), pristine: host.is(e, true, 0), again: host.is(e, true, 2),
	}
}

func shuttingDown(e *env) deed {
	host := e.live()
	request := e.shutDown(host)
	other, _ := proto.Clone(request).(*driverpb.ShutDownHostRequest)
	other.GraceMs++
	return deed{request: request, other: other, reached: host.is(e, false, 1), pristine: host.is(e, true, 0)}
}
