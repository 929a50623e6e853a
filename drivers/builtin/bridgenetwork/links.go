package bridgenetwork

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// place is a network namespace with netlink opened in it.
type place struct {
	*netspace.Space
	links *netlink.Handle
	// borrowed places are closed by who opened the namespace.
	borrowed bool
}

// maxDumps bounds how often a listing is repeated that changed while it was read.
const maxDumps = 20

func placeIn(space *netspace.Space) (*place, error) {
	var links *netlink.Handle
	err := space.Do(func() (err error) { // the sockets stay in the namespace
		links, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER, unix.NETLINK_INET_DIAG)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening netlink in a network namespace: %w", err)
	}
	return &place{Space: space, links: links}, nil
}

// open returns the namespace of this name; the error wraps fs.ErrNotExist when there is none.
func (d *driver) open(name string) (*place, error) {
	space, err := d.spaces.Open(name)
	if err != nil {
		return nil, err
	}
	opened, err := placeIn(space)
	if err != nil {
		space.Close()
		return nil, err
	}
	return opened, nil
}

// openHost returns the host's namespace.
func (d *driver) openHost() (*place, error) {
	opened, err := placeIn(d.host)
	if err != nil {
		return nil, err
	}
	opened.borrowed = true
	return opened, nil
}

func (p *place) close() {
	p.links.Close()
	if !p.borrowed {
		p.Close()
	}
}

// find returns the interface of this name, or nil.
func (p *place) find(name string) (netlink.Link, error) {
	link, err := p.links.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up interface %s: %w", name, err)
	}
	return link, nil
}

// isUp tells whether the interface is there and up.
func (p *place) isUp(name string) (bool, error) {
	link, err := p.find(name)
	return link != nil && link.Attrs().Flags&net.FlagUp != 0, err
}

// isJoined tells whether an interface is a port of a bridge.
func (p *place) isJoined(name, bridge string) (bool, error) {
	link, err := p.find(name)
	if err != nil || link == nil {
		return false, err
	}
	master, err := p.find(bridge)
	return master != nil && link.Attrs().MasterIndex == master.Attrs().Index, err
}

// list returns all interfaces.
func (p *place) list() ([]netlink.Link, error) {
	links, err := whole(p.links.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	return links, nil
}

// remove deletes an interface, and the other end if it is one of a pair. Removing what is gone succeeds.
func (p *place) remove(name string) error {
	link, err := p.find(name)
	if err != nil || link == nil {
		return err
	}
	if err := p.links.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("deleting interface %s: %w", name, err)
	}
	return nil
}

// mark writes a label on an interface.
func (p *place) mark(link netlink.Link, label string) error {
	if link.Attrs().Alias == label {
		return nil
	}
	if err := p.links.LinkSetAlias(link, label); err != nil {
		return fmt.Errorf("labelling interface %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// raise sets the MTU and brings the interface up.
func (p *place) raise(link netlink.Link, mtu uint32) error {
	name := link.Attrs().Name
	if mtu != 0 && link.Attrs().MTU != int(mtu) {
		if err := p.links.LinkSetMTU(link, int(mtu)); err != nil {
			return fmt.Errorf("setting the MTU of interface %s to %d: %w", name, mtu, err)
		}
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := p.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing interface %s up: %w", name, err)
	}
	return nil
}

// join makes the interface a port of a bridge.
func (p *place) join(link, bridge netlink.Link) error {
	if link.Attrs().MasterIndex == bridge.Attrs().Index {
		return nil
	}
	if err := p.links.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("connecting interface %s to %s: %w", link.Attrs().Name, bridge.Attrs().Name, err)
	}
	return nil
}

// addresses returns the IPv4 addresses of an interface, or of all when link is nil.
func (p *place) addresses(link netlink.Link) ([]netip.Prefix, error) {
	found, err := whole(func() ([]netlink.Addr, error) { return p.links.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	prefixes := make([]netip.Prefix, 0, len(found))
	for _, address := range found {
		if prefix, ok := prefixOf(address.IPNet); ok {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

// address gives the interface an address unless it has it.
func (p *place) address(link netlink.Link, prefix netip.Prefix) error {
	wanted := &netlink.Addr{IPNet: ipNet(prefix)}
	if err := p.links.AddrAdd(link, wanted); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("giving interface %s the address %s: %w", link.Attrs().Name, prefix, err)
	}
	return nil
}

// whole repeats a listing until nothing changed while it was read.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	var found []T
	var err error
	for range maxDumps {
		found, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	return found, err
}

func prefixOf(network *net.IPNet) (netip.Prefix, bool) {
	if network == nil {
		return netip.Prefix{}, false
	}
	address, ok := netip.AddrFromSlice(network.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := network.Mask.Size()
	return netip.PrefixFrom(address.Unmap(), ones), address.Unmap().Is4()
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

func attributes(name string) netlink.LinkAttrs {
	made := netlink.NewLinkAttrs()
	made.Name = name
	return made
}
