package persistence

import (
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Binding ties a resource to the driver that realises it, and keeps the driver's
// memory of it.
type Binding struct {
	Ref     resources.Ref `json:"r"`
	Product string        `json:"p"`
	Version string        `json:"v"`
	// Epoch of the shard when this was written: a driver never hears a lower one.
	Epoch         uint64 `json:"e"`
	Handle        []byte `json:"h,omitempty"`
	HandleVersion uint32 `json:"n,omitempty"`
}

// Reservation promises an amount of what a holder (host, pool) has to an owner.
type Reservation struct {
	Holder resources.Ref        `json:"h"`
	Owner  resources.Ref        `json:"o"`
	Amount resources.Quantities `json:"a"`
}

// Claim takes a value in a scope for an owner; nobody else can have it.
type Claim struct {
	Scope string        `json:"s"`
	Value string        `json:"v"`
	Owner resources.Ref `json:"o"`
}

// Fence proves that a writer still acts for the shard it writes to.
type Fence struct {
	Shard Shard  `json:"s"`
	Node  string `json:"n"`
	Epoch uint64 `json:"e"`
}

// Owner is a line of the shard table.
type Owner struct {
	Node  string `json:"n"`
	Epoch uint64 `json:"e"`
	// Next is the node that the owner is to give the shard to, once nothing of it runs any more; "" = it keeps it.
	Next string `json:"x,omitempty"`
}

// idempotency is what is kept of a request with an Idempotency-Key.
type idempotency struct {
	Operation   string `json:"o"`
	Fingerprint []byte `json:"f"`
}

// eventRecord is an event as it is stored.
type eventRecord struct {
	Type      resources.EventType `json:"t"`
	At        time.Time           `json:"a"`
	Ref       resources.Ref       `json:"r"`
	Principal string              `json:"p,omitempty"`
	Operation string              `json:"o,omitempty"`
	Data      []byte              `json:"d"`
}

// Result is what the proposer of a command is told.
type Result struct {
	// Operation as it stands after the command.
	Operation *resources.Operation
	// Resource as it stands after the command; nil if deleted or untouched.
	Resource resources.Resource
	// Journal and Record are the operation and the resource of a Commit as they
	// were written; nil if they were not. They must not be changed.
	Journal, Record []byte
	// Repeated is set when an earlier request with the same key was answered.
	Repeated bool
	// Removed counts what a compaction removed.
	Removed int
	// Owners is the shard table after a placement.
	Owners []Owner
	// Err refuses the command.
	Err error
}
