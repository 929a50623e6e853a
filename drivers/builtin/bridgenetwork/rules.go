package bridgenetwork

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	maxPort = 65535

	// Forwards that listen on an address of the host enter the network through ports of the outer address from this
	// range, by a hash: so each keeps its port whatever comes and goes beside it.
	firstInnerPort = 20000
	innerPorts     = 40000
)

// plan is a rule set as the filters take it.
type plan struct {
	edge   ruleset.Edge
	claims []ruleset.Claim
}

// named is a rule that can say which one it is, and what it means to the filters.
type named struct {
	*driverpb.Rule
	means ruleset.Rule
}

// planRules checks a whole rule set and works out what follows from it, without looking at the host.
func planRules(want design, outer netip.Addr, rules []*driverpb.Rule) (plan, error) {
	planned := plan{edge: ruleset.Edge{
		CIDR: want.cidr, Gateway: want.gateway, Outer: outer, DHCP: want.dhcp, DNS: want.dns,
	}}
	ordered, err := readRules(rules)
	if err != nil {
		return plan{}, err
	}
	ports := newInnerPorts(outer, ordered)
	for _, rule := range ordered {
		if rule.means.Kind == ruleset.Forward {
			claim, err := ports.enter(&rule, want)
			if err != nil {
				return plan{}, err
			}
			if claim.Listen.IsValid() {
				planned.claims = append(planned.claims, claim)
			}
		}
		planned.edge.Rules = append(planned.edge.Rules, rule.means)
	}
	return planned, nil
}

// readRules checks what each rule says by itself, and brings them in the order in which they decide.
func readRules(rules []*driverpb.Rule) ([]named, error) {
	ordered := make([]named, 0, len(rules))
	for _, rule := range rules {
		read := named{Rule: rule}
		var err error
		if read.means, err = read.read(); err != nil {
			return nil, err
		}
		ordered = append(ordered, read)
	}
	slices.SortStableFunc(ordered, func(a, b named) int { return ruleset.Compare(a.means, b.means) })
	return ordered, nil
}

func (r named) invalid(code, field, message string) error {
	return sdk.Invalid(code, field, "rule "+r.GetResource().GetId()+": "+message, "")
}

func (r named) read() (ruleset.Rule, error) {
	read := ruleset.Rule{ID: r.GetResource().GetId(), Priority: r.GetPriority(), Allow: r.GetAction() != "deny"}
	switch r.GetAction() {
	case "", "allow", "deny":
	default:
		return read, r.invalid("bad-action", "/action", "the action must be allow or deny")
	}
	switch r.GetType() {
	case "ingress":
		read.Kind = ruleset.Ingress
	case "egress":
		read.Kind = ruleset.Egress
	case "port-forward":
		read.Kind = ruleset.Forward
	default:
		return read, r.invalid("bad-type", "/type", "the type must be ingress, egress or port-forward")
	}
	for i, text := range r.GetCidrs() {
		remote, err := netip.ParsePrefix(text)
		if err != nil {
			return read, r.invalid("bad-cidr", fmt.Sprintf("/cidrs/%d", i), "must be a range like 10.0.0.0/8")
		}
		read.Remotes = append(read.Remotes, remote)
	}
	if err := r.readProtocol(&read); err != nil {
		return read, err
	}
	if read.Kind == ruleset.Forward {
		return read, r.readForward(&read)
	}
	return read, r.readPorts(&read)
}

func (r named) readProtocol(read *ruleset.Rule) error {
	switch r.GetProtocol() {
	case "any", "":
		if read.Kind == ruleset.Forward { // what a forward is for, if it does not say
			read.Protocol = ruleset.TCP
		}
	case "tcp":
		read.Protocol = ruleset.TCP
	case "udp":
		read.Protocol = ruleset.UDP
	case "icmp":
		read.Protocol = ruleset.ICMP
	default:
		return r.invalid("bad-protocol", "/protocol", "the protocol must be tcp, udp, icmp or any")
	}
	return nil
}

func (r named) readPorts(read *ruleset.Rule) error {
	from, to := r.GetPortFrom(), r.GetPortTo()
	if from == 0 && to == 0 {
		return nil
	}
	if to == 0 {
		to = from
	}
	if read.Protocol == ruleset.ICMP {
		return r.invalid("bad-ports", "/ports", "icmp has no ports")
	}
	if from == 0 || from > to || to > maxPort {
		return r.invalid("bad-ports", "/ports", "ports go from 1 to 65535, the lower one first")
	}
	read.PortFrom, read.PortTo = uint16(from), uint16(to)
	return nil
}

func (r named) readForward(read *ruleset.Rule) error {
	if !read.Allow {
		return r.invalid("bad-action", "/action", "a forward allows; to close it, remove it")
	}
	if read.Protocol == ruleset.ICMP || r.GetProtocol() == "any" {
		return r.invalid("bad-protocol", "/protocol", "a forward is for tcp or udp")
	}
	for field, port := range map[string]uint32{
		"/targetPort": r.GetTargetPort(), "/listenPort": r.GetListenPort(),
	} {
		if port < 1 || port > maxPort {
			return r.invalid("bad-ports", field, "a port is a number from 1 to 65535")
		}
	}
	target, err := netip.ParseAddr(r.GetTargetAddress())
	if err != nil {
		return r.invalid("bad-address", "/nicId", "must be the address of a guest")
	}
	read.Target = netip.AddrPortFrom(target, uint16(r.GetTargetPort()))
	return nil
}

// entrance is a port of the outer address.
type entrance struct {
	protocol uint8
	port     uint16
}

