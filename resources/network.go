package resources

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Network connects machines.
type Network struct {
	Meta
	Spec   NetworkSpec   `json:"spec"`
	Status NetworkStatus `json:"status"`
}

// NetworkSpec is what is asked of a network.
type NetworkSpec struct {
	// Node whose driver host acts for it; empty = the one that accepts.
	Node       string         `json:"node,omitempty" doc:"Node or agent that drives it; absent means the one that accepts."`
	Driver     string         `json:"driver" doc:"Network driver, vendor/name." example:"bulkhead/bridgenetwork"`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the driver for this network."`
	Mode       string         `json:"mode,omitempty" doc:"nat: guests reach out, forwards reach in. isolated: guests reach each other only. Absent means nat."`
	CIDR       string         `json:"cidr" doc:"Address range." example:"10.20.0.0/24"`
	Gateway    string         `json:"gateway,omitempty" doc:"Gateway; absent means the first address."`
	DNSServers []string       `json:"dnsServers,omitempty" doc:"Upstream name servers; absent means those of the host." maxItems:"8"`
	Domain     string         `json:"domain,omitempty" doc:"DNS domain of the machines." maxLength:"253"`
	MTU        uint32         `json:"mtu,omitempty" doc:"Largest packet in bytes; 0 means 1500." maximum:"9216"`
	NoDHCP     bool           `json:"noDhcp,omitempty" doc:"Whether addresses are not handed out by DHCP."`
	NoDNS      bool           `json:"noDns,omitempty" doc:"Whether names are not served."`
}

// NetworkStatus is what was observed of a network.
type NetworkStatus struct {
	Gateway       string            `json:"gateway,omitempty" doc:"Gateway in force."`
	MTU           uint32            `json:"mtu,omitempty" doc:"Largest packet in bytes."`
	Bridge        string            `json:"bridge,omitempty" doc:"Bridge that carries it."`
	NetNamespace  string            `json:"netNamespace,omitempty" doc:"Network namespace that carries it."`
	Facts         map[string]string `json:"facts,omitempty" doc:"What else the driver says."`
	RulesRevision uint64            `json:"rulesRevision,omitempty" doc:"Revision of the zone whose rules are in force."`
	// Former is kept while an operation changes the spec.
	Former *Former[NetworkSpec] `json:"-" cbor:"former,omitempty"`
}

// Former is a spec as it was before an operation changed it, for the case that it
// has to be undone.
type Former[S any] struct {
	OperationID OperationID `json:"o"`
	Spec        S           `json:"s"`
}

// Prefix is the network's address range.
func (n *Network) Prefix() (netip.Prefix, error) { return netip.ParsePrefix(n.Spec.CIDR) }

// Validate implements Resource.
func (n *Network) Validate(p *Problems) {
	ValidateMeta(&n.Meta, p)
	RequireName(&n.Meta, p)
	s := p.In("spec")
	validateDriver(s, n.Spec.Driver)
	if n.Spec.Mode != "" {
		s.OneOf("mode", n.Spec.Mode, "nat", "isolated", "bridged")
	}
	n.validateRange(s)
	for i, d := range n.Spec.DNSServers {
		if _, err := netip.ParseAddr(d); err != nil {
			s.In("dnsServers").At(i).Add("bad-address", "must be an IP address")
		}
	}
	if n.Spec.MTU != 0 {
		s.Between("mtu", uint64(n.Spec.MTU), 576, 9216)
	}
	if n.Spec.Domain != "" && !namePattern.MatchString(n.Spec.Domain) {
		s.In("domain").Add("bad-domain", "must be a DNS domain in lower case")
	}
}

