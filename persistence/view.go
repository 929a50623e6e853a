package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// View reads the state at one point in time.
type View struct {
	r     Reader
	codec *Codec
}

// Get returns a resource, with what is joined on reading (reserved quantities),
// or a not-found *resources.Error.
func (v *View) Get(ref resources.Ref) (resources.Resource, error) {
	r, err := v.stored(ref)
	if err != nil {
		return nil, err
	}
	return r, v.join(r)
}

func (v *View) stored(ref resources.Ref) (resources.Resource, error) {
	data, ok, err := v.r.Get(resourceKey(ref))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	if !ok {
		return nil, resources.NotFound(ref)
	}
	return v.codec.resource(ref.Kind, data)
}

// Unchanged reports whether a resource is still as a Result's Journal or Record
// says.
func (v *View) Unchanged(ref resources.Ref, record []byte) (bool, error) {
	data, ok, err := v.r.Get(resourceKey(ref))
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", ref, err)
	}
	return ok && bytes.Equal(data, record), nil
}

func (v *View) join(r resources.Resource) error {
	var err error
	switch x := r.(type) {
	case *resources.Host:
		x.Status.Reserved, err = v.Usage(x.Ref())
	case *resources.Pool:
		x.Status.Reserved, err = v.Usage(x.Ref())
	}
	return err
}

// Find returns a resource of type R: v.Get with the type asserted.
func Find[R resources.Resource](v *View, kind resources.Kind, id string) (R, error) {
	var none R
	r, err := v.Get(resources.Ref{Kind: kind, ID: id})
	if err != nil {
		return none, err
	}
	typed, ok := r.(R)
	if !ok {
		return none, fmt.Errorf("reading %s %s: found a %T", kind, id, r)
	}
	return typed, nil
}

// ByName returns the resource of a kind that has a name.
func (v *View) ByName(kind resources.Kind, name string) (resources.Resource, error) {
	id, ok, err := v.r.Get(nameKey(kind, name))
	if err != nil {
		return nil, fmt.Errorf("looking up %s %q: %w", kind, name, err)
	}
	if !ok {
		return nil, resources.NotFound(resources.Ref{Kind: kind, ID: name})
	}
	return v.Get(resources.Ref{Kind: kind, ID: string(id)})
}

// Applied returns the index of the last entry in the state.
func (v *View) Applied() (uint64, error) { return v.number("applied") }

func (v *View) number(name string) (uint64, error) {
	data, ok, err := v.r.Get(key(familyMeta, name))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	if !ok {
		return 0, nil
	}
	if len(data) != 8 {
		return 0, fmt.Errorf("reading %s: want 8 bytes, have %d", name, len(data))
	}
	return binary.BigEndian.Uint64(data), nil
}

