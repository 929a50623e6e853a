package bridgenetwork

import (
	"fmt"
	"net/netip"
	"regexp"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	modeNAT      = "nat"
	modeIsolated = "isolated"

	defaultMTU    = 1500
	minMTU        = 576
	maxMTU        = 9216
	maxDNSServers = 8

	// defaultDomain is reserved for private use (ICANN, 2024): resolvers that ignore names without a dot still find
	// the neighbours through it.
	defaultDomain = "internal"

	largestBits = 29
)

var domainPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// design is a network's spec, checked and complete.
type design struct {
	mode      string
	cidr      netip.Prefix
	gateway   netip.Addr
	upstreams []netip.Addr
	domain    string
	mtu       uint32
	dhcp, dns bool
	// lease is in seconds. It is a property, not part of the spec.
	lease uint32
}

func (d design) nat() bool { return d.mode == modeNAT }

// spec returns the design in the words of the contract.
func (d design) spec() *driverpb.NetworkSpec {
	spec := &driverpb.NetworkSpec{
		Mode: d.mode, Cidr: d.cidr.String(), Gateway: d.gateway.String(), Domain: d.domain, Mtu: d.mtu,
		Dhcp: d.dhcp, Dns: d.dns,
	}
	for _, upstream := range d.upstreams {
		spec.DnsServers = append(spec.DnsServers, upstream.String())
	}
	return spec
}

// readSpec checks a spec and fills in what does not depend on the host. The same spec gives the same design.
func readSpec(spec *driverpb.NetworkSpec) (design, error) {
	read := design{
		mode: spec.GetMode(), domain: spec.GetDomain(), mtu: spec.GetMtu(), dhcp: spec.GetDhcp(), dns: spec.GetDns(),
		lease: defaultLease,
	}
	if read.mode == "" {
		read.mode = modeNAT
	}
	if read.mtu == 0 {
		read.mtu = defaultMTU
	}
	if read.domain == "" && read.dns {
		read.domain = defaultDomain
	}
	for _, check := range []func(*driverpb.NetworkSpec) error{
		read.checkMode, read.readRange, read.readGateway, read.readUpstreams, read.checkWords,
	} {
		if err := check(spec); err != nil {
			return design{}, err
		}
	}
	return read, nil
}

func (d *design) checkMode(*driverpb.NetworkSpec) error {
	switch d.mode {
	case modeNAT, modeIsolated:
		return nil
	case "bridged":
		return sdk.Unsupported("mode-unsupported", "this driver makes nat and isolated networks, not bridged ones")
	}
	return sdk.Invalid("bad-mode", "/mode", "the mode must be nat or isolated", "")
}

func (d *design) readRange(spec *driverpb.NetworkSpec) error {
	prefix, err := netip.ParsePrefix(spec.GetCidr())
	if err != nil {
		return sdk.Invalid("bad-cidr", "/cidr", "the range must be written like 10.20.0.0/24", "")
	}
	address := prefix.Addr()
	switch {
	case address.Is6():
		return sdk.Unsupported("ipv6-unsupported", "this driver makes IPv4 networks only; "+prefix.String()+" is IPv6")
	case prefix != prefix.Masked():
		return sdk.Invalid("bad-cidr", "/cidr", prefix.String()+" has host bits set",
			"use "+prefix.Masked().String())
	case prefix.Bits() < smallestBits || prefix.Bits() > largestBits:
		return sdk.Invalid("bad-cidr", "/cidr", "the range must be between /8 and /29", "")
	case address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsMulticast() || address.As4()[0] == 0 ||
		address.As4()[0] >= 240:
		return sdk.Invalid("bad-cidr", "/cidr", prefix.String()+" is not for use by machines", "use a private range")
	}
	d.cidr = prefix
	return nil
}

func (d *design) readGateway(spec *driverpb.NetworkSpec) error {
	d.gateway = d.cidr.Addr().Next()
	if spec.GetGateway() == "" {
		return nil
	}
	gateway, err := netip.ParseAddr(spec.GetGateway())
	if err != nil || !d.usable(gateway) {
		return sdk.Invalid("bad-gateway", "/gateway", "the gateway must be a usable address in "+d.cidr.String(),
			"leave it out to use "+d.gateway.String())
	}
	d.gateway = gateway
	return nil
}

func (d *design) readUpstreams(spec *driverpb.NetworkSpec) error {
	if len(spec.GetDnsServers()) > maxDNSServers {
		return sdk.Invalid("too-many", "/dnsServers", fmt.Sprintf("at most %d name servers", maxDNSServers), "")
	}
	for i, text := range spec.GetDnsServers() {
		field := fmt.Sprintf("/dnsServers/%d", i)
		upstream, err := netip.ParseAddr(text)
		if err != nil || upstream.IsUnspecified() || upstream.IsMulticast() || upstream.Zone() != "" {
			return sdk.Invalid("bad-address", field, "a name server must be an IP address", "")
		}
		if !upstream.Is4() {
			return sdk.Unsupported("ipv6-unsupported", "name server "+text+" is IPv6, which the network can't reach")
		}
		if upstream.IsLoopback() {
			return sdk.Invalid("bad-address", field, "the network has a loopback of its own: "+text+
				" does not lead to the host", "name the server by an address the network can reach")
		}
		d.upstreams = append(d.upstreams, upstream)
	}
	return nil
}

func (d *design) checkWords(*driverpb.NetworkSpec) error {
	if d.mtu < minMTU || d.mtu > maxMTU {
		return sdk.Invalid("bad-mtu", "/mtu", fmt.Sprintf("the MTU must be from %d to %d", minMTU, maxMTU), "")
	}
	if d.domain != "" && (len(d.domain) > 253 || !domainPattern.MatchString(d.domain)) {
		return sdk.Invalid("bad-domain", "/domain", "the domain must be a DNS name in lower case", "")
	}
	return nil
}

// shape is the same for two designs exactly if a network made as one can be taken for the other. Name servers and
// lease may change while a network lives.
func (d *design) shape() string {
	return layout.Hash(fmt.Sprint(d.mode, d.cidr, d.gateway, d.domain, d.mtu, d.dhcp, d.dns))
}

// usable tells whether a machine or the gateway can have the address.
func (d *design) usable(address netip.Addr) bool {
	return d.cidr.Contains(address) && address != d.cidr.Addr() && address != resources.LastAddress(d.cidr)
}
