package layout

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// A label is written on an interface as its alias, so that the kernel itself remembers whose it is and a driver that
// lost everything else can still tell. Linux keeps at most 255 bytes of it; the longest label has 248.
const (
	nicMark     = "bulkhead nic"
	networkMark = "bulkhead network"
	machineMark = "bulkhead machine"

	// secondaryMark ends the label of a secondary nic.
	secondaryMark = "secondary"
)

var (
	idPattern       = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	hostnamePattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
)

// Nic is what a port's label tells.
type Nic struct {
	ID, Machine string
	MAC         net.HardwareAddr
	Address     netip.Addr
	Hostname    string
	// Secondary nics are not their machine's way out.
	Secondary bool
}

// SameShape tells whether both are the same nic in the same shape. Which nic is a machine's way out may change.
func (n Nic) SameShape(other Nic) bool {
	n.Secondary = other.Secondary
	return n.Label() == other.Label()
}

// Label renders the nic for its port's alias.
func (n Nic) Label() string {
	label := strings.Join([]string{nicMark, n.ID, n.Machine, n.MAC.String(), n.Address.String(), n.Hostname}, " ")
	if n.Secondary {
		label += " " + secondaryMark
	}
	return label
}

// ParseNic reads a port's label. It accepts nothing that Label does not write.
func ParseNic(label string) (Nic, error) {
	rest, ours := strings.CutPrefix(label, nicMark+" ")
	fields := strings.Split(rest, " ")
	secondary := len(fields) == 6 && fields[5] == secondaryMark
	if !ours || len(fields) != 5 && !secondary {
		return Nic{}, fmt.Errorf("reading label %q: not the label of a nic", label)
	}
	mac, err := net.ParseMAC(fields[2])
	if err != nil {
		return Nic{}, fmt.Errorf("reading label %q: %w", label, err)
	}
	address, err := netip.ParseAddr(fields[3])
	if err != nil {
		return Nic{}, fmt.Errorf("reading label %q: %w", label, err)
	}
	nic := Nic{
		ID: fields[0], Machine: fields[1], MAC: mac, Address: address, Hostname: fields[4], Secondary: secondary,
	}
	if !idPattern.MatchString(nic.ID) || !idPattern.MatchString(nic.Machine) || !ValidHostname(nic.Hostname) ||
		nic.Label() != label {
		return Nic{}, fmt.Errorf("reading label %q: not as it is written", label)
	}
	return nic, nil
}

// NetworkLabel renders a network's id for the labels of its namespace and its link to the host.
func NetworkLabel(network string) string {
	return networkMark + " " + network
}

// BridgeLabel renders a network's id and shape for the label of its bridge.
func BridgeLabel(network, shape string) string {
	return NetworkLabel(network) + " " + shape
}

// MachineLabel renders a machine's id for the label of its namespace.
func MachineLabel(machine string) string {
	return machineMark + " " + machine
}

// ParseNetwork reads the label of a network's bridge or link.
func ParseNetwork(label string) (network string, ok bool) {
	network, ours := strings.CutPrefix(label, networkMark+" ")
	return network, ours && idPattern.MatchString(network)
}

// ValidHostname tells whether name can be one label of a DNS name.
func ValidHostname(name string) bool {
	return hostnamePattern.MatchString(name)
}
