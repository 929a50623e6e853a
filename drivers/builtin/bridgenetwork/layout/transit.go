package layout

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// TransitBits is the length of the subnet between a network and its host: two usable addresses.
const TransitBits = 30

// Transit is the small subnet between a network's namespace and the host's.
type Transit struct {
	Subnet netip.Prefix
}

// Host returns the address of the host's end.
func (t Transit) Host() netip.Addr {
	return t.Subnet.Addr().Next()
}

// Outer returns the address of the network's end: the one under which the host reaches the network.
func (t Transit) Outer() netip.Addr {
	return t.Host().Next()
}

// TransitOf returns the transit that has host as the address of the host's end.
func TransitOf(host netip.Addr) Transit {
	return Transit{Subnet: netip.PrefixFrom(host, TransitBits).Masked()}
}

// Transits yields every transit in pool once. Each network starts at a place of its own, so that the first one is
// nearly always free and the same network gets the same one again.
func Transits(pool netip.Prefix, network string) iter.Seq[Transit] {
	return func(yield func(Transit) bool) {
		if !pool.Addr().Is4() || pool.Bits() > TransitBits {
			return
		}
		count := uint32(1) << (TransitBits - pool.Bits())
		start := Spread(network, count)
		first := pool.Masked().Addr().As4()
		for i := range count {
			var address [4]byte
			offset := (start + i) % count
			binary.BigEndian.PutUint32(address[:], binary.BigEndian.Uint32(first[:])+offset<<(32-TransitBits))
			if !yield(Transit{Subnet: netip.PrefixFrom(netip.AddrFrom4(address), TransitBits)}) {
				return
			}
		}
	}
}
