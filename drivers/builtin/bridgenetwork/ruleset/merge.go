package ruleset

import (
	"net/netip"
	"slices"
)

// Merge returns the prefixes without those that others contain, in order of address: nft refuses sets whose members
// overlap. IPv6 prefixes are left out, since no packet here has such an address.
func Merge(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, prefix := range prefixes {
		if prefix.Addr().Is4() {
			sorted = append(sorted, prefix.Masked())
		}
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if order := a.Addr().Compare(b.Addr()); order != 0 {
			return order
		}
		return a.Bits() - b.Bits()
	})
	merged := sorted[:0]
	for _, prefix := range sorted {
		if len(merged) == 0 || !merged[len(merged)-1].Overlaps(prefix) {
			merged = append(merged, prefix)
		}
	}
	return merged
}