// innerPortSet gives each forward its port of the outer address.
type innerPortSet struct {
	outer netip.Addr
	used  map[entrance]bool
	// listens tells where forwards listen that were given their port.
	listens map[string]bool
}

// newInnerPorts keeps for the forwards that listen on the outer address itself the ports that they ask for.
func newInnerPorts(outer netip.Addr, rules []named) *innerPortSet {
	ports := &innerPortSet{outer: outer, used: map[entrance]bool{}, listens: map[string]bool{}}
	for _, rule := range rules {
		at, err := rule.listen(outer)
		if err == nil && rule.means.Kind == ruleset.Forward && at.Addr() == outer {
			ports.used[entrance{rule.means.Protocol, at.Port()}] = true
		}
	}
	return ports
}

// listen returns where a forward listens.
func (r named) listen(outer netip.Addr) (netip.AddrPort, error) {
	port := uint16(r.GetListenPort())
	if r.GetListenAddress() == "" {
		return netip.AddrPortFrom(outer, port), nil
	}
	address, err := netip.ParseAddr(r.GetListenAddress())
	if err != nil || address.IsMulticast() {
		return netip.AddrPort{}, r.invalid("bad-address", "/listenAddress", "must be an address of the host")
	}
	if !address.Is4() {
		return netip.AddrPort{}, sdk.Unsupported("ipv6-unsupported", "forwards listen on IPv4 addresses, not on "+
			address.String())
	}
	return netip.AddrPortFrom(address, port), nil
}

// enter checks a forward against the network and the others, and gives it its port. The claim has no listen address
// when the host has nothing to do with it.
func (s *innerPortSet) enter(rule *named, want design) (ruleset.Claim, error) {
	if !s.outer.IsValid() {
		return ruleset.Claim{}, rule.invalid("no-outside", "/type", "an isolated network has no outside to forward from")
	}
	if !want.usable(rule.means.Target.Addr()) {
		return ruleset.Claim{}, rule.invalid("bad-address", "/nicId",
			"must be the address of a guest in "+want.cidr.String())
	}
	at, err := rule.listen(s.outer)
	if err != nil {
		return ruleset.Claim{}, err
	}
	key := fmt.Sprint(at, rule.means.Protocol)
	if s.listens[key] {
		return ruleset.Claim{}, rule.invalid("duplicate-listen", "/listenPort",
			"another forward of the network listens on "+at.String())
	}
	s.listens[key] = true
	if at.Addr() == s.outer {
		rule.means.OuterPort = at.Port()
		return ruleset.Claim{}, nil
	}
	rule.means.OuterPort = s.pick(key, rule.means.Protocol)
	return ruleset.Claim{
		Listen: at.Addr(), Protocol: rule.means.Protocol, Port: at.Port(),
		Inner: netip.AddrPortFrom(s.outer, rule.means.OuterPort),
	}, nil
}

func (s *innerPortSet) pick(key string, protocol uint8) uint16 {
	start := layout.Spread(key, innerPorts)
	for i := range uint32(innerPorts) {
		candidate := entrance{protocol, uint16(firstInnerPort + (start+i)%innerPorts)}
		if !s.used[candidate] {
			s.used[candidate] = true
			return candidate.port
		}
	}
	return 0 // not reached: a message has room for fewer rules than there are ports
}

// ApplyRules implements driverpb.NetworksServer. Connections that are established live on.
func (n *networks) ApplyRules(ctx context.Context, request *driverpb.RulesRequest) (*driverpb.OutcomeReply, error) {
	call := request.GetCall()
	network, encoded := request.GetNetwork().GetResource().GetId(), request.GetNetwork().GetHandle()
	if network == "" {
		network = call.GetResource().GetId()
	}
	ofNetwork := network == call.GetResource().GetId()
	if ofNetwork && len(call.GetHandle().GetData()) > 0 {
		encoded = call.GetHandle()
	}
	handle, err := n.known(ctx, call, network, encoded, request.GetSpec())
	if err != nil {
		return nil, asFault(err)
	}
	if err := n.enforce(ctx, network, handle, request.GetRules()); err != nil {
		return nil, asFault(err)
	}
	if !ofNetwork { // a handle of the network would be stored as that of something else
		return &driverpb.OutcomeReply{Handle: call.GetHandle()}, nil
	}
	if err := handle.setRules(request.GetRules()); err != nil {
		return nil, err
	}
	reply, err := encodeHandle(handle)
	return &driverpb.OutcomeReply{Handle: reply}, err
}

// enforce puts a rule set in force: what it asks of the host is checked first, then the edge changes as a whole, then
// the host's part as a whole.
func (d *driver) enforce(ctx context.Context, network string, handle *networkHandle, rules []*driverpb.Rule) error {
	planned, err := planRules(handle.design(), outerOf(handle), rules)
	if err != nil {
		return err
	}
	release, err := d.turns.Take(ctx, networkLock(network))
	if err != nil {
		return err
	}
	defer release()
	unlock, err := d.spaces.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	host, err := d.openHost()
	if err != nil {
		return err
	}
	defer host.close()
	inside, err := d.openNetwork(network)
	if err != nil {
		return err
	}
	defer inside.close()
	outer := outerOf(handle)
	if outer.IsValid() {
		if err := d.refuseClaims(ctx, host, outer, planned.claims); err != nil {
			return err
		}
	}
	if err := commit(ctx, inside.Space, planned.edge.Text()); err != nil {
		return err
	}
	if !outer.IsValid() {
		return nil
	}
	return d.claim(ctx, host, network, outer, planned.claims)
}
