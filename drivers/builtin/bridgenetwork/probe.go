package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/ruleset"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Probe implements sdk.Resources. A resource that is there but not whole is degraded: to adopt it repairs it.
func (b *base) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	var missing, broken []string
	var err error
	switch call.GetResource().GetKind() {
	case kindNetwork:
		missing, broken, err = b.probeNetwork(ctx, call)
	case kindNic:
		missing, broken, err = b.probeNic(ctx, call)
	default:
		missing = b.probeHost(ctx)
	}
	if err != nil {
		return nil, asFault(err)
	}
	switch {
	case len(missing) > 0:
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_UNREADY, Reason: strings.Join(slices.Concat(missing, broken), "; "),
		}, nil
	case len(broken) > 0:
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_DEGRADED,
			Reason: strings.Join(broken, "; ") + "; adopt it again to repair it",
		}, nil
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

// probeHost returns what keeps the driver from working on this host, each with its remedy.
func (d *driver) probeHost(ctx context.Context) []string {
	if lacking := lackingCapabilities(); len(lacking) > 0 {
		return []string{"the process lacks " + strings.Join(lacking, ", ") +
			": run the server as root, or give its unit these as AmbientCapabilities="}
	}
	var missing []string
	if _, err := program(nftPaths); err != nil {
		missing = append(missing, "nft is not installed: install the package nftables")
	} else if err := checkTransaction(ctx, d.host, ruleset.Change{}.Text()+ruleset.Guard()); err != nil {
		missing = append(missing, "the kernel refuses the packet filter this driver needs ("+err.Error()+
			"): use a kernel with nf_tables, its nat and its bridge family")
	}
	if _, err := program(dnsmasqPaths); err != nil {
		missing = append(missing, "dnsmasq is not installed: install the package dnsmasq-base (dnsmasq)")
	}
	if err := canOpen(tunDevice); err != nil {
		missing = append(missing, "taps can't be made ("+err.Error()+"): load the kernel module tun")
	}
	return missing
}

func canOpen(device string) error {
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return file.Close()
}

// lackingCapabilities names what the process would need and does not have.
func lackingCapabilities() []string {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return []string{"a readable set of capabilities (" + err.Error() + ")"}
	}
	var lacking []string
	for name, bit := range map[string]uint{
		"cap_net_admin": unix.CAP_NET_ADMIN, "cap_sys_admin": unix.CAP_SYS_ADMIN,
		"cap_dac_override": unix.CAP_DAC_OVERRIDE,
	} {
		if data[bit/32].Effective&(1<<(bit%32)) == 0 {
			lacking = append(lacking, name)
		}
	}
	slices.Sort(lacking)
	return lacking
}

func (d *driver) probeNetwork(ctx context.Context, call *driverpb.Call) (missing, broken []string, err error) {
	network := call.GetResource().GetId()
	handle, err := decodeNetwork(call.GetHandle())
	if err != nil {
		return nil, nil, err
	}
	inside, err := d.open(layout.NetworkSpace(network))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"the network's namespace is gone"}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer inside.close()
	checks := []func(context.Context, string, *place, *networkHandle) ([]string, error){d.probeSpace}
	if handle != nil { // else it is not known what else should be there
		checks = append(checks, d.probeUplink, d.probeServices)
	}
	for _, check := range checks {
		found, err := check(ctx, network, inside, handle)
		if err != nil {
			return nil, nil, err
		}
		broken = append(broken, found...)
	}
	return nil, broken, nil
}

func (d *driver) probeServices(
	ctx context.Context, network string, inside *place, handle *networkHandle,
) (broken []string, err error) {
	for _, one := range d.services(network, handle.DHCP, handle.DNS) {
		if !one.wanted {
			continue
		}
		listening, err := listens(inside, one.port)
		if err != nil {
			return nil, err
		}
		if !listening || d.unitState(ctx, one.unit) != "running" {
			broken = append(broken, one.unit+" does not run")
		}
	}
	if handle.RulesOmitted {
		broken = append(broken, "the rules are too many to be kept and must be applied after a restart of the host")
	}
	return broken, nil
}

