package ruleset

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
)

// marker is an empty chain whose presence says that forwarding was off before us: kept where it can't get lost
// before the setting itself does.
const marker = "forwarding-was-off"

// Claim is one port of the host that leads into a network.
type Claim struct {
	// Listen is an address of the host; unspecified (0.0.0.0) stands for all of them.
	Listen   netip.Addr
	Protocol uint8
	Port     uint16
	// Inner is the network's outer address and the port there.
	Inner netip.AddrPort
}

// Resolver is a name server on the host itself that a network may ask.
type Resolver struct {
	Link    string
	Address netip.Addr
}

// Change is what is to change in the host's table, in one transaction. The table is made when it isn't there.
type Change struct {
	AddOuters, DropOuters       []netip.Addr
	AddClaims, DropClaims       []Claim
	AddResolvers, DropResolvers []Resolver
	// MarkForwardingOff notes that forwarding was off before us.
	MarkForwardingOff bool
}

// Text returns the transaction. What is dropped must be there.
func (c Change) Text() string {
	var text writer
	declareHost(&text)
	if c.MarkForwardingOff {
		text.line("add chain ip %s %s", Table, marker)
	}
	for _, claim := range c.DropClaims {
		name, key := claim.element()
		text.line("delete element ip %s %s { %s }", Table, name, key)
	}
	for _, claim := range c.AddClaims {
		name, key := claim.element()
		text.line("add element ip %s %s { %s : %s . %d }", Table, name, key, claim.Inner.Addr(), claim.Inner.Port())
	}
	elements(&text, "delete", "outers", c.DropOuters, netip.Addr.String)
	elements(&text, "add", "outers", c.AddOuters, netip.Addr.String)
	elements(&text, "delete", "resolvers", c.DropResolvers, Resolver.element)
	elements(&text, "add", "resolvers", c.AddResolvers, Resolver.element)
	return text.String()
}

func elements[T any](text *writer, verb, set string, members []T, render func(T) string) {
	for _, member := range members {
		text.line("%s element ip %s %s { %s }", verb, Table, set, render(member))
	}
}

// Drop returns the transaction that takes the host's table away. The table must be there.
func Drop() string {
	return fmt.Sprintf("delete table ip %s\n", Table)
}

// declareHost makes the table and its fixed rules; elements stay.
func declareHost(text *writer) {
	declarations := []string{
		"map ip %s claims { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
		"map ip %s wildcards { type inet_proto . inet_service : ipv4_addr . inet_service; }",
		"set ip %s outers { type ipv4_addr; }",
		"set ip %s resolvers { type ifname . ipv4_addr; }",
		"chain ip %s prerouting { type nat hook prerouting priority dstnat; policy accept; }",
		"chain ip %s output { type nat hook output priority -100; policy accept; }",
		"chain ip %s input { type filter hook input priority filter; policy accept; }",
		"chain ip %s forward { type filter hook forward priority filter; policy accept; }",
		"chain ip %s postrouting { type nat hook postrouting priority srcnat; policy accept; }",
	}
	text.line("add table ip %s", Table)
	for _, declaration := range declarations {
		text.line("add "+declaration, Table)
	}
	links := `"` + layout.HostLinkPrefix + `*"`
	rules := []string{
		"prerouting dnat ip to ip daddr . meta l4proto . th dport map @claims",
		"prerouting fib daddr type local dnat ip to meta l4proto . th dport map @wildcards",
		"output dnat ip to ip daddr . meta l4proto . th dport map @claims",
		"output fib daddr type local dnat ip to meta l4proto . th dport map @wildcards",
		// Guests reach the host like strangers: through forwards, and by echo; and the name servers it offers them.
		"input iifname " + links + " ct state established,related accept",
		"input iifname " + links + " ip daddr 127.0.0.0/8 drop",
		"input iifname " + links + " icmp type echo-request accept",
		fmt.Sprintf("input iifname . ip daddr @resolvers meta l4proto { %d, %d } th dport 53 accept", TCP, UDP),
		"input iifname " + links + " drop",
		// Outer addresses are for the host alone: others come through a port of the host.
		"forward oifname " + links + " ct state established,related accept",
		"forward oifname " + links + " ct status dnat accept",
		"forward oifname " + links + " drop",
		"postrouting ip saddr @outers masquerade",
		"postrouting oifname " + links + " ip saddr 127.0.0.0/8 masquerade",
	}
	for _, chain := range []string{"prerouting", "output", "input", "forward", "postrouting"} {
		text.line("flush chain ip %s %s", Table, chain)
	}
	for _, rule := range rules {
		text.line("add rule ip %s %s", Table, rule)
	}
}

func (c Claim) element() (name, key string) {
	if c.Listen.IsUnspecified() {
		return "wildcards", fmt.Sprintf("%d . %d", c.Protocol, c.Port)
	}
	return "claims", fmt.Sprintf("%s . %d . %d", c.Listen, c.Protocol, c.Port)
}

func (r Resolver) element() string {
	return fmt.Sprintf("%q . %s", r.Link, r.Address)
}

// String renders the claim for people: "10.0.0.1:80/tcp".
func (c Claim) String() string {
	protocol := fmt.Sprint(c.Protocol)
	switch c.Protocol {
	case TCP:
		protocol = "tcp"
	case UDP:
		protocol = "udp"
	}
	return strings.Join([]string{netip.AddrPortFrom(c.Listen, c.Port).String(), protocol}, "/")
}
