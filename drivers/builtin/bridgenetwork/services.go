package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/dnsmasq"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	dhcpPort = 67
	dnsPort  = 53

	// startTime is how long dnsmasq may take until it listens; it needs a few milliseconds.
	startTime  = 10 * time.Second
	startPause = 10 * time.Millisecond
	stopGrace  = 2 * time.Second

	unitMemory = 64 << 20
)

// service is one process that serves a network.
type service struct {
	name   string
	unit   string
	config string
	port   uint16
	wanted bool
	stale  bool
}

// serve makes dnsmasq serve what the ports of the network say, and run.
func (d *driver) serve(ctx context.Context, network string, inside *place, want design) error {
	nics, _, err := inside.nics()
	if err != nil {
		return err
	}
	plan, err := d.site(network).Plan(dnsmasq.Settings{
		CIDR: want.cidr, Gateway: want.gateway, Routed: want.nat(), Named: want.dns, Upstreams: want.upstreams,
		Domain: want.domain, MTU: want.mtu, LeaseSeconds: want.lease,
	}, hostsOf(nics))
	if err != nil {
		return err
	}
	return d.renew(ctx, network, inside, plan, d.services(network, want.dhcp, want.dns))
}

// serveHosts is serve for who knows the nics only, not the network.
func (d *driver) serveHosts(ctx context.Context, inside *place, nic *nicHandle) error {
	nics, _, err := inside.nics()
	if err != nil {
		return err
	}
	plan, err := d.site(nic.Network).PlanHosts(nic.Domain, hostsOf(nics))
	if errors.Is(err, fs.ErrNotExist) {
		return sdk.NotFound("network-incomplete", "the files that network "+nic.Network+" is served from are gone",
			"adopt the network, which makes them again")
	}
	if err != nil {
		return err
	}
	return d.renew(ctx, nic.Network, inside, plan, d.services(nic.Network, nic.DHCP, nic.DNS))
}

func (d *driver) services(network string, dhcp, dns bool) []service {
	site := d.site(network)
	return []service{
		{name: "dhcp", unit: layout.DHCPUnit(network), config: site.DHCPConfig(), port: dhcpPort, wanted: dhcp},
		{name: "dns", unit: layout.DNSUnit(network), config: site.DNSConfig(), port: dnsPort, wanted: dns},
	}
}

// renew makes a planned change of the files and brings the processes in line with it.
func (d *driver) renew(
	ctx context.Context, network string, inside *place, plan *dnsmasq.Plan, services []service,
) error {
	stale := plan.Stale()
	for i := range services {
		one := &services[i]
		one.stale = !one.wanted || one.port == dhcpPort && stale.DHCP || one.port == dnsPort && stale.DNS
		if !one.stale {
			continue
		}
		if err := d.stop(ctx, one.unit); err != nil {
			return err
		}
	}
	if err := plan.Apply(); err != nil {
		return err
	}
	for _, one := range services {
		if !one.wanted {
			continue
		}
		if err := d.start(ctx, network, inside, one); err != nil {
			return err
		}
	}
	return nil
}

func hostsOf(nics []layout.Nic) []dnsmasq.Host {
	hosts := make([]dnsmasq.Host, 0, len(nics))
	for _, nic := range nics {
		hosts = append(hosts, dnsmasq.Host{
			Key: layout.Hash(nic.ID), MAC: nic.MAC.String(), Address: nic.Address, Hostname: nic.Hostname,
			Secondary: nic.Secondary,
		})
	}
	return hosts
}

// stop ends a unit. One that never was is stopped.
func (d *driver) stop(ctx context.Context, unit string) error {
	_, err := d.units.Terminate(ctx, unit, stopGrace)
	if err != nil && !isMissing(err) {
		return fmt.Errorf("stopping %s: %w", unit, err)
	}
	return nil
}

func isMissing(err error) bool {
	return sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_NOT_FOUND
}

// start makes sure that the process runs and listens in the network's namespace. One that runs without listening
// there is stuck, or in a namespace that is no more.
func (d *driver) start(ctx context.Context, network string, inside *place, wanted service) error {
	unit, err := d.units.Inspect(ctx, wanted.unit)
	if err != nil && !isMissing(err) {
		return fmt.Errorf("looking for %s: %w", wanted.unit, err)
	}
	if unit.GetRunning() {
		listening, err := listens(inside, wanted.port)
		if err != nil || listening {
			return err
		}
		if err := d.stop(ctx, wanted.unit); err != nil {
			return err
		}
	}
	path, err := program(dnsmasqPaths)
	if err != nil {
		return err
	}
	_, err = d.units.Launch(ctx, &driverpb.Launch{
		Unit: wanted.unit,
		Argv: []string{
			path, "--keep-in-foreground", "--conf-file=" + wanted.config, "--log-facility=-", "--pid-file=",
		},
		NetNamespace:   d.spaces.Path(layout.NetworkSpace(network)),
		ReadPaths:      []string{d.site(network).Path()},
		MemoryMaxBytes: unitMemory,
		Capabilities:   []string{"net_admin", "net_bind_service"},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", wanted.unit, err)
	}
	return d.awaitListening(ctx, inside, wanted)
}

func (d *driver) awaitListening(ctx context.Context, inside *place, wanted service) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	pause := time.NewTicker(startPause)
	defer pause.Stop()
	for {
		listening, err := listens(inside, wanted.port)
		if err != nil || listening {
			return err
		}
		unit, err := d.units.Inspect(ctx, wanted.unit)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", wanted.unit, err)
		}
		if !unit.GetRunning() {
			return sdk.Transient("dnsmasq-ended",
				fmt.Sprintf("%s ended at once; its words are in %s", wanted.unit, unit.GetLogPath()))
		}
		select {
		case <-ctx.Done():
			return sdk.Transient("dnsmasq-silent",
				fmt.Sprintf("%s runs but does not listen; its words are in %s", wanted.unit, unit.GetLogPath()))
		case <-pause.C:
		}
	}
}

// listens tells whether a process in the namespace waits for datagrams on a port of the bridge. One that waits on a
// bridge that is no more, which is how dnsmasq's DHCP survives the loss of it, does not.
func listens(inside *place, port uint16) (bool, error) {
	bridge, err := inside.find(layout.Bridge)
	if err != nil || bridge == nil {
		return false, err
	}
	sockets, err := whole(func() ([]*netlink.Socket, error) { return inside.links.SocketDiagUDP(unix.AF_INET) })
	if err != nil {
		return false, fmt.Errorf("listing sockets: %w", err)
	}
	return slices.ContainsFunc(sockets, func(s *netlink.Socket) bool {
		anyInterface := s.ID.Interface == 0
		return s.ID.SourcePort == port && (anyInterface || s.ID.Interface == uint32(bridge.Attrs().Index))
	}), nil
}

// unitState says in a word how a unit is.
func (d *driver) unitState(ctx context.Context, unit string) string {
	found, err := d.units.Inspect(ctx, unit)
	switch {
	case err != nil && !isMissing(err):
		return "unknown"
	case found.GetRunning():
		return "running"
	}
	return "ended"
}

// dismiss ends the processes that serve a network.
func (d *driver) dismiss(ctx context.Context, network string) error {
	for _, one := range d.services(network, false, false) {
		if err := d.stop(ctx, one.unit); err != nil {
			return err
		}
	}
	return nil
}
