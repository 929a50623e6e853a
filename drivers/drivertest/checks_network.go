package drivertest

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// stepRequest is any request.
type stepRequest = proto.Message

func networkChecks(h *Harness, can *driverpb.Capabilities) []check {
	all := []check{
		{name: "Networks: DesignNetwork completes a spec, and what it completed is a spec", run: designCompletes},
		{name: "Networks: CreateNetwork refuses what DesignNetwork refuses", run: createRefuses},
		{name: "Networks: creating what is there with another spec is refused with CONFLICT", run: networkOtherSpec},
		{name: "Networks: deleting what is gone succeeds", run: networkGone},
		{name: "Networks: deleting a network that has nics is refused with CONFLICT", run: networkNotEmpty},
		{name: "Networks: an attached nic says where its tap is", run: nicSaysWhere},
		{name: "Networks: a nic in a network that is not there is refused with NOT_FOUND", run: nicWithoutNetwork},
		{name: "Networks: a nic that is there with another address is refused with CONFLICT", run: nicOtherAddress},
		{name: "Networks: a nic with a wrong MAC or address is refused with INVALID and the field", run: nicInvalid},
		{name: "Networks: detaching what is gone succeeds", run: nicGone},
		{name: "Networks: Observe lists exactly the nics that exist", run: observeNics},
		{name: "Networks: Observe of what is not there is refused with NOT_FOUND", run: observeNothing("network")},
		{name: "Networks: Release and Adopt hand a network over unharmed", run: adoptNetwork},
	}
	for _, bad := range h.Networks.Bad {
		all = append(all, badNetwork(bad))
	}
	firewall := unless(declared(can.GetFirewall(), "firewall"),
		check{name: "Networks: ApplyRules takes each kind of rule, and no rules at all", run: rulesTaken},
		check{name: "Networks: a rule that can't be applied is refused with INVALID and its place", run: rulesInvalid})
	return append(append(all, firewall...), modeChecks(can)...)
}

// modeChecks hold a driver to the modes and services that it declares.
func modeChecks(can *driverpb.Capabilities) []check {
	return []check{
		{name: "Networks: each declared mode can be designed, and another is refused", run: modesDesigned},
		{
			name: "Networks: rules are not declared and are refused with UNSUPPORTED", run: rulesRefused,
			why: undeclared(can.GetFirewall(), "firewall"),
		},
	}
}

func modesDesigned(e *env) {
	declared := e.describe().GetCapabilities().GetNetworkModes()
	if len(declared) == 0 {
		e.Error("no network mode is declared")
	}
	for _, mode := range declared {
		w := wire{scope: e.newScope("network"), spec: e.harness.Networks.Spec(e.T)}
		w.spec.Mode = mode
		reply, err := e.try(driverpb.Networks_DesignNetwork_FullMethodName, e.networkRequest(w))
		if err != nil {
			e.Errorf("%s is declared and can't be designed: %v", mode, err)
			continue
		}
		if designed, _ := reply.(*driverpb.DesignReply); designed.GetNetwork().GetMode() != mode {
			e.Errorf("%s is designed as %q", mode, designed.GetNetwork().GetMode())
		}
	}
	w := wire{scope: e.newScope("network"), spec: e.harness.Networks.Spec(e.T)}
	w.spec.Mode = "telepathic"
	_, err := e.try(driverpb.Networks_DesignNetwork_FullMethodName, e.networkRequest(w))
	switch class := faultOf(err).GetClass(); class {
	case driverpb.Class_CLASS_INVALID, driverpb.Class_CLASS_UNSUPPORTED:
	default:
		e.Errorf("a mode that is not declared: %v, want INVALID or UNSUPPORTED", err)
	}
}

func rulesRefused(e *env) {
	w := e.network()
	e.refused(driverpb.Class_CLASS_UNSUPPORTED, driverpb.Networks_ApplyRules_FullMethodName,
		e.rulesRequest(w, &driverpb.Rule{Type: "ingress", Action: "allow", Protocol: "tcp", PortFrom: 80, PortTo: 80}))
}

func badNetwork(bad BadNetwork) check {
	return check{name: "Networks: a network that can't be built is refused: " + bad.Name, run: func(e *env) {
		w := wire{scope: e.newScope("network"), spec: bad.Spec(e.T)}
		fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Networks_DesignNetwork_FullMethodName, e.networkRequest(w))
		if fault.GetField() == "" || bad.Field != "" && fault.GetField() != bad.Field {
			e.Errorf("fault %s names field %q, want %q", fault.GetCode(), fault.GetField(), bad.Field)
		}
	}}
}

