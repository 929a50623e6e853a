package bridgenetwork

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// taken is a range in use, and by what.
type taken struct {
	prefix netip.Prefix
	by     string
}

// takenOnHost returns the ranges the host's own packets go to, but for those of our links.
func takenOnHost(host *place) ([]taken, error) {
	links, err := host.list()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	routes, err := whole(func() ([]netlink.Route, error) {
		everyTable := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		return host.links.RouteListFiltered(netlink.FAMILY_V4, everyTable, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	var found []taken
	for _, route := range routes {
		prefix, ok := prefixOf(route.Dst)
		// What covers more than any network may is a way to everywhere, not a place.
		if !ok || prefix.Bits() < smallestBits || prefix.Addr().IsMulticast() ||
			strings.HasPrefix(names[route.LinkIndex], layout.HostLinkPrefix) {
			continue
		}
		by := "the host's route " + prefix.String()
		if name := names[route.LinkIndex]; name != "" {
			by += " through " + name
		}
		found = append(found, taken{prefix: prefix, by: by})
	}
	return found, nil
}

// takenByNetworks returns the ranges of the networks on this host but the one named.
func (d *driver) takenByNetworks(except string) ([]taken, error) {
	names, err := d.spaces.List()
	if err != nil {
		return nil, err
	}
	var found []taken
	for _, name := range names {
		if !strings.HasPrefix(name, layout.NetworkSpacePrefix) || name == layout.NetworkSpace(except) {
			continue
		}
		network, prefix, err := d.rangeOf(name)
		if err != nil {
			return nil, err
		}
		if prefix.IsValid() {
			found = append(found, taken{prefix: prefix, by: "network " + network})
		}
	}
	return found, nil
}

// rangeOf returns id and range of the network in a namespace; the range is invalid when there is none yet.
func (d *driver) rangeOf(space string) (network string, prefix netip.Prefix, err error) {
	inside, err := d.open(space)
	if errors.Is(err, fs.ErrNotExist) {
		return "", netip.Prefix{}, nil
	}
	if err != nil {
		return "", netip.Prefix{}, err
	}
	defer inside.close()
	bridge, err := inside.find(layout.Bridge)
	if err != nil || bridge == nil {
		return "", netip.Prefix{}, err
	}
	plate, err := inside.find(loopback)
	if err != nil || plate == nil {
		return "", netip.Prefix{}, err
	}
	network, ok := layout.ParseNetwork(plate.Attrs().Alias)
	if !ok {
		network = "in " + space
	}
	addresses, err := inside.addresses(bridge)
	if err != nil || len(addresses) == 0 {
		return network, netip.Prefix{}, err
	}
	return network, addresses[0].Masked(), nil
}

// checkOverlap refuses a network whose range is in use already. An isolated network never meets the host's routes.
func (d *driver) checkOverlap(host *place, network string, want design, set settings) error {
	used, err := d.takenByNetworks(network)
	if err != nil {
		return err
	}
	if want.nat() {
		used = append(used, taken{prefix: set.transits, by: "the transit range " + set.transits.String()})
	}
	if want.nat() && !set.allowOverlap {
		routes, err := takenOnHost(host)
		if err != nil {
			return err
		}
		used = append(used, routes...)
	}
	for _, other := range used {
		if other.prefix.Overlaps(want.cidr) {
			return sdk.Conflict("cidr-overlaps", want.cidr.String()+" overlaps "+other.by,
				"choose another range for the network")
		}
	}
	return nil
}
