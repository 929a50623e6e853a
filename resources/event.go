package resources

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is a fact after it was agreed on: how one resource looked at one
// revision. The events in order, applied to nothing, give the state.
type Event struct {
	Position Position  `json:"position"`
	Type     EventType `json:"type"`
	At       time.Time `json:"at"`
	// Ref and Name of the resource, for filters.
	Ref  Ref    `json:"ref"`
	Name string `json:"name,omitempty"`
	// Phase of the resource after the change.
	Phase     Phase  `json:"phase"`
	Principal string `json:"principal,omitempty"`
	// OperationID is the operation in whose course it happened.
	OperationID OperationID `json:"operationId,omitempty"`
	// Resource after the change; as it was last, for a deletion.
	Resource Resource `json:"-" cbor:"-"`
}

// EventType says what happened.
type EventType string

// The types.
const (
	EventCreated EventType = "created"
	EventUpdated EventType = "updated"
	EventDeleted EventType = "deleted"
)

// Position is a place in the event log: several events can share a revision.
type Position struct {
	Revision uint64 `json:"revision"`
	Index    uint32 `json:"index"`
}

// After reports whether p comes after o.
func (p Position) After(o Position) bool {
	return p.Revision > o.Revision || p.Revision == o.Revision && p.Index > o.Index
}

// String returns "revision.index", the form used as an event's id.
func (p Position) String() string { return fmt.Sprintf("%d.%d", p.Revision, p.Index) }

// ParsePosition reads the form of String; a bare revision stands for all of its
// events.
func ParsePosition(s string) (Position, error) {
	revision, index, both := strings.Cut(s, ".")
	r, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return Position{}, fmt.Errorf("reading position %q: want a revision such as 42 or 42.0", s)
	}
	if !both {
		return Position{Revision: r, Index: ^uint32(0)}, nil
	}
	i, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		return Position{}, fmt.Errorf("reading position %q: want a revision such as 42 or 42.0", s)
	}
	return Position{Revision: r, Index: uint32(i)}, nil
}

// Audit is one line of the audit log: who asked for what, and what was said. It
// is written with the change it is about.
type Audit struct {
	Position  Position  `json:"position"`
	At        time.Time `json:"at"`
	Principal string    `json:"principal"`
	// Source is the network address the request came from.
	Source    string `json:"source,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	Action    string `json:"action"`
	Target    Ref    `json:"target"`
	Decision  string `json:"decision"`
	// Statement is what was attested, in words.
	Statement string `json:"statement,omitempty"`
	// Digest is the SHA-256 of the request's body.
	Digest []byte `json:"digest,omitempty"`
	// Chain is the SHA-256 over the line before and this one.
	Chain []byte `json:"chain,omitempty"`
}
