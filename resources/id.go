package resources

import (
	"fmt"
	"strings"
	"time"
)

// Typed ids: a field's type says what it refers to.
type (
	// ClusterID identifies a cluster of hosts.
	ClusterID string
	// HostID identifies a host.
	HostID string
	// PoolID identifies a storage pool.
	PoolID string
	// ImageStoreID identifies an image store.
	ImageStoreID string
	// TemplateID identifies a template.
	TemplateID string
	// NetworkID identifies a network.
	NetworkID string
	// AddressID identifies an address.
	AddressID string
	// VolumeID identifies a volume.
	VolumeID string
	// SnapshotID identifies a snapshot.
	SnapshotID string
	// NicID identifies a nic.
	NicID string
	// MachineID identifies a machine.
	MachineID string
	// OperationID identifies an operation.
	OperationID string
	// DriverID identifies an installed driver.
	DriverID string
)

// crockford is the lower-case base 32 of ULIDs (github.com/ulid/spec): it sorts
// as the bytes do and has no i, l, o, u.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// NewID makes an id of a kind from a time and 10 random bytes, both chosen by
// the caller. Ids of one kind sort by time of creation.
func (v Vocabulary) NewID(kind Kind, at time.Time, entropy [10]byte) string {
	var raw [16]byte
	ms := uint64(at.UnixMilli())
	for i := range 6 {
		raw[i] = byte(ms >> (40 - 8*i))
	}
	copy(raw[6:], entropy[:])
	return v[kind].Prefix + "-" + encode32(raw)
}

// encode32 writes 128 bits as 26 characters, the first of which holds 3 bits.
func encode32(raw [16]byte) string {
	var out [26]byte
	var acc, bits uint
	acc, bits = 0, 2 // two leading zero bits make 130 = 26*5
	n := 0
	for _, b := range raw {
		acc = acc<<8 | uint(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out[n] = crockford[acc>>bits&31]
			n++
		}
		acc &= 1<<bits - 1
	}
	return string(out[:])
}

// KindOf tells the kind of an id by its prefix; "" if it is none of ours.
func (v Vocabulary) KindOf(id string) Kind {
	prefix, rest, ok := strings.Cut(id, "-")
	if !ok || len(rest) != 26 {
		return ""
	}
	for kind, d := range v {
		if d.Prefix == prefix {
			return kind
		}
	}
	return ""
}

// CheckID reports what is wrong with an id of a kind, or nil.
func (v Vocabulary) CheckID(kind Kind, id string) error {
	rest, ok := strings.CutPrefix(id, v[kind].Prefix+"-")
	if !ok || len(rest) != 26 || strings.Trim(rest, crockford) != "" {
		return fmt.Errorf("is not the id of a %s: want %s- and 26 characters of 0-9, a-z", kind, v[kind].Prefix)
	}
	return nil
}
