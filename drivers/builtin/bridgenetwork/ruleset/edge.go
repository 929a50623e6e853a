package ruleset

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
)

// Table is the name of every table of ours, in whatever family and namespace.
const Table = "bulkhead"

// Kind says which traffic a rule is about.
type Kind int

// Ingress enters the network from outside, Egress leaves it, Forward enters through a port of the outer address.
const (
	Ingress Kind = iota + 1
	Egress
	Forward
)

// Protocol numbers as the kernel has them: their names depend on a file of the host that a confined nft can't read.
const (
	ICMP = 1
	TCP  = 6
	UDP  = 17
)

// Rule is one rule of a network, checked and complete.
type Rule struct {
	ID       string
	Priority uint32
	Kind     Kind
	Allow    bool
	// Protocol is ICMP, TCP, UDP or 0 for any.
	Protocol uint8
	// PortFrom and PortTo are the guest's side (Ingress) or the far side (Egress); 0 = all.
	PortFrom, PortTo uint16
	// Remotes is the far side of the traffic; empty = any.
	Remotes []netip.Prefix
	// Target and OuterPort belong to Forward: where it leads, and the port of the outer address it listens on.
	Target    netip.AddrPort
	OuterPort uint16
}

// Edge is the filter of one network, in its own namespace.
type Edge struct {
	CIDR    netip.Prefix
	Gateway netip.Addr
	// Outer is the address towards the host; invalid when the network is isolated.
	Outer     netip.Addr
	DHCP, DNS bool
	// Rules in the order of Compare; the first that fits decides.
	Rules []Rule
}

// Text returns the transaction that makes the edge's table exactly this, whatever it was.
func (e Edge) Text() string {
	var text writer
	text.line("add table ip %s", Table)
	chains := []string{
		"input { type filter hook input priority filter; policy drop; }",
		"forward { type filter hook forward priority filter; policy drop; }",
		"prerouting { type nat hook prerouting priority dstnat; policy accept; }",
		"postrouting { type nat hook postrouting priority srcnat; policy accept; }",
		"ingress",
		"egress",
	}
	for _, chain := range chains {
		text.line("add chain ip %s %s", Table, chain)
	}
	text.line("flush table ip %s", Table)
	e.input(&text)
	e.forward(&text)
	if e.Outer.IsValid() {
		e.translate(&text)
		e.decide(&text)
	}
	return text.String()
}

// input is what the namespace itself answers: DHCP, names and echo, and nothing else.
func (e Edge) input(text *writer) {
	text.rule("input", `iifname "lo" accept`)
	text.rule("input", "ct state established,related accept")
	text.rule("input", "ct state invalid drop")
	if e.DHCP {
		text.rule("input", "iifname %q udp sport 68 udp dport 67 accept", layout.Bridge)
	}
	if e.DNS {
		text.rule("input", "iifname %q ip daddr %s meta l4proto { %d, %d } th dport 53 accept",
			layout.Bridge, e.Gateway, TCP, UDP)
	}
	text.rule("input", "iifname %q ip daddr %s icmp type echo-request accept", layout.Bridge, e.Gateway)
	if e.Outer.IsValid() {
		text.rule("input", "iifname %q icmp type echo-request accept", layout.Uplink)
	}
}

func (e Edge) forward(text *writer) {
	text.rule("forward", "ct state established,related accept")
	text.rule("forward", "ct state invalid drop")
	if !e.Outer.IsValid() {
		return
	}
	// Nobody but this network's guests comes from its addresses.
	text.rule("forward", "iifname %q ip saddr != %s drop", layout.Bridge, e.CIDR)
	text.rule("forward", "iifname %q ip saddr %s drop", layout.Uplink, e.CIDR)
	text.rule("forward", "iifname %q oifname %q jump ingress", layout.Uplink, layout.Bridge)
	text.rule("forward", "iifname %q oifname %q jump egress", layout.Bridge, layout.Uplink)
	// A guest that uses a forward of its own network's outer address.
	text.rule("forward", "iifname %q oifname %q ct status dnat jump ingress", layout.Bridge, layout.Bridge)
}

func (e Edge) translate(text *writer) {
	for _, rule := range e.Rules {
		if rule.Kind == Forward {
			text.rule("prerouting", "ip daddr %s meta l4proto %d th dport %d dnat to %s",
				e.Outer, rule.Protocol, rule.OuterPort, rule.Target)
		}
	}
	text.rule("postrouting", "oifname %q ip saddr %s masquerade", layout.Uplink, e.CIDR)
	// Or the guest's neighbour would answer it directly, from an address it didn't ask.
	text.rule("postrouting", "oifname %q ip saddr %s ct status dnat masquerade", layout.Bridge, e.CIDR)
}

// decide writes the network's rules. What no rule lets in stays out; what no rule keeps in gets out.
func (e Edge) decide(text *writer) {
	for _, rule := range e.Rules {
		match, never := rule.match()
		if never {
			continue
		}
		switch rule.Kind {
		case Ingress, Forward:
			text.rule("ingress", "%s%s", match, verdict(rule.Allow, "drop"))
		case Egress:
			text.rule("egress", "%s%s", match, verdict(rule.Allow, "reject with icmp type admin-prohibited"))
		}
	}
	text.rule("ingress", "drop")
	text.rule("egress", "accept")
}

// match renders the conditions of a rule, with a space at the end if there are any; never when none can fit.
func (r Rule) match() (conditions string, never bool) {
	parts, never := r.matchRemotes()
	switch {
	case r.Kind == Forward:
		parts = append(parts, fmt.Sprintf("ct status dnat ip daddr %s meta l4proto %d th dport %d",
			r.Target.Addr(), r.Protocol, r.Target.Port()))
	case r.Protocol != 0:
		parts = append(parts, fmt.Sprintf("meta l4proto %d", r.Protocol))
	case r.PortFrom != 0:
		parts = append(parts, fmt.Sprintf("meta l4proto { %d, %d }", TCP, UDP))
	}
	if r.Kind != Forward && r.PortFrom != 0 {
		parts = append(parts, "th dport "+portRange(r.PortFrom, r.PortTo))
	}
	if len(parts) == 0 {
		return "", never
	}
	return strings.Join(parts, " ") + " ", never
}

// matchRemotes renders the far side; never when it is IPv6 alone.
func (r Rule) matchRemotes() (parts []string, never bool) {
	remotes := Merge(r.Remotes)
	if len(remotes) == 0 {
		return nil, len(r.Remotes) > 0
	}
	if remotes[0].Bits() == 0 { // all there is
		return nil, false
	}
	side := "saddr"
	if r.Kind == Egress {
		side = "daddr"
	}
	return []string{"ip " + side + " " + set(remotes)}, false
}

func verdict(allow bool, deny string) string {
	if allow {
		return "accept"
	}
	return deny
}

func portRange(from, to uint16) string {
	if to <= from {
		return strconv.Itoa(int(from))
	}
	return fmt.Sprintf("%d-%d", from, to)
}

func set[T fmt.Stringer](members []T) string {
	words := make([]string, 0, len(members))
	for _, member := range members {
		words = append(words, member.String())
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

// writer collects the lines of a transaction.
type writer struct {
	strings.Builder
}

func (w *writer) line(format string, arguments ...any) {
	fmt.Fprintf(w, format+"\n", arguments...)
}

func (w *writer) rule(chain, format string, arguments ...any) {
	w.line("add rule ip "+Table+" "+chain+" "+format, arguments...)
}
