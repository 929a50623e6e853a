package bridgenetwork

import (
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// Manifest declares the driver when executable is the program that serves it.
//
// The capabilities are the least it can work with: net_admin for links, addresses, routes, sysctls and the packet
// filter; sys_admin to make, mount and enter network namespaces; dac_override because /run/netns and /dev/net/tun
// belong to root; the files rules of the sandbox end where sys_admin begins, so the user it runs as is what keeps it
// from the rest. It stays in the host's network namespace, since that is what it connects networks to, and in the
// host's mount namespace, since the host must see the network namespaces it mounts.
func Manifest(executable string) host.Manifest {
	launch := make([]host.Program, 0, len(dnsmasqPaths))
	for _, path := range dnsmasqPaths {
		launch = append(launch, host.Program{
			Path: path, Capabilities: []string{"net_admin", "net_bind_service"},
			Read: []string{RuntimeDirectory}, Network: true,
		})
	}
	return host.Manifest{
		Name: Name, Version: Version,
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_NETWORK},
		Command:    []string{executable, "driver-process", "bridgenetwork"},
		Permissions: host.Permissions{
			Read:         slices.Concat(resolvConfs[:], []string{"/proc"}),
			Write:        []string{RuntimeDirectory},
			Exec:         slices.Clone(nftPaths[:]),
			Devices:      []string{tunDevice},
			HostNetwork:  true,
			Capabilities: []string{"net_admin", "sys_admin", "dac_override"},
			Launch:       launch,
		},
		Limits: host.Limits{Concurrency: concurrency},
	}
}
