package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// nics returns the nics of the network in a namespace, and the names of the bridge's ports that are none.
func (p *place) nics() (nics []layout.Nic, foreign []string, err error) {
	links, err := p.list()
	if err != nil {
		return nil, nil, err
	}
	bridge := 0
	for _, link := range links {
		if link.Attrs().Name == layout.Bridge {
			bridge = link.Attrs().Index
		}
	}
	for _, link := range links {
		attributes := link.Attrs()
		nic, err := layout.ParseNic(attributes.Alias)
		switch {
		case err == nil && attributes.Name == layout.Port(nic.ID):
			nics = append(nics, nic)
		case bridge != 0 && attributes.MasterIndex == bridge:
			foreign = append(foreign, attributes.Name)
		}
	}
	return nics, foreign, nil
}

// wire makes the port, shuts and guards it, and connects it with a tap in the machine's namespace. Namespaces come and
// go under the lock of the directory, so that nobody takes the machine's away before its nic is in it.
func (d *driver) wire(ctx context.Context, inside *place, wanted attachment) error {
	unlock, err := d.spaces.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.spaces.Ensure(layout.MachineSpace(wanted.Machine)); err != nil {
		return err
	}
	machine, err := d.open(layout.MachineSpace(wanted.Machine))
	if err != nil {
		return err
	}
	defer machine.close()
	if err := d.prepareSpace(machine, layout.MachineLabel(wanted.Machine), nil); err != nil {
		return err
	}
	port, err := pairNic(inside, machine, wanted)
	if err != nil {
		return err
	}
	if err := inside.mark(port, wanted.Label()); err != nil {
		return err
	}
	if err := commit(ctx, inside.Space, guardOf(wanted.Nic).Admit()); err != nil {
		return err
	}
	if err := plug(inside, port, wanted); err != nil {
		return err
	}
	return wireMachine(machine, wanted)
}

// guardOf is a nic's port as the guard knows it.
func guardOf(nic layout.Nic) ruleset.Port {
	return ruleset.Port{Interface: layout.Port(nic.ID), MAC: nic.MAC.String(), Address: nic.Address}
}

// pairNic makes the pair between the network's bridge and the machine. A pair that lost an end is made anew.
func pairNic(inside, machine *place, wanted attachment) (netlink.Link, error) {
	port, err := inside.find(layout.Port(wanted.ID))
	if err != nil {
		return nil, err
	}
	end, err := machine.find(layout.NicLink(wanted.ID))
	if err != nil || port != nil && end != nil {
		return port, err
	}
	if err := inside.remove(layout.Port(wanted.ID)); err != nil {
		return nil, err
	}
	if err := machine.remove(layout.NicLink(wanted.ID)); err != nil {
		return nil, err
	}
	pair := netlink.NewVeth(attributes(layout.Port(wanted.ID)))
	pair.MTU, pair.PeerMTU = int(wanted.want.mtu), wanted.want.mtu
	pair.PeerName, pair.PeerNamespace = layout.NicLink(wanted.ID), netlink.NsFd(machine.FD())
	if err := inside.links.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("making the pair of nic %s: %w", wanted.ID, err)
	}
	return inside.find(layout.Port(wanted.ID))
}

// plug connects the port to the network's bridge, which learns nothing from it: where the nic is, is known, so no
// guest can attract what is sent to another, nor see it.
func plug(inside *place, port netlink.Link, wanted attachment) error {
	bridge, err := inside.find(layout.Bridge)
	if err != nil {
		return err
	}
	if bridge == nil {
		return sdk.NotFound("network-incomplete", "network "+wanted.network+" has lost its bridge",
			"adopt the network, which repairs it")
	}
	if err := inside.join(port, bridge); err != nil {
		return err
	}
	if err := inside.links.LinkSetLearning(port, false); err != nil {
		return fmt.Errorf("making the port of nic %s learn nothing: %w", wanted.ID, err)
	}
	if err := inside.links.LinkSetFlood(port, false); err != nil {
		return fmt.Errorf("keeping strangers' frames from nic %s: %w", wanted.ID, err)
	}
	entry := &netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER,
		HardwareAddr: wanted.MAC,
	}
	if err := inside.links.NeighSet(entry); err != nil {
		return fmt.Errorf("telling the bridge where nic %s is: %w", wanted.ID, err)
	}
	return inside.raise(port, wanted.want.mtu)
}

