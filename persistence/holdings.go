package persistence

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// reserve promises an amount. Repeating it for the same owner and holder
// replaces the promise. The sum of promises never exceeds the capacity.
func (t *tx) reserve(r Reservation) error {
	if err := t.exists(r.Owner); err != nil {
		return err
	}
	had, err := t.Reserved(r.Owner, r.Holder)
	if err != nil {
		return err
	}
	used, err := t.Usage(r.Holder)
	if err != nil {
		return err
	}
	limit, err := t.capacity(r.Holder)
	if err != nil {
		return err
	}
	if err := t.closed(r.Holder); err != nil && had == (resources.Quantities{}) {
		return err
	}
	total := used.Minus(had).Plus(r.Amount)
	if grows := !r.Amount.Within(had); grows && !total.Within(limit) {
		return &resources.Error{
			Class: resources.ClassExhausted, Code: "no-capacity",
			Message:  fmt.Sprintf("%s %s has no room left", r.Holder.Kind, r.Holder.ID),
			Remedy:   "add capacity or free some",
			Resource: &r.Holder,
		}
	}
	if err := t.putRecord(reservationKey(r.Owner, r.Holder), "a reservation", r.Amount); err != nil {
		return err
	}
	return t.putRecord(usageKey(r.Holder), "usage", total)
}

// closed refuses a host in maintenance to those that are not on it: nothing is to come
// while the last leave.
func (t *tx) closed(holder resources.Ref) error {
	r, err := t.current(holder)
	if err != nil {
		return err
	}
	if p := r.Metadata().Phase; p != resources.PhaseMaintaining && p != resources.PhaseMaintenance {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassExhausted, Code: "no-capacity", Resource: &holder,
		Message: fmt.Sprintf("%s %s is in maintenance", holder.Kind, holder.ID), Remedy: "choose another host",
	}
}

// exists refuses a holder of anything that is not there.
func (t *tx) exists(ref resources.Ref) error {
	_, err := t.current(ref)
	return err
}

func (t *tx) capacity(holder resources.Ref) (resources.Quantities, error) {
	r, err := t.current(holder)
	if err != nil {
		return resources.Quantities{}, err
	}
	switch x := r.(type) {
	case *resources.Host:
		zone, err := t.Zone()
		if err != nil {
			return resources.Quantities{}, err
		}
		return x.Capacity(zone.Overcommit()), nil
	case *resources.Pool:
		return x.Capacity(), nil
	}
	return resources.Quantities{}, fmt.Errorf("reserving: a %s holds nothing", holder.Kind)
}

func (t *tx) release(owner, holder resources.Ref) error {
	had, err := t.Reserved(owner, holder)
	if err != nil {
		return err
	}
	used, err := t.Usage(holder)
	if err != nil {
		return err
	}
	t.pending.remove(reservationKey(owner, holder))
	return t.putRecord(usageKey(holder), "usage", used.Minus(had))
}

func (t *tx) releaseAll(owner resources.Ref) error {
	prefix := prefixOf(familyReservation, string(owner.Kind), owner.ID)
	var holders []resources.Ref
	err := t.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		kind, id, _ := strings.Cut(string(k[len(prefix):]), zeroByte)
		holders = append(holders, resources.Ref{Kind: resources.Kind(kind), ID: id})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, h := range holders {
		if err := t.release(owner, h); err != nil {
			return err
		}
	}
	return nil
}

// claim takes a value; taking what one has already is fine.
func (t *tx) claim(c Claim) error {
	if err := t.exists(c.Owner); err != nil {
		return err
	}
	owner, taken, err := t.Claimed(c.Scope, c.Value)
	if err != nil {
		return err
	}
	if taken && owner != c.Owner {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "taken",
			Message: fmt.Sprintf("%s is taken by %s %s", c.Value, owner.Kind, owner.ID), Remedy: "choose another",
			Resource: &owner,
		}
	}
	if err := t.putRecord(claimKey(c.Scope, c.Value), "a claim", c.Owner); err != nil {
		return err
	}
	t.pending.put(claimedKey(c.Owner, c.Scope, c.Value), nil)
	return nil
}

// unclaim gives a value up, if the owner has it.
func (t *tx) unclaim(c Claim) error {
	owner, taken, err := t.Claimed(c.Scope, c.Value)
	if err != nil || !taken || owner != c.Owner {
		return err
	}
	t.pending.remove(claimKey(c.Scope, c.Value))
	t.pending.remove(claimedKey(c.Owner, c.Scope, c.Value))
	return nil
}

func (t *tx) unclaimAll(owner resources.Ref) error {
	prefix := prefixOf(familyClaimed, string(owner.Kind), owner.ID)
	var claims []Claim
	err := t.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		scope, value, _ := strings.Cut(string(k[len(prefix):]), zeroByte)
		claims = append(claims, Claim{Scope: scope, Value: value, Owner: owner})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, c := range claims {
		if err := t.unclaim(c); err != nil {
			return err
		}
	}
	return nil
}

// takeRange keeps the address ranges of networks apart: ranges that begin before
// this one's end and end after its begin overlap. Because ranges in the index
// never overlap each other, looking at the neighbours is enough.
func (t *tx) takeRange(n *resources.Network) error {
	prefix, err := n.Prefix()
	if err != nil {
		return fmt.Errorf("reading the range of network %s: %w", n.ID, err)
	}
	other, err := t.overlapping(prefix)
	if err != nil {
		return err
	}
	if !other.IsZero() && other.ID != n.ID {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "network-overlaps",
			Message:  fmt.Sprintf("%s overlaps network %s", prefix, other.ID),
			Remedy:   "choose another range",
			Fields:   []resources.FieldError{{Pointer: "/spec/cidr", Code: "overlaps", Message: "overlaps another network"}},
			Resource: &other,
		}
	}
	return t.putRecord(rangeKey(prefix.Addr()), "a range", rangeRecord{Prefix: prefix.String(), Network: n.ID})
}

type rangeRecord struct {
	Prefix  string `json:"p"`
	Network string `json:"n"`
}

func (t *tx) overlapping(prefix netip.Prefix) (resources.Ref, error) {
	var found resources.Ref
	look := func(_, value []byte) (bool, error) {
		var rec rangeRecord
		if err := t.codec.unmarshal("a range", value, &rec); err != nil {
			return false, err
		}
		other, err := netip.ParsePrefix(rec.Prefix)
		if err != nil {
			return false, fmt.Errorf("reading a range: %w", err)
		}
		if other.Overlaps(prefix) {
			found = resources.Ref{Kind: resources.KindNetwork, ID: rec.Network}
		}
		return false, nil
	}
	if err := t.r.Scan([]byte(familyRange), rangeKey(prefix.Addr()), look); err != nil || !found.IsZero() {
		return found, err
	}
	return found, t.r.ScanReverse([]byte(familyRange), rangeKey(prefix.Addr()), look)
}

func (t *tx) freeRange(n *resources.Network) {
	if prefix, err := n.Prefix(); err == nil {
		t.pending.remove(rangeKey(prefix.Addr()))
	}
}
