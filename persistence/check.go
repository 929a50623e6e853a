package persistence

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Check recomputes from the resources what the indexes, counters and claims must
// be and reports every difference, in words. A state that only commands have
// written has none. It reads the whole state: for tests and for operators.
func (v *View) Check() ([]string, error) {
	c := &checker{view: v, want: map[string][]byte{}, there: map[resources.Ref]bool{}}
	parts := []func() error{
		c.resources, c.attachments, c.bindings, c.reservations, c.claims, c.queues, c.indexes,
	}
	for _, part := range parts {
		if err := part(); err != nil {
			return nil, err
		}
	}
	slices.Sort(c.found)
	return c.found, nil
}

type checker struct {
	view  *View
	want  map[string][]byte
	there map[resources.Ref]bool
	found []string
}

func (c *checker) report(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// resources collects what the indexes must have.
func (c *checker) resources() error {
	var references []resources.Ref
	err := c.view.r.Scan([]byte(familyResource), nil, func(k, value []byte) (bool, error) {
		kind, _, _ := strings.Cut(string(k[len(familyResource):]), zeroByte)
		r, err := c.view.codec.resource(resources.Kind(kind), value)
		if err != nil {
			return false, err
		}
		c.there[r.Metadata().Ref()] = true
		e := entriesOf(r)
		for _, one := range e.keys {
			c.want[string(one.key)] = one.value
		}
		references = append(references, e.references...)
		return true, nil
	})
	for _, ref := range references {
		if !c.there[ref] {
			c.report("something stands on %s, which is not there", ref)
		}
	}
	return err
}

// attachments looks that a volume that is given to a machine is one of that
// machine's.
func (c *checker) attachments() error {
	var given []*resources.Volume
	err := c.view.Each(resources.KindVolume, nil, func(r resources.Resource) bool {
		if v, ok := r.(*resources.Volume); ok && v.Status.MachineID != "" {
			given = append(given, v)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, v := range given {
		m, err := Find[*resources.Machine](c.view, resources.KindMachine, string(v.Status.MachineID))
		switch {
		case resources.ClassOf(err) == resources.ClassNotFound:
			c.report("%s is given to machine %s, which is not there", v.Ref(), v.Status.MachineID)
		case err != nil:
			return err
		case m.Status.RootVolumeID != resources.VolumeID(v.ID) && !slices.Contains(m.Spec.Volumes, resources.VolumeID(v.ID)):
			c.report("%s is given to machine %s, which does not have it", v.Ref(), m.ID)
		}
	}
	return nil
}

// bindings looks that each is found where EachBound looks for it: in or on something that names the same driver.
func (c *checker) bindings() error {
	return c.view.r.Scan([]byte(familyBinding), nil, func(_, value []byte) (bool, error) {
		var b Binding
		if err := c.view.codec.unmarshal("a binding", value, &b); err != nil {
			return false, err
		}
		if !c.there[b.Ref] {
			c.report("%s is bound to %s and is not there", b.Ref, b.Product)
			return true, nil
		}
		r, err := c.view.Get(b.Ref)
		if err != nil {
			return false, err
		}
		owner := resources.OwnerOf(r)
		if !c.there[owner] {
			c.report("%s is bound to %s and is in or on nothing", b.Ref, b.Product)
			return true, nil
		}
		if r, err = c.view.Get(owner); err != nil {
			return false, err
		}
		if product := r.Facets()["driver"]; product != b.Product {
			c.report("%s is bound to %s and %s to %s", b.Ref, b.Product, owner, product)
		}
		return true, nil
	})
}

// Held lists what an owner holds: reservations, claimed values, a binding.
func (v *View) Held(owner resources.Ref) ([]string, error) {
	var held []string
	for _, family := range []string{familyReservation, familyClaimed} {
		err := v.r.Scan(prefixOf(family, string(owner.Kind), owner.ID), nil, func(k, _ []byte) (bool, error) {
			held = append(held, strings.ReplaceAll(string(k), zeroByte, " "))
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	_, bound, err := v.Binding(owner)
	if bound {
		held = append(held, "a binding")
	}
	return held, err
}

// reservations recomputes what of each holder is promised.
func (c *checker) reservations() error {
	sums := map[string]resources.Quantities{}
	err := c.view.r.Scan([]byte(familyReservation), nil, func(k, value []byte) (bool, error) {
		parts := strings.Split(string(k[len(familyReservation):]), zeroByte)
		if len(parts) != 4 {
			c.report("bad reservation key %q", k)
			return true, nil
		}
		var q resources.Quantities
		if err := c.view.codec.unmarshal("a reservation", value, &q); err != nil {
			return false, err
		}
		if owner := (resources.Ref{Kind: resources.Kind(parts[0]), ID: parts[1]}); !c.there[owner] {
			c.report("%s holds a reservation and is not there", owner)
		}
		holder := parts[2] + zeroByte + parts[3]
		sums[holder] = sums[holder].Plus(q)
		return true, nil
	})
	if err != nil {
		return err
	}
	return c.view.r.Scan([]byte(familyUsage), nil, func(k, value []byte) (bool, error) {
		holder := string(k[len(familyUsage):])
		var q resources.Quantities
		if err := c.view.codec.unmarshal("usage", value, &q); err != nil {
			return false, err
		}
		if q != sums[holder] {
			c.report("usage of %q is %+v, its reservations sum up to %+v", holder, q, sums[holder])
		}
		return true, nil
	})
}

func (c *checker) claims() error {
	return c.view.r.Scan([]byte(familyClaim), nil, func(k, value []byte) (bool, error) {
		var owner resources.Ref
		if err := c.view.codec.unmarshal("a claim", value, &owner); err != nil {
			return false, err
		}
		if !c.there[owner] {
			c.report("claim %q is of %s, which is not there", k[len(familyClaim):], owner)
		}
		return true, nil
	})
}

// queues looks that every operation in a queue is there and has not ended.
func (c *checker) queues() error {
	return c.view.r.Scan([]byte(familyQueue), nil, func(_, value []byte) (bool, error) {
		op, err := c.view.Operation(resources.OperationID(value))
		if err != nil {
			c.report("queued operation %s: %v", value, err)
			return true, nil
		}
		if op.Ended() {
			c.report("operation %s is %s and still queued", op.ID, op.Phase)
		}
		return true, nil
	})
}

// indexes compares what is there with what must be.
func (c *checker) indexes() error {
	for _, family := range []string{familyName, familyFacet, familyDependent} {
		err := c.view.r.Scan([]byte(family), nil, func(k, value []byte) (bool, error) {
			want, ok := c.want[string(k)]
			if !ok {
				c.report("index has %q, which nothing calls for", k)
			} else if !bytes.Equal(want, value) {
				c.report("index has %q = %q, want %q", k, value, want)
			}
			delete(c.want, string(k))
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	for k := range c.want {
		c.report("index lacks %q", k)
	}
	return nil
}
