package persistence

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// The state is a set of ordered keys. Each family has a prefix of one letter;
// names inside of a key end at a zero byte, numbers are big-endian, so that the
// order of bytes is the order we want to read in.
const (
	familyMeta        = "m/" // applied index, clock, format
	familyResource    = "r/" // kind, id -> resource
	familyName        = "n/" // kind, name -> id
	familyFacet       = "x/" // kind, facet, value, id
	familyDependent   = "d/" // kind, id, kind of dependent, id of dependent
	familyQueue       = "q/" // shard, kind, id, sequence -> operation id
	familyBinding     = "b/" // kind, id -> binding
	familyUsage       = "u/" // holder kind, id -> quantities
	familyReservation = "v/" // owner kind, id, holder kind, id -> quantities
	familyClaim       = "c/" // scope, value -> owner
	familyClaimed     = "o/" // owner kind, id, scope, value
	familyRange       = "k/" // first address -> network
	familyEvent       = "e/" // revision, index -> event
	familyAudit       = "a/" // revision, index -> audit line
	familyIdempotency = "i/" // principal, key -> operation
	familyExpiry      = "t/" // time, idempotency key
	familyPlacement   = "s/" // the shard table
	familyEnded       = "f/" // time an operation ended, id
	familyInvitation  = "j/" // id -> invitation
	familyMember      = "p/" // role, name -> member
	familyProgram     = "y/" // node -> program
	familyRotation    = "g/" // the rotation
)

// Resident are prefixes of the keys that each operation looks at, or looks for and does not find: what a zone has few
// of, and what is waiting. A store does well to keep them in memory.
func Resident() [][]byte {
	var prefixes [][]byte
	for _, family := range []string{
		familyMeta, familyQueue, familyPlacement, familyInvitation, familyMember, familyProgram, familyRotation,
	} {
		prefixes = append(prefixes, []byte(family))
	}
	for _, kind := range []resources.Kind{
		resources.KindZone, resources.KindPolicy, resources.KindDriver, resources.KindCluster, resources.KindHost,
		resources.KindPool,
	} {
		for _, family := range []string{familyResource, familyBinding, familyUsage} {
			prefixes = append(prefixes, prefixOf(family, string(kind)))
		}
	}
	return prefixes
}

// Facets every kind has beside its own. Labels are facets named "label.KEY".
const (
	facetPhase  = "phase"
	facetLabel  = "label."
	zeroByte    = "\x00"
	positionLen = 12
)

func key(family string, parts ...string) []byte {
	n := len(family)
	for _, p := range parts {
		n += len(p) + 1
	}
	k := make([]byte, 0, n)
	k = append(k, family...)
	for i, p := range parts {
		if i > 0 {
			k = append(k, 0)
		}
		k = append(k, p...)
	}
	return k
}

// prefixOf is key with the zero byte after the last part, so that "a" does not
// match "ab".
func prefixOf(family string, parts ...string) []byte {
	return append(key(family, parts...), 0)
}

func resourceKey(ref resources.Ref) []byte { return key(familyResource, string(ref.Kind), ref.ID) }

func nameKey(kind resources.Kind, name string) []byte { return key(familyName, string(kind), name) }

func facetKey(kind resources.Kind, facet, value, id string) []byte {
	return key(familyFacet, string(kind), facet, value, id)
}

func dependentKey(on, from resources.Ref) []byte {
	return key(familyDependent, string(on.Kind), on.ID, string(from.Kind), from.ID)
}

func bindingKey(ref resources.Ref) []byte { return key(familyBinding, string(ref.Kind), ref.ID) }

func usageKey(ref resources.Ref) []byte { return key(familyUsage, string(ref.Kind), ref.ID) }

func reservationKey(owner, holder resources.Ref) []byte {
	return key(familyReservation, string(owner.Kind), owner.ID, string(holder.Kind), holder.ID)
}

func claimKey(scope, value string) []byte { return key(familyClaim, scope, value) }

func claimedKey(owner resources.Ref, scope, value string) []byte {
	return key(familyClaimed, string(owner.Kind), owner.ID, scope, value)
}

func shardPrefix(shard Shard) []byte {
	return binary.BigEndian.AppendUint16([]byte(familyQueue), uint16(shard))
}

func queuePrefix(shard Shard, ref resources.Ref) []byte {
	k := append(shardPrefix(shard), string(ref.Kind)...)
	k = append(k, 0)
	k = append(k, ref.ID...)
	return append(k, 0)
}

func queueKey(shard Shard, ref resources.Ref, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(queuePrefix(shard, ref), sequence)
}

func positionKey(family string, p resources.Position) []byte {
	k := binary.BigEndian.AppendUint64([]byte(family), p.Revision)
	return binary.BigEndian.AppendUint32(k, p.Index)
}

func positionOf(family string, k []byte) (resources.Position, bool) {
	if len(k) != len(family)+positionLen {
		return resources.Position{}, false
	}
	k = k[len(family):]
	return resources.Position{Revision: binary.BigEndian.Uint64(k), Index: binary.BigEndian.Uint32(k[8:])}, true
}

func rangeKey(first netip.Addr) []byte {
	b := first.As16()
	return append([]byte(familyRange), b[:]...)
}

// Shard is a part of the resources that one node acts for.
type Shard uint16

// ShardOf tells the shard of a resource in a zone of n shards. Operations have
// no shard of their own: they belong to their target.
func ShardOf(ref resources.Ref, n int) Shard {
	h := fnv.New32a()
	h.Write([]byte(ref.Kind))
	h.Write([]byte{0})
	h.Write([]byte(ref.ID))
	return Shard(h.Sum32() % uint32(n))
}
