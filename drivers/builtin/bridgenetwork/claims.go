package bridgenetwork

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	tcpListening   = 10 // TCP_LISTEN
	udpUnconnected = 7  // TCP_CLOSE: bound, and to nobody in particular

	// firstEphemeralPort is where Linux begins to choose ports for outgoing datagrams, which come and go.
	firstEphemeralPort = 32768
)

// claim makes the host lead exactly these ports into the network.
func (d *driver) claim(
	ctx context.Context, host *place, network string, outer netip.Addr, claims []ruleset.Claim,
) error {
	state, _, err := d.hostState(ctx)
	if err != nil {
		return err
	}
	var change ruleset.Change
	for _, there := range state.Claims {
		if there.Inner.Addr() == outer && !slices.Contains(claims, there) {
			change.DropClaims = append(change.DropClaims, there)
		}
	}
	for _, wanted := range claims {
		if !slices.Contains(state.Claims, wanted) {
			change.AddClaims = append(change.AddClaims, wanted)
		}
	}
	if err := commit(ctx, d.host, change.Text()); err != nil {
		return err
	}
	// The host's own loopback addresses may leave it through this one link, and only while a forward listens there.
	// The filter keeps the way back shut.
	loopback := "0"
	if slices.ContainsFunc(claims, func(c ruleset.Claim) bool {
		return c.Listen.IsLoopback() || c.Listen.IsUnspecified()
	}) {
		loopback = "1"
	}
	return host.SetSysctl("ipv4/conf/"+layout.HostLink(network)+"/route_localnet", loopback)
}

// refuseClaims fails when the host does not have a listen address, or another network or a program has the port.
func (d *driver) refuseClaims(ctx context.Context, host *place, outer netip.Addr, claims []ruleset.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	state, _, err := d.hostState(ctx)
	if err != nil {
		return err
	}
	local, err := host.addresses(nil)
	if err != nil {
		return err
	}
	listeners, err := listenersOf(host)
	if err != nil {
		return err
	}
	for _, claim := range claims {
		if err := refuseForeignAddress(claim, local); err != nil {
			return err
		}
		own, err := refuseClaimed(host, claim, outer, state.Claims)
		if err != nil {
			return err
		}
		if !own && slices.ContainsFunc(listeners, func(l listener) bool { return l.meets(claim) }) {
			return sdk.Conflict("port-in-use", "a program of the host listens on "+claim.String(),
				"choose another listen port or address, or stop the program")
		}
	}
	return nil
}

func refuseForeignAddress(claim ruleset.Claim, local []netip.Prefix) error {
	if claim.Listen.IsUnspecified() || claim.Listen.IsLoopback() ||
		slices.ContainsFunc(local, func(own netip.Prefix) bool { return own.Addr() == claim.Listen }) {
		return nil
	}
	return sdk.Conflict("address-not-on-host", "the host does not have the address "+claim.Listen.String(),
		"listen on an address of the host, on 0.0.0.0 for all of them, or leave it out for the network's outer address")
}

// refuseClaimed fails when another network has the port. own tells that this one has it already.
func refuseClaimed(host *place, claim ruleset.Claim, outer netip.Addr, there []ruleset.Claim) (own bool, err error) {
	for _, other := range there {
		if other.Listen != claim.Listen || other.Port != claim.Port || other.Protocol != claim.Protocol {
			continue
		}
		if other.Inner.Addr() == outer {
			return true, nil
		}
		return false, sdk.Conflict("port-taken",
			fmt.Sprintf("%s already leads to %s", claim, ownerOf(host, other.Inner.Addr())),
			"choose another listen port or address")
	}
	return false, nil
}

// ownerOf names the network with this outer address.
func ownerOf(host *place, outer netip.Addr) string {
	links, err := host.list()
	if err != nil {
		return "another network"
	}
	for _, link := range links {
		network, ok := layout.ParseNetwork(link.Attrs().Alias)
		if !ok {
			continue
		}
		addresses, err := host.addresses(link)
		if err == nil && len(addresses) > 0 && layout.TransitOf(addresses[0].Addr()).Outer() == outer {
			return "network " + network
		}
	}
	return "another network"
}

// listener is a socket on which a program of the host waits for strangers.
type listener struct {
	protocol uint8
	at       netip.AddrPort
}

func (l listener) meets(claim ruleset.Claim) bool {
	return l.protocol == claim.Protocol && l.at.Port() == claim.Port &&
		(l.at.Addr().IsUnspecified() || claim.Listen.IsUnspecified() || l.at.Addr() == claim.Listen)
}

func listenersOf(host *place) ([]listener, error) {
	var found []listener
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		streams, err := whole(func() ([]*netlink.Socket, error) { return host.links.SocketDiagTCP(family) })
		if err != nil {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
		for _, socket := range streams {
			if socket.State == tcpListening {
				found = append(found, listenerOf(ruleset.TCP, socket))
			}
		}
		datagrams, err := whole(func() ([]*netlink.Socket, error) { return host.links.SocketDiagUDP(family) })
		if err != nil {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
		for _, socket := range datagrams {
			if socket.State == udpUnconnected && socket.ID.SourcePort < firstEphemeralPort {
				found = append(found, listenerOf(ruleset.UDP, socket))
			}
		}
	}
	return found, nil
}

func listenerOf(protocol uint8, socket *netlink.Socket) listener {
	address, _ := netip.AddrFromSlice(socket.ID.Source)
	return listener{protocol: protocol, at: netip.AddrPortFrom(address.Unmap(), socket.ID.SourcePort)}
}
