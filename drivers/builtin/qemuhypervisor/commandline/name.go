package commandline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// nameDigits keeps the longest name ("device-..." and suffixes) below QEMU's 31 characters for block nodes.
const nameDigits = 16

// Hash is a short stable name for an id of ours, of digits and lower-case letters.
func Hash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:nameDigits]
}

// UUID is the machine's identity as its firmware shows it, made from its id.
func UUID(id string) string {
	sum := sha256.Sum256([]byte("bulkhead-machine:" + id))
	sum[6] = sum[6]&0x0f | 0x80 // version 8: made our own way
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// DiskNodePrefix is what the names of all disks' block nodes begin with.
const DiskNodePrefix = "disk-"

// DiskNode is the name of a volume's block node, which a machine's disk is backed by.
func DiskNode(volume string) string { return DiskNodePrefix + Hash(volume) }

// FileNode is the name of the block node of the file below DiskNode.
func FileNode(volume string) string { return "file-" + Hash(volume) }

// DiskDevice is the name of the device the guest sees of a volume.
func DiskDevice(volume string) string { return diskDevicePrefix + Hash(volume) }

// NicBackend is the name of the host's side of a nic.
func NicBackend(nic string) string { return "tap-" + Hash(nic) }

// NicDevice is the name of the device the guest sees of a nic.
func NicDevice(nic string) string { return nicDevicePrefix + Hash(nic) }

const (
	diskDevicePrefix = "volume-"
	nicDevicePrefix  = "nic-"
)

// IsPluggable tells whether a device's name is that of a disk or nic.
func IsPluggable(device string) bool {
	return strings.HasPrefix(device, diskDevicePrefix) || strings.HasPrefix(device, nicDevicePrefix)
}

// Port is the name of the nth slot, from 0, that a device can be plugged into.
func Port(n int) string { return fmt.Sprintf("port%d", n) }
