package bridgenetwork

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/dnsmasq"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name and Version identify this driver.
const (
	Name    = "bulkhead/bridgenetwork"
	Version = "1.0.0"
)

// RuntimeDirectory holds what dnsmasq reads. It may vanish with a reboot: all of it is made again from the kernel's
// objects and from handles. It is not the instance's work directory because dnsmasq outlives instances and versions.
const RuntimeDirectory = "/run/bulkhead/bridgenetwork"

// resolvConfs are where the host's name servers are found, the first that names one the network can reach.
var resolvConfs = [...]string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

const concurrency = 16

// driver makes networks. It has no memory but what a restart may take away.
type driver struct {
	log    *slog.Logger
	units  sdk.Host
	spaces *netspace.Directory
	host   *netspace.Space
	turns  sdk.Turns[string]

	mutex      sync.RWMutex
	configured map[string]any
}

// New makes the driver for the network namespace the process runs in, which it takes for the host's.
func New(env sdk.Environment) (sdk.Driver, error) {
	host, err := netspace.Current()
	if err != nil {
		return sdk.Driver{}, fmt.Errorf("making %s: %w", Name, err)
	}
	own := &driver{
		log: env.Log, units: env.Host, spaces: netspace.OpenDirectory(netspace.DefaultDirectory), host: host,
	}
	return sdk.Driver{
		Name: Name, Version: Version,
		HandleWrites: handleVersion, HandleReads: []uint32{handleVersion},
		Concurrency: concurrency,
		Description: description(),
		Resources:   &base{driver: own},
		Networks:    &networks{driver: own},
	}, nil
}

// settingsFor returns the properties in force for a call.
func (d *driver) settingsFor(call *driverpb.Call) (settings, error) {
	d.mutex.RLock()
	defer d.mutex.RUnlock()
	return readSettings(d.configured, call.GetProperties().AsMap())
}

func (d *driver) configure(properties map[string]any) error {
	if _, err := readSettings(nil, properties); err != nil {
		return err
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.configured = properties
	return nil
}

// site returns the files of a network's dnsmasq.
func (d *driver) site(network string) *dnsmasq.Site {
	return dnsmasq.OpenSite(RuntimeDirectory + "/" + layout.Hash(network))
}

// networkLock names the lock that serialises work on one network.
func networkLock(network string) string { return "network " + network }

// hostResolvers returns the name servers the host uses that a network can reach too.
func (d *driver) hostResolvers(ctx context.Context) []netip.Addr {
	for _, path := range resolvConfs {
		content, err := os.ReadFile(path)
		if err != nil {
			d.log.DebugContext(ctx, "no name servers of the host", slog.String("path", path), slog.Any("error", err))
			continue
		}
		if servers := dnsmasq.NameServers(string(content)); len(servers) > 0 {
			return servers[:min(len(servers), maxDNSServers)]
		}
	}
	return nil
}