func designCompletes(e *env) {
	w := e.designed()
	if w.spec.GetGateway() == "" || w.spec.GetMtu() == 0 {
		e.Errorf("designed as %v: gateway and MTU must be known", w.spec)
	}
	again := must[*driverpb.DesignReply](e, driverpb.Networks_DesignNetwork_FullMethodName, e.networkRequest(w))
	if !proto.Equal(again.GetNetwork(), w.spec) {
		e.Errorf("designed again it is %v, it was %v", again.GetNetwork(), w.spec)
	}
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
}

func createRefuses(e *env) {
	w := wire{scope: e.newScope("network"), spec: e.harness.Networks.Spec(e.T)}
	w.spec.Cidr = "not a network"
	fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Networks_CreateNetwork_FullMethodName, e.networkRequest(w))
	if fault.GetField() == "" {
		e.Errorf("fault %s names no field", fault.GetCode())
	}
	e.reallyExists(w.ref, 0)
}

func nicInvalid(e *env) {
	w := e.network()
	for name, bad := range map[string]struct {
		spoil func(*driverpb.NicSpec)
		field string // that the user knows; nobody but the engine chooses MACs
	}{
		"mac": {func(n *driverpb.NicSpec) { n.Mac = "02:00" }, ""},
		// A multicast MAC is nobody's own.
		"multicast": {func(n *driverpb.NicSpec) { n.Mac = "01:00:5e:00:00:01" }, ""},
		"address":   {func(n *driverpb.NicSpec) { n.Address = "203.0.113.9" }, "/address"},
		"no number": {func(n *driverpb.NicSpec) { n.Address = "first" }, "/address"},
	} {
		request := e.nicCall(w, 0)
		request.Nic, _ = proto.Clone(request.GetNic()).(*driverpb.NicSpec)
		bad.spoil(request.GetNic())
		fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Networks_AttachNic_FullMethodName, request)
		if field := strings.TrimPrefix(fault.GetField(), "/call/nic/mac"); field != bad.field {
			e.Errorf("%s: fault %s names field %q, want %q", name, fault.GetCode(), fault.GetField(), bad.field)
		}
		e.exists(w.scope, request.GetCall().GetResource(), 0)
	}
}

func observeNics(e *env) {
	w := e.network()
	var nics []*driverpb.NicCallRequest
	for n := range 3 {
		request := e.nicCall(w, n)
		must[*driverpb.NicReply](e, driverpb.Networks_AttachNic_FullMethodName, request)
		nics = append(nics, request)
	}
	must[*driverpb.OutcomeReply](e, driverpb.Networks_DetachNic_FullMethodName, anew(e, nics[1]))
	for _, when := range []string{"while it runs", "after a restart"} {
		all, err := e.observe(w.scope)
		if err != nil || len(all) != 2 {
			e.Errorf("%s: %v, %v; want two nics", when, all, err)
		}
		for i, want := range []int{1, 0, 1} {
			e.exists(w.scope, nics[i].GetCall().GetResource(), want)
		}
		e.kill()
		e.restart()
	}
}

func rulesTaken(e *env) {
	w := e.network()
	nic := e.nicCall(w, 0)
	must[*driverpb.NicReply](e, driverpb.Networks_AttachNic_FullMethodName, nic)
	rules := []*driverpb.Rule{
		{Type: "ingress", Action: "allow", Protocol: "tcp", PortFrom: 80, PortTo: 443, Cidrs: []string{"198.51.100.0/24"}},
		{Type: "ingress", Action: "deny", Protocol: "any", Priority: 10},
		{Type: "egress", Action: "deny", Protocol: "udp", PortFrom: 53, PortTo: 53, Priority: 5},
		{Type: "egress", Action: "allow", Protocol: "icmp", Cidrs: []string{"192.0.2.0/24", "203.0.113.7/32"}},
	}
	if e.describe().GetCapabilities().GetPortForwards() && w.spec.GetMode() == "nat" {
		rules = append(rules, &driverpb.Rule{
			Type: "port-forward", Protocol: "tcp", TargetAddress: nic.GetNic().GetAddress(), TargetPort: 80, ListenPort: 8080,
		})
	}
	for _, set := range [][]*driverpb.Rule{rules, rules[:1], nil} {
		must[*driverpb.OutcomeReply](e, driverpb.Networks_ApplyRules_FullMethodName, e.rulesRequest(w, set...))
	}
}

