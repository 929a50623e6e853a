package persistence

import (
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Events calls fn for the events after a position, in order, until it answers
// false. It fails with class gone when events right after the position were
// compacted away.
func (v *View) Events(after resources.Position, fn func(e resources.Event) bool) error {
	return v.EventsFor(after, func(resources.Event) bool { return true }, fn)
}

// EventsFor is Events for who needs the resource of some events only: the others come without resource, name and
// phase, which takes far less time to read.
func (v *View) EventsFor(
	after resources.Position, needs func(e resources.Event) bool, fn func(e resources.Event) bool,
) error {
	oldest, err := v.number("compacted")
	if err != nil {
		return err
	}
	// Those of the entry may have gone in part.
	if after.Revision < oldest || after.Revision == oldest && oldest > 0 && after.Index != ^uint32(0) {
		return &resources.Error{
			Class: resources.ClassGone, Code: "resync-required",
			Message: "the events after " + after.String() + " are no longer kept",
			Remedy:  "list the resources again and follow from the revision of that list",
		}
	}
	from := positionKey(familyEvent, after)
	if after.Index == ^uint32(0) {
		from = positionKey(familyEvent, resources.Position{Revision: after.Revision + 1})
	}
	return v.r.Scan([]byte(familyEvent), from, func(k, value []byte) (bool, error) {
		p, ok := positionOf(familyEvent, k)
		if !ok || !p.After(after) {
			return true, nil
		}
		e, err := v.event(p, value, needs)
		if err != nil {
			return false, err
		}
		return fn(e), nil
	})
}

func (v *View) event(
	p resources.Position, data []byte, needs func(e resources.Event) bool,
) (resources.Event, error) {
	var rec eventRecord
	if err := v.codec.unmarshal("an event", data, &rec); err != nil {
		return resources.Event{}, err
	}
	e := resources.Event{
		Position: p, Type: rec.Type, At: rec.At, Ref: rec.Ref,
		Principal: rec.Principal, OperationID: resources.OperationID(rec.Operation),
	}
	if !needs(e) {
		return e, nil
	}
	r, err := v.codec.resource(rec.Ref.Kind, rec.Data)
	if err != nil {
		return resources.Event{}, err
	}
	m := r.Metadata()
	e.Name, e.Phase, e.Resource = m.Name, m.Phase, r
	return e, nil
}

// AuditLog returns up to limit audit lines that come after a position in an order; the zero position is before all.
func (v *View) AuditLog(after resources.Position, order resources.Order, limit int) ([]resources.Audit, error) {
	walk, from := v.r.Scan, []byte(nil)
	if order == resources.OrderNewest {
		walk = v.r.ScanReverse
	}
	if after != (resources.Position{}) {
		from = positionKey(familyAudit, after)
	}
	lines := []resources.Audit{}
	err := walk([]byte(familyAudit), from, func(k, value []byte) (bool, error) {
		p, ok := positionOf(familyAudit, k)
		if !ok || p == after {
			return true, nil
		}
		var line resources.Audit
		if err := v.codec.unmarshal("an audit line", value, &line); err != nil {
			return false, err
		}
		line.Position = p
		lines = append(lines, line)
		return len(lines) < limit, nil
	})
	return lines, err
}
