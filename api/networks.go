package api

import "github.com/bulkhead-cloud/bulkhead/resources"

type networkList struct {
	ListParams
	Driver string `query:"driver" maxLength:"65" doc:"Only networks of this driver, vendor/name."`
}

func (l *networkList) facets() map[string]string { return given("driver", l.Driver) }

type networkPatch struct {
	MetaPatch
	Spec *networkSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type networkSpecPatch struct {
	DNSServers *[]string `json:"dnsServers,omitempty" maxItems:"8" doc:"Upstream name servers; replaces all; none means those of the host."`
	// Properties changes what is given of them.
	Properties map[string]any `json:"properties,omitempty" doc:"Settings to set; null removes one, others stay, secret ones too."`
}

func (p networkPatch) apply(n *resources.Network) {
	p.meta(&n.Meta)
	if p.Spec != nil {
		set(&n.Spec.DNSServers, p.Spec.DNSServers)
		n.Spec.Properties = merged(n.Spec.Properties, p.Spec.Properties)
	}
}

func (a *API) networks() {
	n := noun{resources.KindNetwork, "network", "networks", "network", "networks", "Networks"}
	addList[resources.Network, networkList](a, n)
	addGet[resources.Network](a, n)
	addCreate(a, n, func(c *creation[resources.NetworkSpec]) resources.Resource {
		return &resources.Network{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[networkPatch](a, n)
	addDelete(a, n)
	addSuspend[resources.Network](a, n)
}

type addressList struct {
	ListParams
	NetworkID resources.NetworkID `query:"networkId" doc:"Only addresses of this network."`
	NicID     resources.NicID     `query:"nicId" doc:"Only the address of this nic."`
	Address   string              `query:"address" maxLength:"45" doc:"Only this address."`
}

func (l *addressList) facets() map[string]string {
	return given("network", string(l.NetworkID), "nic", string(l.NicID), "address", l.Address)
}

type addressPatch struct{ MetaPatch }

func (p addressPatch) apply(d *resources.Address) { p.meta(&d.Meta) }

func (a *API) addresses() {
	n := noun{resources.KindAddress, "address", "addresses", "address", "addresses", "Addresses"}
	addList[resources.Address, addressList](a, n)
	addGet[resources.Address](a, n)
	addCreate(a, n, func(c *creation[resources.AddressSpec]) resources.Resource {
		return &resources.Address{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[addressPatch](a, n)
	addDelete(a, n)
	addSuspend[resources.Address](a, n)
}

type ruleList struct {
	ListParams
	NetworkID resources.NetworkID `query:"networkId" doc:"Only rules of this network."`
	NicID     resources.NicID     `query:"nicId" doc:"Only forwards to this nic."`
	Type      string              `query:"type" enum:"ingress,egress,port-forward" doc:"Only rules of this type."`
}

func (l *ruleList) facets() map[string]string {
	return given("network", string(l.NetworkID), "nic", string(l.NicID), "type", l.Type)
}

type rulePatch struct {
	MetaPatch
	Spec *ruleSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type ruleSpecPatch struct {
	Action        *string          `json:"action,omitempty" doc:"allow or deny."`
	Protocol      *string          `json:"protocol,omitempty" doc:"tcp, udp, icmp or any."`
	Ports         *string          `json:"ports,omitempty" maxLength:"11" doc:"Port or range, such as 80 or 8000-8080; empty means all."`
	CIDRs         *[]string        `json:"cidrs,omitempty" maxItems:"64" doc:"Far side of the traffic; replaces all; none means any."`
	Priority      *uint32          `json:"priority,omitempty" maximum:"65535" doc:"Lower comes first; of one priority deny before allow before port-forward."`
	NicID         *resources.NicID `json:"nicId,omitempty" doc:"Nic a forward leads to."`
	TargetPort    *uint32          `json:"targetPort,omitempty" maximum:"65535" doc:"Port a forward leads to."`
	ListenPort    *uint32          `json:"listenPort,omitempty" maximum:"65535" doc:"Port a forward listens on."`
	ListenAddress *string          `json:"listenAddress,omitempty" doc:"Address a forward listens on; empty means the network's outer address."`
}

func (p rulePatch) apply(r *resources.Rule) {
	p.meta(&r.Meta)
	if p.Spec == nil {
		return
	}
	set(&r.Spec.Action, p.Spec.Action)
	set(&r.Spec.Protocol, p.Spec.Protocol)
	set(&r.Spec.Ports, p.Spec.Ports)
	set(&r.Spec.CIDRs, p.Spec.CIDRs)
	set(&r.Spec.Priority, p.Spec.Priority)
	set(&r.Spec.NicID, p.Spec.NicID)
	set(&r.Spec.TargetPort, p.Spec.TargetPort)
	set(&r.Spec.ListenPort, p.Spec.ListenPort)
	set(&r.Spec.ListenAddress, p.Spec.ListenAddress)
}

func (a *API) rules() {
	n := noun{resources.KindRule, "rule", "rules", "rule", "rules", "Rules"}
	addList[resources.Rule, ruleList](a, n)
	addGet[resources.Rule](a, n)
	addCreate(a, n, func(c *creation[resources.RuleSpec]) resources.Resource {
		return &resources.Rule{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[rulePatch](a, n)
	addDelete(a, n)
	addSuspend[resources.Rule](a, n)
}

type nicList struct {
	ListParams
	NetworkID resources.NetworkID `query:"networkId" doc:"Only nics in this network."`
	MachineID resources.MachineID `query:"machineId" doc:"Only nics of this machine."`
	Address   string              `query:"address" maxLength:"45" doc:"Only the nic with this address."`
}

func (l *nicList) facets() map[string]string {
	return given("network", string(l.NetworkID), "machine", string(l.MachineID), "address", l.Address)
}

type nicPatch struct{ MetaPatch }

func (p nicPatch) apply(n *resources.Nic) { p.meta(&n.Meta) }

// nics are made and deleted through their machine.
func (a *API) nics() {
	n := noun{resources.KindNic, "nic", "nics", "nic", "nics", "Nics"}
	addList[resources.Nic, nicList](a, n)
	addGet[resources.Nic](a, n)
	addPatch[nicPatch](a, n)
	addSuspend[resources.Nic](a, n)
}
