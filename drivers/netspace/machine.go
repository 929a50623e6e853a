package netspace

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// MachinePrefix begins the names of machines' namespaces.
const MachinePrefix = "bh-"

// machineDigits are as many as fit into the names of interfaces too, which are made in the same way.
const machineDigits = 10

// OfMachine names the namespace of a machine, in which it runs and its taps are. The contract has it, so that network
// and hypervisor drivers meet there. Stable for ever.
func OfMachine(machine string) string {
	sum := sha256.Sum256([]byte(machine))
	return MachinePrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:machineDigits])
}