func (d *driver) probeSpace(
	ctx context.Context, _ string, inside *place, handle *networkHandle,
) ([]string, error) {
	var broken []string
	bridge, err := inside.find(layout.Bridge)
	if err != nil {
		return nil, err
	}
	if bridge == nil {
		return []string{"the bridge is gone"}, nil
	}
	if up, err := inside.isUp(layout.Bridge); err != nil || !up {
		broken = append(broken, "the bridge is down")
	}
	addresses, err := inside.addresses(bridge)
	if err != nil {
		return nil, err
	}
	if handle != nil && !slices.Contains(addresses, netip.PrefixFrom(handle.Gateway, handle.CIDR.Bits())) {
		broken = append(broken, "the gateway's address is gone")
	}
	for family, words := range map[string]string{"ip": "the firewall is gone", "bridge": "the ports' guard is gone"} {
		there, err := hasTable(ctx, inside.Space, family)
		if err != nil {
			return nil, err
		}
		if !there {
			broken = append(broken, words)
		}
	}
	slices.Sort(broken)
	return broken, nil
}

func (d *driver) probeUplink(
	ctx context.Context, network string, inside *place, handle *networkHandle,
) ([]string, error) {
	if !handle.Transit.IsValid() {
		return nil, nil
	}
	host, err := d.openHost()
	if err != nil {
		return nil, err
	}
	defer host.close()
	var broken []string
	for where, name := range map[*place]string{host: layout.HostLink(network), inside: layout.Uplink} {
		up, err := where.isUp(name)
		if err != nil {
			return nil, err
		}
		if !up {
			broken = append(broken, "the link to the host is gone or down ("+name+")")
		}
	}
	slices.Sort(broken)
	forwarding, err := host.Sysctl(forwardingKey)
	if err != nil {
		return nil, err
	}
	if forwarding == "0" {
		broken = append(broken, "the host does not forward packets (net.ipv4.ip_forward is 0)")
	}
	unknown, err := d.probeClaims(ctx, handle)
	return append(broken, unknown...), err
}

// probeClaims compares the host's filter with the handle.
func (d *driver) probeClaims(ctx context.Context, handle *networkHandle) ([]string, error) {
	state, _, err := d.hostState(ctx)
	if err != nil {
		return nil, err
	}
	var broken []string
	if !slices.Contains(state.Outers, outerOf(handle)) {
		broken = append(broken, "the host's filter does not know the network")
	}
	planned, err := handle.plan()
	if err != nil {
		return nil, err
	}
	for _, claim := range planned.claims {
		if !slices.Contains(state.Claims, claim) {
			broken = append(broken, "the forward of "+claim.String()+" is gone")
		}
	}
	return broken, nil
}

func (d *driver) probeNic(ctx context.Context, call *driverpb.Call) (missing, broken []string, err error) {
	id := call.GetResource().GetId()
	handle, err := decodeNic(call.GetHandle())
	if err != nil {
		return nil, nil, err
	}
	if handle == nil {
		return []string{"without its handle it is not known where the nic is"}, nil, nil
	}
	inside, err := d.open(layout.NetworkSpace(handle.Network))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"the namespace of network " + handle.Network + " is gone"}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer inside.close()
	machine, err := d.open(layout.MachineSpace(handle.Machine))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"the machine's namespace is gone"}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer machine.close()
	broken, err = brokenParts(id, inside, machine)
	if err != nil {
		return nil, nil, err
	}
	ports, err := admitted(ctx, inside.Space)
	if err == nil && !slices.Contains(ports, layout.Port(id)) {
		broken = append(broken, "the guard does not let the port through ("+layout.Port(id)+")")
	}
	return nil, broken, err
}

// brokenParts tells which interfaces of a nic are gone or down, or not where they belong.
func brokenParts(id string, inside, machine *place) (broken []string, err error) {
	for _, part := range []struct {
		where  *place
		name   string
		bridge string
		words  string
	}{
		{inside, layout.Port(id), layout.Bridge, "the port"},
		{machine, layout.NicLink(id), layout.NicBridge(id), "the machine's end of the pair"},
		{machine, layout.NicBridge(id), "", "the bridge in the machine's namespace"},
		{machine, layout.Tap(id), layout.NicBridge(id), "the tap"},
	} {
		up, err := part.where.isUp(part.name)
		if err != nil {
			return nil, err
		}
		joined := up
		if up && part.bridge != "" {
			if joined, err = part.where.isJoined(part.name, part.bridge); err != nil {
				return nil, err
			}
		}
		switch {
		case !up:
			broken = append(broken, fmt.Sprintf("%s (%s) is gone or down", part.words, part.name))
		case !joined:
			broken = append(broken, fmt.Sprintf("%s (%s) is not connected with %s", part.words, part.name, part.bridge))
		}
	}
	return broken, nil
}
