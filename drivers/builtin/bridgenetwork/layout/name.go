package layout

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// Interfaces inside a network's own namespace, where names can't collide.
const (
	// Bridge is the network's bridge.
	Bridge = "br0"
	// Uplink is the network's end of the pair that leads to the host.
	Uplink = "up0"
)

// What begins with these is ours.
const (
	NetworkSpacePrefix = "bhn-"
	MachineSpacePrefix = netspace.MachinePrefix
	HostLinkPrefix     = "bht"
	PortPrefix         = "p"
)

// hashLength is short enough for an interface name of at most 15 characters with a prefix, and at 5 bits a character
// makes a collision among a million ids less likely than one in a thousand.
const hashLength = 10

// Hash shortens an id for names in the kernel. Stable for ever: names on running hosts are made of it.
func Hash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:hashLength])
}

// NetworkSpace names the namespace of a network.
func NetworkSpace(network string) string { return NetworkSpacePrefix + Hash(network) }

// MachineSpace names the namespace of a machine.
func MachineSpace(machine string) string { return netspace.OfMachine(machine) }

// HostLink names the host's end of the pair that leads to a network.
func HostLink(network string) string { return HostLinkPrefix + Hash(network) }

// Port names the nic's port of the network's bridge.
func Port(nic string) string { return PortPrefix + Hash(nic) }

// Tap names the nic's tap in the machine's namespace.
func Tap(nic string) string { return "t" + Hash(nic) }

// NicBridge names the two-port bridge between tap and pair in the machine's namespace.
func NicBridge(nic string) string { return "b" + Hash(nic) }

// NicLink names the machine's end of the pair that leads to the network's bridge.
func NicLink(nic string) string { return "v" + Hash(nic) }

// DHCPUnit and DNSUnit name the processes that serve a network.
func DHCPUnit(network string) string { return "dhcp-" + Hash(network) }

// DNSUnit names the process that serves names in a network.
func DNSUnit(network string) string { return "dns-" + Hash(network) }

// Spread places a text on one of count places, always the same one.
func Spread(text string, count uint32) uint32 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint32(sum[:4]) % count
}
