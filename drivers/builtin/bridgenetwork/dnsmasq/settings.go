package dnsmasq

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
)

// secondaryTag marks hosts that are offered no router.
const secondaryTag = "secondary"

// Settings is what a network wants served.
type Settings struct {
	CIDR    netip.Prefix
	Gateway netip.Addr
	// Routed tells guests to use the gateway as their way out.
	Routed bool
	// Named tells guests to ask the gateway for names.
	Named bool
	// Upstreams answer what the network does not know itself. Guests are told to ask them directly unless Named.
	Upstreams []netip.Addr
	Domain    string
	MTU       uint32
	// LeaseSeconds is how long a lease holds without being renewed, at least 120.
	LeaseSeconds uint32
}

// dhcp renders the configuration of the DHCP process. It keeps no file of leases: every lease is static, so after a
// restart it hands out the same ones again.
func (s Settings) dhcp(leases string) string {
	lines := []string{
		"port=0",
		"interface=" + layout.Bridge,
		"except-interface=lo",
		"bind-interfaces",
		"dhcp-range=" + s.CIDR.Addr().String() + ",static," + netmask(s.CIDR) + fmt.Sprintf(",%d", s.LeaseSeconds),
		"dhcp-authoritative",
		"leasefile-ro",
		"no-ping",
		"dhcp-hostsdir=" + leases,
		fmt.Sprintf("dhcp-option=option:mtu,%d", s.MTU),
		optional("dhcp-option=option:router", s.router()),
		optional("dhcp-option=tag:"+secondaryTag+",option:router", nil),
		optional("dhcp-option=option:dns-server", s.nameServers()),
	}
	if s.Domain != "" {
		lines = append(lines, "domain="+s.Domain, "dhcp-option=option:domain-search,"+s.Domain)
	}
	return text(lines)
}

// dns renders the configuration of the DNS process.
func (s Settings) dns(names string) string {
	lines := []string{
		"port=53",
		"interface=" + layout.Bridge,
		"except-interface=lo",
		"bind-interfaces",
		"no-resolv",
		"no-hosts",
		"domain-needed",
		"hostsdir=" + names,
		"rev-server=" + s.CIDR.String(),
	}
	if s.Domain != "" {
		lines = append(lines, "local=/"+s.Domain+"/")
	}
	if s.Routed {
		for _, upstream := range s.Upstreams {
			lines = append(lines, "server="+upstream.String())
		}
	}
	return text(lines)
}

func (s Settings) router() []netip.Addr {
	if s.Routed {
		return []netip.Addr{s.Gateway}
	}
	return nil
}

func (s Settings) nameServers() []netip.Addr {
	if s.Named {
		return []netip.Addr{s.Gateway}
	}
	return s.Upstreams
}

// optional renders an option; without a value it tells dnsmasq not to send its own.
func optional(option string, values []netip.Addr) string {
	words := []string{option}
	for _, value := range values {
		words = append(words, value.String())
	}
	return strings.Join(words, ",")
}

func netmask(prefix netip.Prefix) string {
	return net.IP(net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())).String()
}

func text(lines []string) string {
	return strings.Join(lines, "\n") + "\n"
}

// Host is one guest's entry.
type Host struct {
	// Key names the entry; letters and digits.
	Key      string
	MAC      string
	Address  netip.Addr
	Hostname string
	// Secondary hosts have their way out elsewhere.
	Secondary bool
}

// keywords are the names that dnsmasq would take for the length of a lease, or for the order to give none.
var keywords = regexp.MustCompile(`^(ignore|infinite|[0-9]+[smhdwSMHDW]?)$`)

func (h Host) lease() string {
	words := []string{h.MAC}
	if h.Secondary {
		words = append(words, "set:"+secondaryTag)
	}
	words = append(words, h.Address.String())
	if !keywords.MatchString(h.Hostname) { // such a guest finds its name elsewhere
		words = append(words, h.Hostname)
	}
	return strings.Join(words, ",") + "\n"
}

func (h Host) names(domain string) string {
	if domain == "" {
		return fmt.Sprintf("%s %s\n", h.Address, h.Hostname)
	}
	return fmt.Sprintf("%s %s.%s %s\n", h.Address, h.Hostname, domain, h.Hostname)
}
