package resources

import "time"

// Meta is what all resources share.
type Meta struct {
	Kind   Kind              `json:"kind" doc:"Kind of resource." readOnly:"true"`
	ID     string            `json:"id" doc:"Identity, made by the zone; never reused." readOnly:"true"`
	Name   string            `json:"name,omitempty" doc:"Name, unique among resources of the kind."`
	Labels map[string]string `json:"labels,omitempty" doc:"Labels, for people and for selection."`
	Phase  Phase             `json:"phase" doc:"Where the resource stands." readOnly:"true"`
	// Reason says in words why the phase is what it is, when that needs saying.
	Reason string `json:"reason,omitempty" doc:"Why the phase is what it is." readOnly:"true"`
	// Suspended holds back work on the resource until it is resumed.
	Suspended bool `json:"suspended,omitempty" doc:"Whether work on the resource is held back." readOnly:"true"`
	// Revision is the log index of the last change.
	Revision  uint64    `json:"revision" doc:"Log index of the last change." readOnly:"true"`
	CreatedAt time.Time `json:"createdAt" doc:"When it was accepted." readOnly:"true"`
	UpdatedAt time.Time `json:"updatedAt" doc:"When it last changed." readOnly:"true"`
}

// Metadata returns the shared part.
func (m *Meta) Metadata() *Meta { return m }

// Ref names the resource.
func (m *Meta) Ref() Ref { return Ref{Kind: m.Kind, ID: m.ID} }

// ParkedReason begins the reason of a resource that is suspended because the code
// that works on it crashed again and again. It goes when work is resumed.
const ParkedReason = "parked: "

// Ref names a resource: its kind and its id.
type Ref struct {
	Kind Kind   `json:"kind" doc:"Kind of the resource."`
	ID   string `json:"id" doc:"Id of the resource."`
}

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// String returns "kind/id".
func (r Ref) String() string { return string(r.Kind) + "/" + r.ID }

// Quantities is an amount of what hosts and pools have to give.
type Quantities struct {
	CPUs         uint64 `json:"cpus,omitempty" doc:"Virtual CPUs."`
	MemoryBytes  uint64 `json:"memoryBytes,omitempty" doc:"Memory in bytes."`
	StorageBytes uint64 `json:"storageBytes,omitempty" doc:"Storage in bytes."`
}

// Plus returns q + o.
func (q Quantities) Plus(o Quantities) Quantities {
	return Quantities{q.CPUs + o.CPUs, q.MemoryBytes + o.MemoryBytes, q.StorageBytes + o.StorageBytes}
}

// Minus returns q - o, never below zero.
func (q Quantities) Minus(o Quantities) Quantities {
	return Quantities{
		monus(q.CPUs, o.CPUs),
		monus(q.MemoryBytes, o.MemoryBytes),
		monus(q.StorageBytes, o.StorageBytes),
	}
}

// Within reports whether q fits into limit.
func (q Quantities) Within(limit Quantities) bool {
	return q.CPUs <= limit.CPUs && q.MemoryBytes <= limit.MemoryBytes && q.StorageBytes <= limit.StorageBytes
}

func monus(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
