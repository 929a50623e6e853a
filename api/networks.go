package api

import "github.com/bulkhead-cloud/bulkhead/resources"

type networkList struct {
	ListParams
	Driver string `query:"driver" maxLength:"65" doc:"Only networks of this driver, vendor/name."`
}

func (l *networkList) facets() map[string]string { return given("driver", l.Driver) }

type networkPatch struct{ MetaPatch }

func (p networkPatch) apply(n *resources.Network) { p.meta(&n.Meta) }

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

type rulePatch struct{ MetaPatch }

func (p rulePatch) apply(r *resources.Rule) { p.meta(&r.Meta) }

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
