package operations

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func networkOperations() []Definition {
	return []Definition{
		{Kind: resources.KindNetwork, Action: "create", Steps: steps(
			Step{Name: "design", Do: designNetwork},
			Step{Name: "create", Do: createNetwork, Undo: deleteNetwork},
		)},
		{Kind: resources.KindNetwork, Action: "delete", Steps: steps(
			Step{Name: "delete", Do: deleteNetwork},
		)},
		{Kind: resources.KindNetwork, Action: "apply-rules", Steps: steps(
			Step{Name: "apply", Do: applyRules},
		)},
	}
}

// ruleOperations mark the rule first and then have the network put all marked
// rules in force. The first step of each is there for its undo alone: undone
// last, it puts in force what is marked once the mark is taken back.
func ruleOperations() []Definition {
	return []Definition{
		{Kind: resources.KindRule, Action: "create", Steps: steps(
			Step{Name: "restore", Do: nothing, Undo: applyToNetwork},
			Step{Name: "enter", Do: enterRule, Undo: withdrawRule},
			Step{Name: "apply", Do: applyToNetwork},
		)},
		{Kind: resources.KindRule, Action: "delete", Steps: steps(
			Step{Name: "restore", Do: nothing, Undo: applyToNetwork},
			Step{Name: "withdraw", Do: withdrawRule, Undo: enterRule},
			Step{Name: "apply", Do: applyToNetwork},
		)},
	}
}

func nothing(context.Context, *Context) error { return nil }

const defaultMTU = 1500

// networkSpec is the spec as drivers hear it, with the defaults filled in and
// what the design decided.
func networkSpec(n *resources.Network) *driverpb.NetworkSpec {
	s := &driverpb.NetworkSpec{
		Mode: n.Spec.Mode, Cidr: n.Spec.CIDR, Gateway: n.Spec.Gateway, DnsServers: n.Spec.DNSServers,
		Domain: n.Spec.Domain, Mtu: n.Spec.MTU, Dhcp: !n.Spec.NoDHCP, Dns: !n.Spec.NoDNS,
	}
	if s.GetMode() == "" {
		s.Mode = "nat"
	}
	if s.GetMtu() == 0 {
		s.Mtu = defaultMTU
	}
	if n.Status.MTU != 0 {
		s.Mtu = n.Status.MTU
	}
	if prefix, err := n.Prefix(); err == nil && s.GetGateway() == "" {
		s.Gateway = prefix.Addr().Next().String()
	}
	if n.Status.Gateway != "" {
		s.Gateway = n.Status.Gateway
	}
	return s
}

func (c *Context) network(ctx context.Context) (*resources.Network, driver, error) {
	n, err := Target[*resources.Network](c)
	if err != nil {
		return nil, driver{}, err
	}
	d, err := c.driver(ctx, n.Spec.Driver, n.Ref(), n.Spec.Properties)
	return n, d, err
}

func designNetwork(ctx context.Context, c *Context) error {
	n, d, err := c.network(ctx)
	if err != nil {
		return err
	}
	reply, err := driverpb.NewNetworksClient(d.conn).DesignNetwork(ctx,
		&driverpb.NetworkRequest{Call: d.call, Network: networkSpec(n)})
	if err != nil {
		return FromFault(err)
	}
	Change(c, func(n *resources.Network) {
		n.Status.Gateway, n.Status.MTU = reply.GetNetwork().GetGateway(), reply.GetNetwork().GetMtu()
	})
	return nil
}

func createNetwork(ctx context.Context, c *Context) error {
	n, d, err := c.network(ctx)
	if err != nil {
		return err
	}
	reply, err := driverpb.NewNetworksClient(d.conn).CreateNetwork(ctx,
		&driverpb.NetworkRequest{Call: d.call, Network: networkSpec(n)})
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(n *resources.Network) {
		n.Status.Bridge, n.Status.NetNamespace = reply.GetBridge(), reply.GetNetNamespace()
		n.Status.Facts = reply.GetFacts()
	})
	return nil
}