// Zone returns the zone this state is of.
func (v *View) Zone() (*resources.Zone, error) {
	page, err := v.List(resources.Query{Kind: resources.KindZone, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(page.Items) == 0 {
		return nil, &resources.Error{
			Class: resources.ClassUnavailable, Code: "no-zone",
			Message: "the zone was not set up yet", Remedy: "wait until the server is ready",
		}
	}
	zone, ok := page.Items[0].(*resources.Zone)
	if !ok {
		return nil, errors.New("reading the zone: found another kind")
	}
	return zone, nil
}

// Usage returns what of a host or pool is promised.
func (v *View) Usage(holder resources.Ref) (resources.Quantities, error) {
	var q resources.Quantities
	_, err := v.record(usageKey(holder), "usage", &q)
	return q, err
}

// Reserved returns what an owner was promised by a holder.
func (v *View) Reserved(owner, holder resources.Ref) (resources.Quantities, error) {
	var q resources.Quantities
	_, err := v.record(reservationKey(owner, holder), "a reservation", &q)
	return q, err
}

// Binding returns which driver a resource is bound to; false if none.
func (v *View) Binding(ref resources.Ref) (Binding, bool, error) {
	var b Binding
	ok, err := v.record(bindingKey(ref), "a binding", &b)
	return b, ok, err
}

// Owners returns the shard table; empty before the first placement.
func (v *View) Owners() ([]Owner, error) {
	var owners []Owner
	_, err := v.record([]byte(familyPlacement), "the shard table", &owners)
	return owners, err
}

// Shards returns how many the zone has; 0 before the first placement.
func (v *View) Shards() (int, error) {
	var owners []cbor.RawMessage
	_, err := v.record([]byte(familyPlacement), "the shard table", &owners)
	return len(owners), err
}

// Claimed returns who has a value in a scope; false if nobody.
func (v *View) Claimed(scope, value string) (resources.Ref, bool, error) {
	var owner resources.Ref
	ok, err := v.record(claimKey(scope, value), "a claim", &owner)
	return owner, ok, err
}

func (v *View) record(k []byte, what string, into any) (bool, error) {
	data, ok, err := v.r.Get(k)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", what, err)
	}
	if !ok {
		return false, nil
	}
	return true, v.codec.unmarshal(what, data, into)
}

// Dependents returns up to limit resources that stand on ref.
func (v *View) Dependents(ref resources.Ref, limit int) ([]resources.Ref, error) {
	prefix := prefixOf(familyDependent, string(ref.Kind), ref.ID)
	var found []resources.Ref
	err := v.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		kind, id, ok := strings.Cut(string(k[len(prefix):]), zeroByte)
		if ok {
			found = append(found, resources.Ref{Kind: resources.Kind(kind), ID: id})
		}
		return len(found) < limit, nil
	})
	return found, err
}

// Head returns the first operation in a resource's queue, nil if it is empty,
// and whether more wait behind it.
func (v *View) Head(shard Shard, ref resources.Ref) (head *resources.Operation, more bool, err error) {
	var ids []string
	err = v.r.Scan(queuePrefix(shard, ref), nil, func(_, value []byte) (bool, error) {
		ids = append(ids, string(value))
		return len(ids) < 2, nil
	})
	if err != nil || len(ids) == 0 {
		return nil, false, err
	}
	head, err = v.Operation(resources.OperationID(ids[0]))
	return head, len(ids) > 1, err
}

// queued returns the ids of all operations in a resource's queue.
func (v *View) queued(shard Shard, ref resources.Ref) ([]string, error) {
	var ids []string
	err := v.r.Scan(queuePrefix(shard, ref), nil, func(_, value []byte) (bool, error) {
		ids = append(ids, string(value))
		return true, nil
	})
	return ids, err
}

// Waiting calls fn for each resource of a shard that has an operation in its
// queue, until it answers false.
func (v *View) Waiting(shard Shard, fn func(ref resources.Ref) bool) error {
	prefix := shardPrefix(shard)
	var last resources.Ref
	return v.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		parts := strings.SplitN(string(k[len(prefix):]), zeroByte, 3)
		if len(parts) != 3 {
			return false, fmt.Errorf("reading the queue of shard %d: bad key", shard)
		}
		ref := resources.Ref{Kind: resources.Kind(parts[0]), ID: parts[1]}
		if ref == last {
			return true, nil
		}
		last = ref
		return fn(ref), nil
	})
}

// Operation returns an operation.
func (v *View) Operation(id resources.OperationID) (*resources.Operation, error) {
	return Find[*resources.Operation](v, resources.KindOperation, string(id))
}

// Children returns the operations that a step of an operation asked for, oldest
// first.
func (v *View) Children(parent resources.OperationID, step string) ([]*resources.Operation, error) {
	prefix := prefixOf(familyFacet, string(resources.KindOperation), "parent", string(parent))
	var ids []string
	err := v.r.Scan(prefix, nil, func(k, _ []byte) (bool, error) {
		ids = append(ids, string(k[len(prefix):]))
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	var found []*resources.Operation
	for _, id := range ids {
		o, err := v.Operation(resources.OperationID(id))
		if err != nil {
			return nil, err
		}
		if o.ParentStep == step {
			found = append(found, o)
		}
	}
	return found, nil
}
