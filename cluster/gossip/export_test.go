package gossip

import (
	"fmt"
	"log/slog"
	"net/netip"
)

// RoundTrip decodes facts and, if they can be, encodes them again.
func RoundTrip(data []byte) (Facts, []byte, error) {
	a, err := decodeAnnouncement(data)
	if err != nil {
		return Facts{}, nil, err
	}
	again, err := a.encode()
	return a.Facts, again, err
}

// RoundTripFarewells decodes farewells and, if they can be, encodes them again.
func RoundTripFarewells(data []byte) (again []byte, count int, err error) {
	all, err := decodeFarewells(data)
	if err != nil {
		return nil, 0, err
	}
	again, err = encodeFarewells(all)
	return again, len(all), err
}

// Bury returns what is remembered after many members died one after the other.
func Bury(many int) []Member {
	r := newRoster(slog.New(slog.DiscardHandler), func() {})
	r.heard("survivor", announcement{}, netip.AddrPort{})
	for i := range many {
		name := fmt.Sprintf("n%04d", i)
		r.heard(name, announcement{}, netip.AddrPort{})
		r.ended(name)
	}
	return r.all()
}
