package drivertest

import (
	"path"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func outOfBandChecks(h *Harness, can *driverpb.Capabilities) []check {
	all := []check{
		{name: "OutOfBand: turning a host off and on is declared", run: func(e *env) {
			for _, word := range []string{actionOff, actionOn} {
				if !slices.Contains(can.GetPowerActions(), word) {
					e.Errorf("%q is not declared, but nothing can be fenced without", word)
				}
			}
		}},
		{name: "OutOfBand: StatPower says on, off, and when it asked", run: statPowers},
		{name: "OutOfBand: success of PowerOff means that the power is off", run: offIsOff},
		{name: "OutOfBand: what is on or off already is left alone", run: powerStays},
		{name: "OutOfBand: a token that was answered is never carried out again", run: offOnce},
		{name: "OutOfBand: a resource that is no host is refused with INVALID", run: func(e *env) {
			host := e.live()
			host.ref.Kind = "pool"
			e.refused(driverpb.Class_CLASS_INVALID, driverpb.OutOfBand_PowerOff_FullMethodName, e.power(host))
			e.refused(driverpb.Class_CLASS_INVALID, driverpb.OutOfBand_StatPower_FullMethodName, e.power(host))
		}},
	}
	for _, action := range powerActions() {
		name := "OutOfBand: " + action.word + " is not declared and is refused with UNSUPPORTED"
		can := slices.Contains(can.GetPowerActions(), action.word)
		all = append(all, check{name: name, why: undeclared(can, action.word), run: func(e *env) {
			host := e.live()
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, action.method, action.request(e, host))
			e.powered(host, true)
		}})
	}
	all = append(all, unconfirmedChecks(h, can)...)
	for _, bad := range h.OutOfBand.Refused {
		all = append(all, check{name: "OutOfBand: " + bad.Name + " is refused, and the power stays", run: func(e *env) {
			settingRefused(e, bad, can)
		}})
	}
	return all
}

// unconfirmedChecks hold a driver to not knowing what no controller has said.
func unconfirmedChecks(h *Harness, can *driverpb.Capabilities) []check {
	why := given(h.OutOfBand.Unconfirmed != nil, "controller that carries out no order")
	all := []check{
		{name: "OutOfBand: what the controller does not confirm is refused with UNKNOWN", run: func(e *env) {
			for _, method := range []string{
				driverpb.OutOfBand_PowerOff_FullMethodName, driverpb.OutOfBand_CyclePower_FullMethodName,
			} {
				host := e.controlled(e.harness.OutOfBand.Unconfirmed(e.T))
				request := e.power(host)
				e.refused(driverpb.Class_CLASS_UNKNOWN, method, request)
				e.refused(driverpb.Class_CLASS_UNKNOWN, method, repeated(request))
				e.powered(host, true)
			}
		}},
	}
	shuts := declared(slices.Contains(can.GetPowerActions(), actionShutDown), actionShutDown)
	all = append(all, check{
		name: "OutOfBand: a shutdown that is ignored is refused with CONFLICT", why: shuts, run: func(e *env) {
			host := e.controlled(e.harness.OutOfBand.Unconfirmed(e.T))
			request := e.shutDown(host)
			request.GraceMs = 300
			e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.OutOfBand_ShutDownHost_FullMethodName, request)
			e.powered(host, true)
		},
	})
	return unless(why, all...)
}

func statPowers(e *env) {
	host := e.live()
	for _, on := range []bool{true, false, true} {
		e.powered(host, on)
		before := time.Now().UnixMilli()
		observed := e.statPower(host).GetObservedAtMs()
		if now := time.Now().UnixMilli(); observed < before || observed > now {
			e.Errorf("asked between %d and %d, observed at %d", before, now, observed)
		}
		if on {
			e.switches(driverpb.OutOfBand_PowerOff_FullMethodName, host)
		} else {
			e.switches(driverpb.OutOfBand_PowerOn_FullMethodName, host)
		}
	}
}

func offIsOff(e *env) {
	host := e.live()
	asked := time.Now().UnixMilli()
	reply := e.switches(driverpb.OutOfBand_PowerOff_FullMethodName, host)
	if e.reallyPowered(host, false) {
		e.Error("the power is still on")
	}
	if reply.GetPower() != driverpb.Power_POWER_OFF {
		e.Errorf("the answer is %s", reply.GetPower())
	}
	if reply.GetObservedAtMs() < asked {
		e.Errorf("off was observed at %d, before it was asked for at %d", reply.GetObservedAtMs(), asked)
	}
	e.powered(host, false)
	e.cuts(host, 1)
}

func powerStays(e *env) {
	host := e.live()
	e.switches(driverpb.OutOfBand_PowerOn_FullMethodName, host)
	e.powered(host, true)
	e.cuts(host, 0)
	for range 2 {
		e.switches(driverpb.OutOfBand_PowerOff_FullMethodName, host)
		e.powered(host, false)
		e.cuts(host, 1)
	}
}

func offOnce(e *env) {
	host := e.live()
	off := e.power(host)
	must[*driverpb.PowerReply](e, driverpb.OutOfBand_PowerOff_FullMethodName, off)
	e.powered(host, false)
	e.switches(driverpb.OutOfBand_PowerOn_FullMethodName, host)
	must[*driverpb.PowerReply](e, driverpb.OutOfBand_PowerOff_FullMethodName, off)
	e.powered(host, true)
	e.cuts(host, 1)
}

func settingRefused(e *env, bad BadSetting, can *driverpb.Capabilities) {
	want := bad.Class
	if want == driverpb.Class_CLASS_UNSPECIFIED {
		want = driverpb.Class_CLASS_INVALID
	}
	host := e.controlled(bad.Properties(e.T))
	refuse := func(method string, request proto.Message) {
		fault := e.refused(want, method, request)
		if bad.Code != "" && fault.GetCode() != bad.Code {
			e.Errorf("%s: the code is %q, want %q", path.Base(method), fault.GetCode(), bad.Code)
		}
		if want == driverpb.Class_CLASS_INVALID && fault.GetField() == "" {
			e.Errorf("%s: fault %s names no field", path.Base(method), fault.GetCode())
		}
	}
	refuse(driverpb.OutOfBand_StatPower_FullMethodName, e.power(host))
	for _, action := range powerActions() {
		if slices.Contains(can.GetPowerActions(), action.word) {
			refuse(action.method, action.request(e, host))
		}
	}
	if !e.reallyPowered(host, true) {
		e.Error("the power is off")
	}
}
