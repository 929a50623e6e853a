package ruleset

import (
	"net/netip"
	"strings"
)

// Port is one nic as the guard of the bridge knows it.
type Port struct {
	// Interface is the port of the bridge; it also names the port's chain.
	Interface string
	MAC       string
	Address   netip.Addr
}

// Guard returns the transaction that makes sure that the bridge's guard is there. Ports keep their rules; a port that
// has none is shut.
func Guard() string {
	var text writer
	declareGuard(&text)
	return text.String()
}

func declareGuard(text *writer) {
	text.line("add table bridge %s", Table)
	text.line("add map bridge %s ports { type ifname : verdict; }", Table)
	text.line("add chain bridge %s prerouting { type filter hook prerouting priority -300; policy drop; }", Table)
	text.line("flush chain bridge %s prerouting", Table)
	text.line("add rule bridge %s prerouting iifname vmap @ports", Table)
}

// Admit returns the transaction that lets a port send what is its own: from its hardware address and its address
// only, ARP about itself only, and no answers of a DHCP server. What isn't IPv4 or ARP is dropped, and so are router
// advertisements.
func (p Port) Admit() string {
	var text writer
	declareGuard(&text)
	rule := func(format string, arguments ...any) {
		text.line("add rule bridge "+Table+" "+p.Interface+" "+format, arguments...)
	}
	text.line("add chain bridge %s %s", Table, p.Interface)
	text.line("flush chain bridge %s %s", Table, p.Interface)
	rule("ether saddr != %s drop", p.MAC)
	// 0.0.0.0 asks whether an address is taken (RFC 5227).
	rule("ether type arp "+"arp saddr ether %s arp saddr ip { 0.0.0.0, %s } accept", p.MAC, p.Address)
	ip := func(format string, arguments ...any) { rule("ether type ip "+format, arguments...) }
	ip("udp sport 67 drop")
	// A DHCP client speaks for itself: its hardware address in the message, 28 bytes into the payload.
	ip("udp dport 67 @th,288,48 != 0x%s drop", strings.ReplaceAll(p.MAC, ":", ""))
	ip("ip saddr %s accept", p.Address)
	ip("ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept")
	rule("drop")
	text.line("add element bridge %s ports { %q : jump %s }", Table, p.Interface, p.Interface)
	return text.String()
}

// Expel returns the transaction that shuts a port again and forgets it. It succeeds as well when the port is unknown.
func (p Port) Expel() string {
	var text writer
	declareGuard(&text)
	text.line("add chain bridge %s %s", Table, p.Interface)
	text.line("add element bridge %s ports { %q : jump %s }", Table, p.Interface, p.Interface)
	text.line("delete element bridge %s ports { %q }", Table, p.Interface)
	text.line("flush chain bridge %s %s", Table, p.Interface)
	text.line("delete chain bridge %s %s", Table, p.Interface)
	return text.String()
}
