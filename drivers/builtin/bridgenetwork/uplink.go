package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const forwardingKey = "ipv4/ip_forward"

// construction is what the building of one network works on.
type construction struct {
	network string
	want    design
	set     settings
	host    *place
	inside  *place
}

// pair makes the pair of interfaces between network and host and finds its addresses. The host's end remembers them:
// what is there already stays, and only then what was there before counts.
func (c *construction) pair(before netip.Prefix) (layout.Transit, error) {
	link, err := c.host.find(layout.HostLink(c.network))
	if err != nil {
		return layout.Transit{}, err
	}
	uplink, err := c.inside.find(layout.Uplink)
	if err != nil {
		return layout.Transit{}, err
	}
	if link == nil || uplink == nil {
		if link, err = c.makePair(); err != nil {
			return layout.Transit{}, err
		}
	}
	if err := c.host.mark(link, layout.NetworkLabel(c.network)); err != nil {
		return layout.Transit{}, err
	}
	addresses, err := c.host.addresses(link)
	if err != nil {
		return layout.Transit{}, err
	}
	if len(addresses) > 0 {
		return layout.TransitOf(addresses[0].Addr()), nil
	}
	transit, err := c.choose(before)
	if err != nil {
		return layout.Transit{}, err
	}
	return transit, c.host.address(link, netip.PrefixFrom(transit.Host(), layout.TransitBits))
}

func (c *construction) makePair() (netlink.Link, error) {
	name := layout.HostLink(c.network)
	if err := c.host.remove(name); err != nil { // its other end is gone or in another namespace
		return nil, err
	}
	if err := c.inside.remove(layout.Uplink); err != nil {
		return nil, err
	}
	pair := netlink.NewVeth(attributes(name))
	pair.MTU, pair.PeerMTU = int(c.transitMTU()), c.transitMTU()
	pair.PeerName, pair.PeerNamespace = layout.Uplink, netlink.NsFd(c.inside.FD())
	if err := c.host.links.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("making the pair between the host and network %s: %w", c.network, err)
	}
	return c.host.find(name)
}

// transitMTU is never smaller than the guests' own.
func (c *construction) transitMTU() uint32 { return max(c.want.mtu, defaultMTU) }

// choose finds a transit that nothing else uses, the one before if it is still free.
func (c *construction) choose(before netip.Prefix) (layout.Transit, error) {
	used, err := c.takenTransits()
	if err != nil {
		return layout.Transit{}, err
	}
	free := func(subnet netip.Prefix) bool {
		return !subnet.Overlaps(c.want.cidr) &&
			!slices.ContainsFunc(used, func(other netip.Prefix) bool { return other.Overlaps(subnet) })
	}
	if before.IsValid() && before.Bits() == layout.TransitBits && free(before) {
		return layout.Transit{Subnet: before}, nil
	}
	for transit := range layout.Transits(c.set.transits, c.network) {
		if free(transit.Subnet) {
			return transit, nil
		}
	}
	return layout.Transit{}, sdk.Exhausted("no-transit", "no free subnet in the transit range "+c.set.transits.String(),
		"set "+propertyTransit+" of the driver to a range that nothing on the host uses")
}

func (c *construction) takenTransits() ([]netip.Prefix, error) {
	used, err := c.host.addresses(nil)
	if err != nil {
		return nil, err
	}
	routes, err := takenOnHost(c.host)
	if err != nil {
		return nil, err
	}
	for _, route := range routes {
		used = append(used, route.prefix)
	}
	return used, nil
}

// connect brings the pair up and tells the host's filter about it. The edge's filter must be in force before.
func (d *driver) connect(ctx context.Context, c *construction, transit layout.Transit) error {
	link, err := c.host.find(layout.HostLink(c.network))
	if err != nil || link == nil {
		return errors.Join(err, sdk.Transient("link-vanished", "the link of "+c.network+" to the host vanished"))
	}
	if err := d.admit(ctx, c, transit.Outer()); err != nil {
		return err
	}
	name := link.Attrs().Name
	if err := c.host.SetSysctls([]netspace.Setting{
		{Key: "ipv6/conf/" + name + "/disable_ipv6", Value: "1"},
		{Key: "ipv4/conf/" + name + "/forwarding", Value: "1"},
	}); err != nil {
		return err
	}
	if err := c.host.raise(link, c.transitMTU()); err != nil {
		return err
	}
	uplink, err := c.inside.find(layout.Uplink)
	if err != nil || uplink == nil {
		return errors.Join(err, sdk.Transient("link-vanished", "the uplink of "+c.network+" vanished"))
	}
	if err := c.inside.address(uplink, netip.PrefixFrom(transit.Outer(), layout.TransitBits)); err != nil {
		return err
	}
	if err := c.inside.raise(uplink, c.transitMTU()); err != nil {
		return err
	}
	way := &netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: transit.Host().AsSlice()}
	if err := c.inside.links.RouteReplace(way); err != nil {
		return fmt.Errorf("setting the way out of network %s: %w", c.network, err)
	}
	return nil
}

