package persistence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Compact forgets what nobody needs any more, a limited amount at a time:
// events before a revision, idempotency keys, ended operations and lines of the audit log before a time.
type Compact struct {
	EventsBefore     uint64    `json:"e,omitempty"`
	KeysBefore       time.Time `json:"k,omitzero"`
	OperationsBefore time.Time `json:"o,omitzero"`
	AuditBefore      time.Time `json:"a,omitzero"`
	// Limit bounds how many records one command removes.
	Limit int `json:"l"`
}

func (*Compact) commandName() string { return "compact" }

func (c *Compact) apply(t *tx) (Result, error) {
	left := c.Limit
	for _, part := range []func(*tx, int) (int, error){c.events, c.keys, c.audit, c.operations} {
		n, err := part(t, left)
		if err != nil {
			return Result{}, err
		}
		left -= n
	}
	return Result{Removed: c.Limit - left}, nil
}

func (c *Compact) events(t *tx, limit int) (int, error) {
	last, err := t.number("compacted")
	if err != nil {
		return 0, err
	}
	// What was removed just now can take long to pass over: it begins where the last one ended.
	from := positionKey(familyEvent, resources.Position{Revision: last})
	n, err := c.sweep(t, []byte(familyEvent), from, limit, func(k, _ []byte) bool {
		p, ok := positionOf(familyEvent, k)
		if !ok || p.Revision >= c.EventsBefore {
			return false
		}
		last = p.Revision
		t.pending.remove(k)
		return true
	})
	if n > 0 {
		t.putNumber("compacted", last)
	}
	return n, err
}

func (c *Compact) keys(t *tx, limit int) (int, error) {
	return c.sweep(t, []byte(familyExpiry), nil, limit, func(k, value []byte) bool {
		if !before(k[len(familyExpiry):], c.KeysBefore) {
			return false
		}
		t.pending.remove(k)
		t.pending.remove(bytes.Clone(value))
		return true
	})
}

// audit removes the oldest lines. The chain of those that stay begins with the first of them.
func (c *Compact) audit(t *tx, limit int) (int, error) {
	if c.AuditBefore.IsZero() {
		return 0, nil
	}
	return c.sweep(t, []byte(familyAudit), nil, limit, func(k, value []byte) bool {
		var line resources.Audit
		if err := t.codec.unmarshal("an audit line", value, &line); err != nil || !line.At.Before(c.AuditBefore) {
			return false // one that can't be read stays
		}
		t.pending.remove(k)
		return true
	})
}

// compactBytes bounds what one command writes: each operation that goes is told of by an event that holds it.
const compactBytes = 4 << 20

func (c *Compact) operations(t *tx, limit int) (int, error) {
	var gone []string
	_, err := c.sweep(t, []byte(familyEnded), nil, limit, func(k, _ []byte) bool {
		if !before(k[len(familyEnded):], c.OperationsBefore) {
			return false
		}
		gone = append(gone, string(k))
		return true
	})
	if err != nil {
		return 0, err
	}
	written, removed := 0, 0
	for _, k := range gone {
		n, err := c.operation(t, []byte(k))
		if err != nil {
			return removed, err
		}
		if n > 0 {
			removed++
		}
		if written += n; written > compactBytes {
			break
		}
	}
	return removed, nil
}

// operation removes the operation that a key of the ended ones leads to, and says how long its record was; 0 if it
// stays, because its parent has not ended and may still ask what became of it.
func (*Compact) operation(t *tx, ended []byte) (int, error) {
	id, _, err := t.r.Get(ended)
	if err != nil {
		return 0, fmt.Errorf("reading the ended operations: %w", err)
	}
	op, err := t.Operation(resources.OperationID(id))
	if err != nil {
		return 0, err
	}
	if parent, err := t.Operation(op.ParentID); err == nil && !parent.Ended() {
		return 0, nil
	} else if err != nil && resources.ClassOf(err) != resources.ClassNotFound {
		return 0, err
	}
	t.pending.remove(ended)
	record, _, err := t.r.Get(resourceKey(op.Ref()))
	if err != nil {
		return 0, fmt.Errorf("reading operation %s: %w", id, err)
	}
	return len(record), t.remove(op)
}

// sweep calls fn for keys of a family, from one on or from its first, until it answers false. The value is for looking
// at only.
func (c *Compact) sweep(t *tx, prefix, from []byte, limit int, fn func(k, value []byte) bool) (int, error) {
	n := 0
	if limit <= 0 {
		return 0, nil
	}
	err := t.r.Scan(prefix, from, func(k, value []byte) (bool, error) {
		if !fn(bytes.Clone(k), value) {
			return false, nil
		}
		n++
		return n < limit, nil
	})
	return n, err
}

func before(stamp []byte, limit time.Time) bool {
	return len(stamp) >= 8 && !limit.IsZero() && binary.BigEndian.Uint64(stamp) < uint64(limit.UnixNano())
}