func deleteNetwork(ctx context.Context, c *Context) error {
	n, d, err := c.network(ctx)
	if err != nil {
		return unreached(err)
	}
	_, err = driverpb.NewNetworksClient(d.conn).DeleteNetwork(ctx,
		&driverpb.NetworkRequest{Call: d.call, Network: networkSpec(n)})
	c.unbind()
	return gone(err)
}

// applyRules puts the network's marked rules in force, all of them at once.
func applyRules(ctx context.Context, c *Context) error {
	n, d, err := c.network(ctx)
	if err != nil {
		return err
	}
	rules, revision, err := c.rulesOf(n)
	if err != nil {
		return err
	}
	ref := &driverpb.NetworkRef{Resource: protoRef(n.Ref()), Handle: d.call.GetHandle()}
	reply, err := driverpb.NewNetworksClient(d.conn).ApplyRules(ctx,
		&driverpb.RulesRequest{Call: d.call, Network: ref, Spec: networkSpec(n), Rules: rules})
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(n *resources.Network) { n.Status.RulesRevision = revision })
	return nil
}

func (c *Context) rulesOf(n *resources.Network) ([]*driverpb.Rule, uint64, error) {
	var rules []*driverpb.Rule
	var revision uint64
	err := c.Engine.View(func(v *persistence.View) error {
		var failed error
		err := v.Each(resources.KindRule, map[string]string{"network": n.ID}, func(r resources.Resource) bool {
			rule, ok := r.(*resources.Rule)
			if !ok || !rule.Status.InForce {
				return true
			}
			revision = max(revision, rule.Revision)
			var p *driverpb.Rule
			if p, failed = protoRule(v, rule); failed == nil {
				rules = append(rules, p)
			}
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		return err
	})
	return rules, revision, err
}

func protoRule(v *persistence.View, r *resources.Rule) (*driverpb.Rule, error) {
	from, to, _ := r.Spec.PortRange()
	p := &driverpb.Rule{
		Resource: protoRef(r.Ref()), Type: r.Spec.Type, Action: r.Spec.Action, Protocol: r.Spec.Protocol,
		PortFrom: from, PortTo: to, Cidrs: r.Spec.CIDRs, Priority: r.Spec.Priority,
		TargetPort: r.Spec.TargetPort, ListenPort: r.Spec.ListenPort, ListenAddress: r.Spec.ListenAddress,
	}
	if p.GetAction() == "" {
		p.Action = "allow"
	}
	if p.GetProtocol() == "" {
		p.Protocol = "any"
		if r.Spec.Type == "port-forward" {
			p.Protocol = "tcp"
		}
	}
	if r.Spec.NicID == "" {
		return p, nil
	}
	nic, err := persistence.Find[*resources.Nic](v, resources.KindNic, string(r.Spec.NicID))
	if err != nil {
		return nil, err
	}
	p.TargetAddress = nic.Status.Address
	return p, nil
}

func enterRule(_ context.Context, c *Context) error {
	r, err := Target[*resources.Rule](c)
	if err != nil {
		return err
	}
	n, err := Find[*resources.Network](c, resources.KindNetwork, string(r.Spec.NetworkID))
	if err != nil {
		return err
	}
	listen := ""
	if r.Spec.Type == "port-forward" {
		listen = r.Spec.ListenAddress
		if listen == "" {
			listen = n.Status.Facts["outerAddress"]
		}
	}
	Change(c, func(r *resources.Rule) { r.Status.InForce, r.Status.ListenAddress = true, listen })
	return nil
}

func withdrawRule(_ context.Context, c *Context) error {
	Change(c, func(r *resources.Rule) { r.Status.InForce = false })
	return nil
}

func applyToNetwork(ctx context.Context, c *Context) error {
	r, err := Target[*resources.Rule](c)
	if err != nil {
		return err
	}
	network := resources.Ref{Kind: resources.KindNetwork, ID: string(r.Spec.NetworkID)}
	_, err = c.ask(ctx, "", Ask{Action: "apply-rules", Target: network})
	return err
}