// admit makes the host's filter know the network, and the host forward.
func (d *driver) admit(ctx context.Context, c *construction, outer netip.Addr) error {
	forwarding, err := c.host.Sysctl(forwardingKey)
	if err != nil {
		return err
	}
	off := forwarding == "0"
	if off && c.set.manualForwarding {
		return sdk.Conflict("forwarding-off", "the host does not forward packets, and this driver is set to leave that alone",
			"set the sysctl net.ipv4.ip_forward to 1, or the driver's "+propertyForwarding+" to managed")
	}
	state, there, err := d.hostState(ctx)
	if err != nil {
		return err
	}
	wanted, err := c.localResolvers()
	if err != nil {
		return err
	}
	change := ruleset.Change{
		AddOuters: []netip.Addr{outer}, AddResolvers: wanted,
		// Once the table is there it knows; what turned forwarding off since then was somebody else.
		MarkForwardingOff: off && !there,
	}
	for _, resolver := range state.Resolvers {
		if resolver.Link == layout.HostLink(c.network) && !slices.Contains(wanted, resolver) {
			change.DropResolvers = append(change.DropResolvers, resolver)
		}
	}
	if err := commit(ctx, d.host, change.Text()); err != nil {
		return err
	}
	if off {
		return c.host.SetSysctl(forwardingKey, "1")
	}
	return nil
}

// localResolvers returns the network's name servers that are the host itself.
func (c *construction) localResolvers() ([]ruleset.Resolver, error) {
	local, err := c.host.addresses(nil)
	if err != nil {
		return nil, err
	}
	var found []ruleset.Resolver
	for _, upstream := range c.want.upstreams {
		if slices.ContainsFunc(local, func(own netip.Prefix) bool { return own.Addr() == upstream }) {
			found = append(found, ruleset.Resolver{Link: layout.HostLink(c.network), Address: upstream})
		}
	}
	return found, nil
}

// disconnect takes away what connect made on the host, and with the last network all that is ours there. before is
// the transit the handle tells of, for when the link is gone already.
func (d *driver) disconnect(ctx context.Context, host *place, network string, before netip.Prefix) error {
	outers, err := outersOf(host, network, before)
	if err != nil {
		return err
	}
	state, there, err := d.hostState(ctx)
	if err != nil {
		return err
	}
	if there {
		change := state.Without(layout.HostLink(network), outers)
		if err := commit(ctx, d.host, change.Text()); err != nil {
			return err
		}
	}
	if err := host.remove(layout.HostLink(network)); err != nil {
		return err
	}
	if !there {
		return nil
	}
	return d.leaveHost(ctx, host, state.ForwardingWasOff)
}

// outersOf returns the outer addresses a network has or had, unless another network has them now.
func outersOf(host *place, network string, before netip.Prefix) ([]netip.Addr, error) {
	link, err := host.find(layout.HostLink(network))
	if err != nil {
		return nil, err
	}
	var outers []netip.Addr
	if link != nil {
		own, err := host.addresses(link)
		if err != nil {
			return nil, err
		}
		for _, address := range own {
			outers = append(outers, layout.TransitOf(address.Addr()).Outer())
		}
	}
	if !before.IsValid() {
		return outers, nil
	}
	transit := layout.Transit{Subnet: before}
	all, err := host.addresses(nil)
	if err != nil {
		return nil, err
	}
	inUse := slices.ContainsFunc(all, func(address netip.Prefix) bool { return address.Addr() == transit.Host() })
	if !inUse {
		outers = append(outers, transit.Outer())
	}
	return outers, nil
}

// leaveHost takes the host's table away and puts forwarding back, if no network has a link to the host any more.
func (d *driver) leaveHost(ctx context.Context, host *place, wasOff bool) error {
	links, err := host.list()
	if err != nil {
		return err
	}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, layout.HostLinkPrefix) {
			return nil
		}
	}
	// In this order: the table says that forwarding has to be put back, until it has been.
	if wasOff {
		if err := host.SetSysctl(forwardingKey, "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return commit(ctx, d.host, ruleset.Drop())
}
