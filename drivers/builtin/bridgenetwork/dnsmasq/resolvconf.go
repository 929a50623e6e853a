package dnsmasq

import (
	"net/netip"
	"strings"
)

// NameServers reads out of a resolv.conf(5) the name servers that a network namespace of its own could reach: IPv4
// and not on the host's loopback.
func NameServers(resolvConf string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		address, err := netip.ParseAddr(fields[1])
		if err == nil && address.Is4() && !address.IsLoopback() && !address.IsUnspecified() && !address.IsMulticast() {
			found = append(found, address)
		}
	}
	return found
}
