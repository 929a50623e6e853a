package operations

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// changedSpec is a spec with some of its fields changed; nil takes a field away
// (RFC 7396, one level deep).
func changedSpec[S any](spec S, fields map[string]any) (changed S, err error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return changed, fmt.Errorf("reading the spec: %w", err)
	}
	whole := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &whole); err != nil {
		return changed, fmt.Errorf("reading the spec: %w", err)
	}
	for field, value := range fields {
		if value == nil {
			delete(whole, field)
			continue
		}
		if whole[field], err = json.Marshal(value); err != nil {
			return changed, fmt.Errorf("changing %s of the spec: %w", field, err)
		}
	}
	if data, err = json.Marshal(whole); err != nil {
		return changed, fmt.Errorf("changing the spec: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&changed); err != nil {
		return changed, fmt.Errorf("changing the spec: %w", err)
	}
	return changed, nil
}

// formerSpec is the spec as it was before the operation: that noted by an earlier
// attempt or, at first, the present one.
func formerSpec[S any](c *Context, noted *resources.Former[S], present S) *resources.Former[S] {
	if changedBy(c, noted) {
		return noted
	}
	return &resources.Former[S]{OperationID: resources.OperationID(c.Operation.ID), Spec: present}
}

// changedBy reports whether the operation has changed the spec.
func changedBy[S any](c *Context, noted *resources.Former[S]) bool {
	return noted != nil && string(noted.OperationID) == c.Operation.ID
}

// valid says what is wrong with a resource, or nil.
func valid(r resources.Resource) error {
	p := resources.NewProblems("")
	r.Validate(p)
	return p.Err()
}
