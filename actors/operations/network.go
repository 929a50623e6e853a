package operations

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
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
		{Kind: resources.KindNetwork, Action: "update", Steps: steps(
			Step{Name: "restore", Do: nothing, Undo: createNetwork},
			Step{Name: "change", Do: changeNetwork, Undo: restoreNetwork},
			Step{Name: "apply", Do: reshapeNetwork},
		)},
		{Kind: resources.KindNetwork, Action: "apply-rules", Steps: steps(
			Step{Name: "apply", Do: applyRules},
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
	d, err := c.driver(ctx, n, n.Ref())
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

// changeNetwork gives the network the fields that the operation changes.
func changeNetwork(_ context.Context, c *Context) error {
	n, err := Target[*resources.Network](c)
	if err != nil {
		return err
	}
	former := formerSpec(c, n.Status.Former, n.Spec)
	spec, err := changedSpec(former.Spec, c.Operation.Arguments.Spec)
	if err != nil {
		return err
	}
	if err := valid(&resources.Network{Meta: n.Meta, Spec: spec}); err != nil {
		return err
	}
	Change(c, func(n *resources.Network) { n.Spec, n.Status.Former = spec, former })
	return nil
}

// restoreNetwork gives the network the spec that it had, if this operation changed
// it.
func restoreNetwork(_ context.Context, c *Context) error {
	n, err := Target[*resources.Network](c)
	if err != nil || !changedBy(c, n.Status.Former) {
		return err
	}
	spec := n.Status.Former.Spec
	Change(c, func(n *resources.Network) { n.Spec, n.Status.Former = spec, nil })
	return nil
}

// reshapeNetwork asks for the network as it is to be: for one that is there, the
// driver changes what can be changed.
func reshapeNetwork(ctx context.Context, c *Context) error {
	if err := createNetwork(ctx, c); err != nil {
		return err
	}
	Change(c, func(n *resources.Network) { n.Status.Former = nil })
	return nil
}
