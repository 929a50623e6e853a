package bridgenetwork

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// loopback carries the label of a namespace: it is there from the first moment.
const loopback = "lo"

// realise makes the network, or what of it is missing, up to the processes that serve it. It is the same after a
// crash, on an empty host, and on a network that is whole. before is what the handle tells, or nil.
func (d *driver) realise(
	ctx context.Context, network string, want design, set settings, before *networkHandle,
) (*networkHandle, error) {
	unlock, err := d.spaces.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	host, err := d.openHost()
	if err != nil {
		return nil, err
	}
	defer host.close()
	if err := d.checkOverlap(host, network, want, set); err != nil {
		return nil, err
	}
	if err := d.spaces.Ensure(layout.NetworkSpace(network)); err != nil {
		return nil, err
	}
	inside, err := d.open(layout.NetworkSpace(network))
	if err != nil {
		return nil, err
	}
	defer inside.close()
	made := &construction{network: network, want: want, set: set, host: host, inside: inside}
	return d.construct(ctx, made, before)
}

// construct works inside the network's namespace. Filters come before what they filter.
func (d *driver) construct(ctx context.Context, c *construction, before *networkHandle) (*networkHandle, error) {
	if err := c.refuseOther(); err != nil {
		return nil, err
	}
	if err := d.prepareSpace(c.inside, layout.NetworkLabel(c.network), c.spaceSettings()); err != nil {
		return nil, err
	}
	sdk.Progress(ctx, 20, "namespace ready")
	after := handleOf(c.want, netip.Prefix{})
	var transit layout.Transit
	if c.want.nat() {
		var err error
		if transit, err = c.pair(transitOf(before)); err != nil {
			return nil, err
		}
		after.Transit = transit.Subnet
	}
	if err := commit(ctx, c.inside.Space, ruleset.Guard()); err != nil {
		return nil, err
	}
	if err := d.keepRules(ctx, c, before, after); err != nil {
		return nil, err
	}
	if err := c.bridge(); err != nil {
		return nil, err
	}
	if err := c.rejoin(ctx); err != nil {
		return nil, err
	}
	sdk.Progress(ctx, 50, "bridge up")
	if c.want.nat() {
		if err := d.connect(ctx, c, transit); err != nil {
			return nil, err
		}
		sdk.Progress(ctx, 70, "connected to the host")
	}
	return after, d.claimAgain(ctx, c, after)
}

func transitOf(before *networkHandle) netip.Prefix {
	if before == nil {
		return netip.Prefix{}
	}
	return before.Transit
}

// keepRules makes the edge's filter hold the rules the handle tells of. Rules that are in force and that no handle
// tells of stay.
func (d *driver) keepRules(ctx context.Context, c *construction, before, after *networkHandle) error {
	there, err := hasTable(ctx, c.inside.Space, "ip")
	if err != nil {
		return err
	}
	known := before != nil && !before.RulesOmitted
	if before != nil {
		after.Rules, after.RulesOmitted = before.Rules, before.RulesOmitted
	}
	if there && !known {
		return nil
	}
	planned, err := after.plan()
	if err != nil {
		return err
	}
	return commit(ctx, c.inside.Space, planned.edge.Text())
}

// claimAgain makes the host's filter hold the forwards of the handle.
func (d *driver) claimAgain(ctx context.Context, c *construction, after *networkHandle) error {
	if !c.want.nat() || len(after.Rules) == 0 {
		return nil
	}
	planned, err := after.plan()
	if err != nil {
		return err
	}
	return d.claim(ctx, c.host, c.network, outerOf(after), planned.claims)
}

func outerOf(handle *networkHandle) netip.Addr {
	if !handle.Transit.IsValid() {
		return netip.Addr{}
	}
	return layout.Transit{Subnet: handle.Transit}.Outer()
}

// spaceSettings are the sysctls of the network's namespace.
func (c *construction) spaceSettings() []netspace.Setting {
	forward := "0"
	if c.want.nat() {
		forward = "1"
	}
	return []netspace.Setting{
		{Key: forwardingKey, Value: forward},
		{Key: "ipv4/conf/all/rp_filter", Value: "1"},
		{Key: "ipv4/conf/default/rp_filter", Value: "1"},
		{Key: "ipv4/conf/all/arp_ignore", Value: "1"}, // guests learn no address but the gateway
		{Key: "ipv4/conf/all/accept_redirects", Value: "0"},
		{Key: "ipv4/conf/default/accept_redirects", Value: "0"},
		{Key: "ipv4/conf/all/send_redirects", Value: "0"},
		{Key: "ipv4/conf/default/send_redirects", Value: "0"},
	}
}