func rulesInvalid(e *env) {
	w := e.network()
	good := &driverpb.Rule{Type: "ingress", Action: "allow", Protocol: "tcp", PortFrom: 1, PortTo: 2}
	for name, spoiled := range map[string]struct {
		spoil func(*driverpb.Rule)
		field string
	}{
		"type":     {func(r *driverpb.Rule) { r.Type = "sideways" }, "/type"},
		"action":   {func(r *driverpb.Rule) { r.Action = "perhaps" }, "/action"},
		"protocol": {func(r *driverpb.Rule) { r.Protocol = "tcp; drop" }, "/protocol"},
		"port":     {func(r *driverpb.Rule) { r.PortTo = 70000 }, "/ports"},
		"reversed": {func(r *driverpb.Rule) { r.PortFrom = 9 }, "/ports"},
		"cidr":     {func(r *driverpb.Rule) { r.Cidrs = []string{"10.0.0.0/8", "all"} }, "/cidrs/1"},
	} {
		bad, _ := proto.Clone(good).(*driverpb.Rule)
		spoiled.spoil(bad)
		ok, _ := proto.Clone(good).(*driverpb.Rule)
		fault := e.refused(driverpb.Class_CLASS_INVALID, driverpb.Networks_ApplyRules_FullMethodName,
			e.rulesRequest(w, ok, bad))
		if fault.GetField() != spoiled.field || !strings.Contains(fault.GetMessage(), bad.GetResource().GetId()) {
			e.Errorf("%s: fault %s names field %q and says %q, want %s and the rule's id %s", name, fault.GetCode(),
				fault.GetField(), fault.GetMessage(), spoiled.field, bad.GetResource().GetId())
		}
	}
}

func networkOtherSpec(e *env) {
	w := e.network()
	w.spec, _ = proto.Clone(w.spec).(*driverpb.NetworkSpec)
	w.spec.Mtu = 1400
	e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Networks_CreateNetwork_FullMethodName, e.networkRequest(w))
}

func networkGone(e *env) {
	w := e.designed()
	must[*driverpb.OutcomeReply](e, driverpb.Networks_DeleteNetwork_FullMethodName, e.networkRequest(w))
}

// attachNic attaches the first nic of a network.
func (e *env) attachNic(w wire) (*driverpb.NicCallRequest, *driverpb.NicReply) {
	e.Helper()
	request := e.nicCall(w, 0)
	return request, must[*driverpb.NicReply](e, driverpb.Networks_AttachNic_FullMethodName, request)
}

func networkNotEmpty(e *env) {
	w := e.network()
	nic, _ := e.attachNic(w)
	e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Networks_DeleteNetwork_FullMethodName, e.networkRequest(w))
	e.exists(w.scope, nic.GetCall().GetResource(), 1)
}

func nicSaysWhere(e *env) {
	_, reply := e.attachNic(e.network())
	if reply.GetInterface() == "" || len(reply.GetInterface()) > 15 || reply.GetNetNamespace() == "" {
		e.Errorf("interface %q in namespace %q", reply.GetInterface(), reply.GetNetNamespace())
	}
}

func nicWithoutNetwork(e *env) {
	e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Networks_AttachNic_FullMethodName, e.nicCall(e.designed(), 0))
}

func nicOtherAddress(e *env) {
	w := e.network()
	request, _ := e.attachNic(w)
	other := anew(e, request)
	other.Nic = e.harness.Networks.Nic(e.T, w.spec, 1)
	e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Networks_AttachNic_FullMethodName, other)
}

func nicGone(e *env) {
	w := e.network()
	must[*driverpb.OutcomeReply](e, driverpb.Networks_DetachNic_FullMethodName, e.nicCall(w, 0))
}

func adoptNetwork(e *env) {
	w := e.network()
	nic, _ := e.attachNic(w)
	e.handOver(w.scope, w.ref)
	must[*driverpb.NetworkReply](e, driverpb.Networks_StatNetwork_FullMethodName, e.networkRequest(w))
	e.exists(w.scope, nic.GetCall().GetResource(), 1)
}
