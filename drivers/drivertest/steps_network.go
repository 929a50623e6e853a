package drivertest

import (
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func networkSteps(can *driverpb.Capabilities) []step {
	all := []step{
		{driverpb.Networks_CreateNetwork_FullMethodName, netting},
		{driverpb.Networks_DeleteNetwork_FullMethodName, unnetting},
		{driverpb.Networks_AttachNic_FullMethodName, porting},
		{driverpb.Networks_DetachNic_FullMethodName, unporting},
	}
	if can.GetFirewall() {
		all = append(all, step{driverpb.Networks_ApplyRules_FullMethodName, ruling})
	}
	return all
}

// wire is a network with its completed spec.
type wire struct {
	scope
	spec *driverpb.NetworkSpec
}

func (e *env) networkRequest(w wire) *driverpb.NetworkRequest {
	e.Helper()
	return &driverpb.NetworkRequest{Call: e.call(w.ref, w.scope), Network: w.spec}
}

// designed lets the driver complete a spec of the harness, and deletes the network at the end of the check.
func (e *env) designed() wire {
	e.Helper()
	w := wire{scope: e.newScope("network"), spec: e.harness.Networks.Spec(e.T)}
	w.spec = must[*driverpb.DesignReply](e, driverpb.Networks_DesignNetwork_FullMethodName,
		e.networkRequest(w)).GetNetwork()
	e.undo(driverpb.Networks_DeleteNetwork_FullMethodName, func() proto.Message { return e.networkRequest(w) })
	return w
}

// network makes a network.
func (e *env) network() wire {
	e.Helper()
	w := e.designed()
	must[*driverpb.NetworkReply](e, driverpb.Networks_CreateNetwork_FullMethodName, e.networkRequest(w))
	return w
}

func netting(e *env) deed {
	w := e.designed()
	request := e.networkRequest(w)
	other, _ := proto.Clone(request).(*driverpb.NetworkRequest)
	other.Network.Mtu = 1400
	return deed{request: request, other: other, reached: func() {
		e.Helper()
		must[*driverpb.NetworkReply](e, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
		e.reallyExists(w.ref, 1)
	}, pristine: func() {
		e.Helper()
		e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
		e.reallyExists(w.ref, 0)
	}}
}

// reallyExists holds the truth, if there is one, to a number.
func (e *env) reallyExists(ref *driverpb.Ref, want int) {
	e.Helper()
	if e.harness.Truth == nil {
		return
	}
	if got := e.harness.Truth.Count(e.T, ref.GetKind(), ref.GetId()); got != want {
		e.Errorf("%s really exists %d times, want %d", nameOf(ref), got, want)
	}
}

func unnetting(e *env) deed {
	w := e.network()
	return deed{request: e.networkRequest(w), reached: func() {
		e.Helper()
		e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
		e.reallyExists(w.ref, 0)
	}, pristine: func() {
		e.Helper()
		must[*driverpb.NetworkReply](e, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
		e.reallyExists(w.ref, 1)
	}}
}

// nicCall is the request for the nth nic of a network; it is detached at the end of the check.
func (e *env) nicCall(w wire, n int) *driverpb.NicCallRequest {
	e.Helper()
	ref := e.ref("nic")
	request := &driverpb.NicCallRequest{
		Call:    e.call(ref, w.scope),
		Network: &driverpb.NetworkRef{Resource: w.ref, Handle: e.handle(w.ref)},
		Spec:    w.spec, Nic: e.harness.Networks.Nic(e.T, w.spec, n),
	}
	e.undo(driverpb.Networks_DetachNic_FullMethodName, func() proto.Message {
		again := anew(e, request)
		again.Call.Epoch = e.epoch
		return again
	})
	return request
}

func porting(e *env) deed {
	w := e.network()
	request := e.nicCall(w, 0)
	ref := request.GetCall().GetResource()
	other, _ := proto.Clone(request).(*driverpb.NicCallRequest)
	other.Nic.Hostname = "another"
	return deed{
		request: request, other: other,
		reached:  func() { e.Helper(); e.exists(w.scope, ref, 1) },
		pristine: func() { e.Helper(); e.exists(w.scope, ref, 0) },
	}
}

func unporting(e *env) deed {
	w := e.network()
	request := e.nicCall(w, 0)
	ref := request.GetCall().GetResource()
	must[*driverpb.NicReply](e, driverpb.Networks_AttachNic_FullMethodName, request)
	return deed{
		request:  anew(e, request),
		reached:  func() { e.Helper(); e.exists(w.scope, ref, 0) },
		pristine: func() { e.Helper(); e.exists(w.scope, ref, 1) },
	}
}

// rulesRequest sets rules of a network.
func (e *env) rulesRequest(w wire, rules ...*driverpb.Rule) *driverpb.RulesRequest {
	e.Helper()
	for _, rule := range rules {
		if rule.GetResource() == nil {
			rule.Resource = e.ref("rule")
		}
	}
	return &driverpb.RulesRequest{
		Call:    e.call(w.ref, w.scope),
		Network: &driverpb.NetworkRef{Resource: w.ref, Handle: e.handle(w.ref)},
		Spec:    w.spec, Rules: rules,
	}
}

func ruling(e *env) deed {
	w := e.network()
	request := e.rulesRequest(w, &driverpb.Rule{
		Type: "ingress", Action: "allow", Protocol: "tcp", PortFrom: 80, PortTo: 80, Cidrs: []string{"198.51.100.0/24"},
	})
	other, _ := proto.Clone(request).(*driverpb.RulesRequest)
	other.Rules[0].PortTo = 81
	return deed{request: request, other: other, reached: func() {
		e.Helper()
		must[*driverpb.NetworkReply](e, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
	}}
}