// prepareSpace sets up what every namespace of ours needs: its label, no IPv6, and no second filter for frames that
// only cross a bridge.
func (d *driver) prepareSpace(inside *place, label string, own []netspace.Setting) error {
	always := []netspace.Setting{
		{Key: "ipv6/conf/all/disable_ipv6", Value: "1"},
		{Key: "ipv6/conf/default/disable_ipv6", Value: "1"},
		{Key: "bridge/bridge-nf-call-iptables", Value: "0"},
		{Key: "bridge/bridge-nf-call-ip6tables", Value: "0"},
		{Key: "bridge/bridge-nf-call-arptables", Value: "0"},
	}
	if err := inside.SetSysctls(slices.Concat(always, own)); err != nil {
		return err
	}
	link, err := inside.find(loopback)
	if err != nil {
		return err
	}
	if err := inside.mark(link, label); err != nil {
		return err
	}
	return inside.raise(link, 0)
}

// refuseOther fails when the network is there in another shape than is wanted. One that died before it had a bridge
// has no shape yet.
func (c *construction) refuseOther() error {
	link, err := c.inside.find(layout.Bridge)
	if err != nil || link == nil {
		return err
	}
	label := layout.BridgeLabel(c.network, c.want.shape())
	if link.Attrs().Alias == "" || link.Attrs().Alias == label {
		return nil
	}
	return sdk.Conflict("network-differs", "network "+c.network+" is there, made from another spec",
		"delete it first, or ask for what is there")
}

// bridge makes the bridge and gives it the gateway's address.
func (c *construction) bridge() error {
	link, err := c.inside.find(layout.Bridge)
	if err != nil {
		return err
	}
	if link == nil {
		snooping := false // there is no querier: with it multicast between guests would stop
		bridge := &netlink.Bridge{LinkAttrs: attributes(layout.Bridge), MulticastSnooping: &snooping}
		bridge.MTU = int(c.want.mtu)
		if err := c.inside.links.LinkAdd(bridge); err != nil {
			return fmt.Errorf("making the bridge of network %s: %w", c.network, err)
		}
		if link, err = c.inside.find(layout.Bridge); err != nil {
			return err
		}
	}
	if err := c.inside.mark(link, layout.BridgeLabel(c.network, c.want.shape())); err != nil {
		return err
	}
	if err := c.inside.address(link, netip.PrefixFrom(c.want.gateway, c.want.cidr.Bits())); err != nil {
		return err
	}
	return c.inside.raise(link, c.want.mtu)
}

// rejoin lets the nics that are there through the guard and connects them with the bridge: both may just have been made
// anew, and a network is not whole while its nics are cut off.
func (c *construction) rejoin(ctx context.Context) error {
	nics, _, err := c.inside.nics()
	if err != nil || len(nics) == 0 {
		return err
	}
	var admit strings.Builder
	for _, nic := range nics {
		admit.WriteString(guardOf(nic).Admit())
	}
	if err := commit(ctx, c.inside.Space, admit.String()); err != nil {
		return err
	}
	for _, nic := range nics {
		port, err := c.inside.find(layout.Port(nic.ID))
		if err != nil {
			return err
		}
		if port == nil { // detached since they were listed
			continue
		}
		if err := plug(c.inside, port, attachment{Nic: nic, network: c.network, want: c.want}); err != nil {
			return err
		}
	}
	return nil
}

// facts tell people about a network.
func (d *driver) facts(ctx context.Context, network string, handle *networkHandle) (map[string]string, error) {
	facts := map[string]string{}
	for _, one := range d.services(network, handle.DHCP, handle.DNS) {
		facts[one.name] = "off"
		if one.wanted {
			facts[one.name] = d.unitState(ctx, one.unit)
		}
	}
	if !handle.Transit.IsValid() {
		return facts, nil
	}
	transit := layout.Transit{Subnet: handle.Transit}
	facts["outerAddress"] = transit.Outer().String()
	facts["transit"] = transit.Subnet.String()
	facts["hostInterface"] = layout.HostLink(network)
	facts["hostForwarding"] = "was on"
	state, _, err := d.hostState(ctx)
	if err != nil {
		return nil, err
	}
	if state.ForwardingWasOff {
		facts["hostForwarding"] = "turned on, was off"
	}
	if handle.RulesOmitted {
		facts["rules"] = "too many to be kept: after a restart of the host they must be applied again"
	}
	return facts, nil
}

func (d *driver) reply(ctx context.Context, network string, handle *networkHandle) (*driverpb.NetworkReply, error) {
	encoded, err := encodeHandle(handle)
	if err != nil {
		return nil, err
	}
	facts, err := d.facts(ctx, network, handle)
	if err != nil {
		return nil, err
	}
	return &driverpb.NetworkReply{
		Handle: encoded, NetNamespace: d.spaces.Path(layout.NetworkSpace(network)), Bridge: layout.Bridge, Facts: facts,
	}, nil
}
