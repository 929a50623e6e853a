package download

import (
	"fmt"
	"net/netip"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// MaxRedirects is how many redirects are followed at most, whatever a policy says.
const MaxRedirects = 3

// Policy says where a download may connect to.
type Policy struct {
	// Allow lists ranges that are allowed though they are not public.
	Allow []netip.Prefix
	// Redirects is how many may be followed; 0 stands for MaxRedirects.
	Redirects int
}

// ParsePolicy reads a policy. Its fault is INVALID, "cidr-invalid".
func ParsePolicy(cidrs []string, redirects uint32) (Policy, error) {
	policy := Policy{Redirects: MaxRedirects}
	if redirects > 0 {
		policy.Redirects = int(min(redirects, MaxRedirects))
	}
	for i, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return Policy{}, sdk.Invalid("cidr-invalid", fmt.Sprintf("/call/egress/allow_cidrs/%d", i),
				"an allowed range is not a CIDR", "write it as 10.0.0.0/8")
		}
		policy.Allow = append(policy.Allow, prefix.Masked())
	}
	return policy, nil
}

// refused is a range that is not public.
type refused struct {
	prefix netip.Prefix
	name   string
}

func refusedRanges() []refused {
	list := []struct{ prefix, name string }{
		{"0.0.0.0/8", "this network"},
		{"10.0.0.0/8", "private"},
		{"100.64.0.0/10", "carrier"},
		{"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local"},
		{"172.16.0.0/12", "private"},
		{"192.0.0.0/24", "special"},
		{"192.0.2.0/24", "documentation"},
		{"192.88.99.0/24", "special"},
		{"192.168.0.0/16", "private"},
		{"198.18.0.0/15", "benchmark"},
		{"198.51.100.0/24", "documentation"},
		{"203.0.113.0/24", "documentation"},
		{"224.0.0.0/4", "multicast"},
		{"240.0.0.0/4", "reserved"},
		{"::/96", "loopback or IPv4-compatible"},
		{"64:ff9b::/96", "NAT64"},
		{"64:ff9b:1::/48", "NAT64"},
		{"100::/64", "discard"},
		{"2001::/23", "special"},
		{"2001:db8::/32", "documentation"},
		{"2002::/16", "6to4"},
		{"3fff::/20", "documentation"},
		{"5f00::/16", "special"},
		{"fc00::/7", "private"},
		{"fe80::/10", "link-local"},
		{"fec0::/10", "site-local"},
		{"ff00::/8", "multicast"},
	}
	ranges := make([]refused, 0, len(list))
	for _, entry := range list {
		if prefix, err := netip.ParsePrefix(entry.prefix); err == nil {
			ranges = append(ranges, refused{prefix, entry.name})
		}
	}
	return ranges
}

// blockedError says that an address is not allowed. It names the kind of the address, not the address: what a name
// resolves to inside is nobody's business outside.
type blockedError struct{ kind string }

// Error implements error.
func (e *blockedError) Error() string { return "the address is not allowed (" + e.kind + ")" }

// Check tells whether an address may be connected to; nil if so. An IPv4 address in IPv6 clothing is the IPv4 address.
func (p Policy) Check(address netip.Addr) error {
	if !address.IsValid() {
		return &blockedError{kind: "unknown"}
	}
	plain := address.Unmap().WithZone("")
	for _, prefix := range p.Allow {
		if prefix.Contains(plain) {
			return nil
		}
	}
	for _, known := range refusedRanges() {
		if known.prefix.Contains(plain) {
			return &blockedError{kind: known.name}
		}
	}
	if plain.Is6() && !globalUnicast().Contains(plain) {
		return &blockedError{kind: "not global"}
	}
	return nil
}

// globalUnicast is all of IPv6 that is in use for public addresses.
func globalUnicast() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20}), 3)
}