func (n *Network) validateRange(s *Problems) {
	prefix, err := netip.ParsePrefix(n.Spec.CIDR)
	if err != nil {
		s.In("cidr").Add("bad-cidr", "must be an address range such as 10.20.0.0/24")
		return
	}
	if prefix != prefix.Masked() {
		s.In("cidr").Add("bad-cidr", "has host bits set; did you mean %s?", prefix.Masked())
		return
	}
	if !prefix.Addr().Is4() || prefix.Bits() < 8 || prefix.Bits() > 29 {
		s.In("cidr").Add("bad-cidr", "must be an IPv4 range between /8 and /29")
		return
	}
	if n.Spec.Gateway == "" {
		return
	}
	gateway, err := netip.ParseAddr(n.Spec.Gateway)
	if err != nil || !prefix.Contains(gateway) || gateway == prefix.Addr() || gateway == LastAddress(prefix) {
		s.In("gateway").Add("bad-address", "must be a usable address in %s", prefix)
	}
}

// LastAddress returns the highest address of an IPv4 prefix: its broadcast
// address.
func LastAddress(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

// References implements Resource.
func (n *Network) References() []Ref { return nil }

// Facets implements Resource.
func (n *Network) Facets() map[string]string {
	m := map[string]string{"driver": n.Spec.Driver}
	facet(m, "node", n.Spec.Node)
	return m
}

func networkDefinition() Definition {
	return Definition{
		Kind: KindNetwork, Prefix: "net", Plural: "networks",
		New:     func() Resource { return &Network{Meta: Meta{Kind: KindNetwork}} },
		Phases:  simpleTable(),
		Mutable: []string{"dnsServers", "properties"},
		Actions: actions(createAction(5*time.Minute), realisedUpdate(5*time.Minute), deleteAction(5*time.Minute),
			Action{
				Name: "apply-rules", From: made(), Deadline: 5 * time.Minute,
				Summary: "Put the rules in force", Internal: true,
			},
			rebindIn(simpleTable())),
	}
}

// Address is an IP address taken in a network, whether a nic uses it or not.
type Address struct {
	Meta
	Spec   AddressSpec   `json:"spec"`
	Status AddressStatus `json:"status"`
}

// AddressSpec is what is asked of an address.
type AddressSpec struct {
	NetworkID NetworkID `json:"networkId" doc:"Network it is of."`
	// Address asked for; empty = the zone chooses.
	Address string `json:"address,omitempty" doc:"The address; absent means the zone chooses."`
}

// AddressStatus is what was observed of an address.
type AddressStatus struct {
	Address string `json:"address,omitempty" doc:"The address."`
}

// Validate implements Resource.
func (a *Address) Validate(p *Problems) {
	ValidateMeta(&a.Meta, p)
	s := p.In("spec")
	s.Required("networkId", string(a.Spec.NetworkID))
	if a.Spec.Address == "" {
		return
	}
	if _, err := netip.ParseAddr(a.Spec.Address); err != nil {
		s.In("address").Add("bad-address", "must be an IP address")
	}
}

// References implements Resource.
func (a *Address) References() []Ref { return add(nil, KindNetwork, string(a.Spec.NetworkID)) }

// Facets implements Resource.
func (a *Address) Facets() map[string]string {
	m := map[string]string{"network": string(a.Spec.NetworkID)}
	facet(m, "address", a.Status.Address)
	return m
}

func addressDefinition() Definition {
	return Definition{
		Kind: KindAddress, Prefix: "addr", Plural: "addresses",
		New:    func() Resource { return &Address{Meta: Meta{Kind: KindAddress}} },
		Phases: simpleTable(), Actions: instantActions(),
	}
}

// Rule is a firewall rule or a port forward of a network.
type Rule struct {
	Meta
	Spec   RuleSpec   `json:"spec"`
	Status RuleStatus `json:"status"`
}

// RuleSpec is what is asked of a rule.
type RuleSpec struct {
	NetworkID NetworkID `json:"networkId" doc:"Network it is of."`
	Type      string    `json:"type" doc:"ingress, egress or port-forward." enum:"ingress,egress,port-forward"`
	Action    string    `json:"action,omitempty" doc:"allow or deny; absent means allow."`
	Protocol  string    `json:"protocol,omitempty" doc:"tcp, udp, icmp or any; absent means any, for forwards tcp."`
	Ports     string    `json:"ports,omitempty" doc:"Port or range, such as 80 or 8000-8080; absent means all." maxLength:"11"`
	CIDRs     []string  `json:"cidrs,omitempty" doc:"Far side of the traffic; absent means any." maxItems:"64"`
	Priority  uint32    `json:"priority,omitempty" doc:"Lower comes first; of one priority deny before allow before port-forward. Absent means 0, the first." maximum:"65535"`
	// Port forwards only.
	NicID         NicID  `json:"nicId,omitempty" doc:"Nic a forward leads to."`
	TargetPort    uint32 `json:"targetPort,omitempty" doc:"Port a forward leads to." maximum:"65535"`
	ListenPort    uint32 `json:"listenPort,omitempty" doc:"Port a forward listens on." maximum:"65535"`
	ListenAddress string `json:"listenAddress,omitempty" doc:"Address a forward listens on; absent means the network's outer address."`
}

// RuleStatus is what was observed of a rule.
type RuleStatus struct {
	ListenAddress string `json:"listenAddress,omitempty" doc:"Address a forward listens on."`
	// InForce rules are among those the network's driver is told.
	InForce bool `json:"inForce" doc:"Whether the rule is among those put in force."`
	// Former is kept while an operation changes the spec.
	Former *Former[RuleSpec] `json:"-" cbor:"former,omitempty"`
}

var portsPattern = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?$`)

// PortRange returns the ports of the rule; 0, 0 for all.
func (r *RuleSpec) PortRange() (from, to uint32, ok bool) {
	if r.Ports == "" {
		return 0, 0, true
	}
	if !portsPattern.MatchString(r.Ports) {
		return 0, 0, false
	}
	low, high, isRange := strings.Cut(r.Ports, "-")
	if !isRange {
		high = low
	}
	a, errA := strconv.ParseUint(low, 10, 16)
	b, errB := strconv.ParseUint(high, 10, 16)
	return uint32(a), uint32(b), errA == nil && errB == nil && a >= 1 && a <= b
}

// Validate implements Resource.
func (r *Rule) Validate(p *Problems) {
	ValidateMeta(&r.Meta, p)
	s := p.In("spec")
	s.Required("networkId", string(r.Spec.NetworkID))
	s.OneOf("type", r.Spec.Type, "ingress", "egress", "port-forward")
	if r.Spec.Action != "" {
		s.OneOf("action", r.Spec.Action, "allow", "deny")
	}
	if r.Spec.Protocol != "" {
		s.OneOf("protocol", r.Spec.Protocol, "tcp", "udp", "icmp", "any")
	}
	if _, _, ok := r.Spec.PortRange(); !ok {
		s.In("ports").Add("bad-ports", "must be a port or a range such as 8000-8080")
	}
	for i, c := range r.Spec.CIDRs {
		validatePrefix(s.In("cidrs").At(i), c)
	}
	r.validateForward(s)
}

func (r *Rule) validateForward(s *Problems) {
	if r.Spec.Type != "port-forward" {
		return
	}
	s.Required("nicId", string(r.Spec.NicID))
	s.Between("targetPort", uint64(r.Spec.TargetPort), 1, 65535)
	s.Between("listenPort", uint64(r.Spec.ListenPort), 1, 65535)
	if r.Spec.Protocol != "" {
		s.OneOf("protocol", r.Spec.Protocol, "tcp", "udp")
	}
	if r.Spec.ListenAddress == "" {
		return
	}
	if _, err := netip.ParseAddr(r.Spec.ListenAddress); err != nil {
		s.In("listenAddress").Add("bad-address", "must be an IP address")
	}
}

// References implements Resource.
func (r *Rule) References() []Ref {
	return add(add(nil, KindNetwork, string(r.Spec.NetworkID)), KindNic, string(r.Spec.NicID))
}

// Facets implements Resource.
func (r *Rule) Facets() map[string]string {
	m := map[string]string{"network": string(r.Spec.NetworkID), "type": r.Spec.Type}
	facet(m, "nic", string(r.Spec.NicID))
	return m
}

func ruleDefinition() Definition {
	return Definition{
		Kind: KindRule, Prefix: "rule", Plural: "rules", New: func() Resource { return &Rule{Meta: Meta{Kind: KindRule}} },
		Phases: simpleTable(),
		Mutable: []string{
			"action", "protocol", "ports", "cidrs", "priority", "nicId", "targetPort", "listenPort", "listenAddress",
		},
		Actions: actions(createAction(5*time.Minute), realisedUpdate(5*time.Minute), deleteAction(5*time.Minute)),
	}
}

// Nic connects a machine to a network.
type Nic struct {
	Meta
	Spec   NicSpec   `json:"spec"`
	Status NicStatus `json:"status"`
}

// NicSpec is what is asked of a nic.
type NicSpec struct {
	MachineID MachineID `json:"machineId" doc:"Machine it is of."`
	NetworkID NetworkID `json:"networkId" doc:"Network it is in."`
	AddressID AddressID `json:"addressId,omitempty" doc:"Address reserved before; absent means one is taken."`
	Address   string    `json:"address,omitempty" doc:"The address asked for; absent means the zone chooses."`
	Hostname  string    `json:"hostname,omitempty" doc:"Name it is known by in the network."`
}

// NicStatus is what was observed of a nic.
type NicStatus struct {
	MAC          string `json:"mac,omitempty" doc:"Hardware address."`
	Address      string `json:"address,omitempty" doc:"IP address."`
	Interface    string `json:"interface,omitempty" doc:"Interface on the host."`
	NetNamespace string `json:"netNamespace,omitempty" doc:"Network namespace of the interface."`
}

// Validate implements Resource.
func (n *Nic) Validate(p *Problems) {
	ValidateMeta(&n.Meta, p)
	s := p.In("spec")
	s.Required("machineId", string(n.Spec.MachineID))
	s.Required("networkId", string(n.Spec.NetworkID))
	if n.Spec.Address == "" {
		return
	}
	if _, err := netip.ParseAddr(n.Spec.Address); err != nil {
		s.In("address").Add("bad-address", "must be an IP address")
	}
}

// References implements Resource.
func (n *Nic) References() []Ref {
	return add(add(nil, KindNetwork, string(n.Spec.NetworkID)), KindAddress, string(n.Spec.AddressID))
}

// Facets implements Resource.
func (n *Nic) Facets() map[string]string {
	m := map[string]string{"network": string(n.Spec.NetworkID), "machine": string(n.Spec.MachineID)}
	facet(m, "address", n.Status.Address)
	return m
}

func nicDefinition() Definition {
	return Definition{
		Kind: KindNic, Prefix: "nic", Plural: "nics", New: func() Resource { return &Nic{Meta: Meta{Kind: KindNic}} },
		Phases: simpleTable(),
		Actions: actions(internal(createAction(5*time.Minute)), updateAction(), internal(deleteAction(5*time.Minute)),
			Action{
				Name: "attach", From: made(), Deadline: 5 * time.Minute,
				Summary: "Attach it again, as its machine's way out or not", Internal: true,
			},
			rebindIn(simpleTable())),
	}
}

func validatePrefix(p *Problems, cidr string) {
	if _, err := netip.ParsePrefix(cidr); err != nil {
		p.Add("bad-cidr", "must be an address range such as 10.0.0.0/8")
	}
}

var driverPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}/[a-z0-9][a-z0-9-]{0,31}$`)

func validateDriver(s *Problems, product string) {
	if !driverPattern.MatchString(product) {
		s.In("driver").Add("bad-driver", "must be vendor/name, such as bulkhead/sim")
	}
}

func validateTags(p *Problems, tags []string) {
	if len(tags) > 32 {
		p.Add("too-many", "must not have more than 32 tags")
	}
	for i, t := range tags {
		if !labelPattern.MatchString(t) {
			p.At(i).Add("bad-tag", "must be 1 to 63 characters of a-z, A-Z, 0-9 and -_./")
		}
	}
}