// wireMachine makes the tap and the two-port bridge that joins it with the pair.
func wireMachine(machine *place, wanted attachment) error {
	bridge, err := machine.find(layout.NicBridge(wanted.ID))
	if err != nil {
		return err
	}
	if bridge == nil {
		snooping, ageing := false, uint32(0) // it hands everything on, like a cable
		cable := &netlink.Bridge{
			LinkAttrs: attributes(layout.NicBridge(wanted.ID)), MulticastSnooping: &snooping, AgeingTime: &ageing,
		}
		if err := machine.links.LinkAdd(cable); err != nil {
			return fmt.Errorf("making the bridge of nic %s: %w", wanted.ID, err)
		}
		if bridge, err = machine.find(layout.NicBridge(wanted.ID)); err != nil {
			return err
		}
	}
	end, err := machine.find(layout.NicLink(wanted.ID))
	if err != nil || end == nil {
		return errors.Join(err, sdk.Transient("link-vanished", "the pair of nic "+wanted.ID+" vanished"))
	}
	tap, err := ensureTap(machine, layout.Tap(wanted.ID), wanted.ownerUID)
	if err != nil {
		return err
	}
	for _, port := range []netlink.Link{end, tap} {
		if err := machine.join(port, bridge); err != nil {
			return err
		}
		if err := machine.raise(port, wanted.want.mtu); err != nil {
			return err
		}
	}
	return machine.raise(bridge, wanted.want.mtu)
}

// unwire takes the port away: first its rights, then itself, and what its connections left behind.
func (d *driver) unwire(ctx context.Context, inside *place, nic string) error {
	port, err := inside.find(layout.Port(nic))
	if err != nil {
		return err
	}
	if err := commit(ctx, inside.Space, ruleset.Port{Interface: layout.Port(nic)}.Expel()); err != nil {
		return err
	}
	if port == nil {
		return nil
	}
	if known, err := layout.ParseNic(port.Attrs().Alias); err == nil {
		if err := forgetConnections(inside, known.Address); err != nil {
			return err
		}
	}
	return inside.remove(layout.Port(nic))
}

// forgetConnections drops the connections of an address, so that who gets it next inherits none.
func forgetConnections(inside *place, address netip.Addr) error {
	_, err := inside.links.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, connectionsOf{address: address})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("dropping the connections of %s: %w", address, err)
	}
	return nil
}

type connectionsOf struct{ address netip.Addr }

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (c connectionsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	own := net.IP(c.address.AsSlice())
	return own.Equal(flow.Forward.SrcIP) || own.Equal(flow.Forward.DstIP) || own.Equal(flow.Reverse.SrcIP) ||
		own.Equal(flow.Reverse.DstIP)
}

// detachFromMachine takes the nic's end away, and the machine's namespace with the last nic, unless the machine runs in
// it: it may get another nic.
func (d *driver) detachFromMachine(ctx context.Context, nic, machine string) error {
	unlock, err := d.spaces.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	space, err := d.open(layout.MachineSpace(machine))
	if errors.Is(err, fs.ErrNotExist) {
		return d.spaces.Remove(layout.MachineSpace(machine)) // a mount point without a namespace may be left
	}
	if err != nil {
		return err
	}
	defer space.close()
	for _, name := range []string{layout.NicLink(nic), layout.Tap(nic), layout.NicBridge(nic)} {
		if err := space.remove(name); err != nil {
			return err
		}
	}
	links, err := space.list()
	if err != nil {
		return err
	}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, "t") && link.Type() == "tuntap" {
			return nil
		}
	}
	if occupied, err := space.Occupied(); err != nil || occupied {
		return err
	}
	return d.spaces.Remove(layout.MachineSpace(machine))
}
