package resources

// Submission asks for an action on a resource. It becomes an operation.
type Submission struct {
	Action string
	Target Ref
	// Resource is the new resource for "create" (without id, phase, revision), or
	// the changed one for "update" (as it was read, with changes made to its
	// name, labels and spec).
	Resource  Resource
	Arguments Arguments
	// IfRevision, if not 0, must be the target's revision (If-Match).
	IfRevision uint64
	// IdempotencyKey, if not empty, makes a repetition by the same principal
	// answer with the first operation. Fingerprint tells repetitions from
	// other requests with the same key.
	IdempotencyKey string
	Fingerprint    []byte
	Origin         Origin
}

// Origin says where a request came from; it goes into operation and audit log.
type Origin struct {
	Principal string
	RequestID string
	// Source is the network address of the caller.
	Source string
	// Digest is the SHA-256 of the request's body.
	Digest []byte
}

// Plan says what an action would do, without doing it.
type Plan struct {
	Action string `json:"action" doc:"Action."`
	Target Ref    `json:"target" doc:"Resource it would be done to."`
	// Steps that would be taken, in order.
	Steps []string `json:"steps" doc:"Steps, in order." nullable:"false"`
	// Choices are the placements that would be made.
	Choices []Choice `json:"choices" doc:"Placements that would be made." nullable:"false"`
	// Error is why it would fail, as far as can be told.
	Error *Error `json:"error,omitempty" doc:"Why it would fail, as far as can be told."`
}

// Choice is one placement of a plan.
type Choice struct {
	For     string   `json:"for" doc:"What is placed."`
	Chosen  *Ref     `json:"chosen,omitempty" doc:"Host or pool that was chosen; absent if none fits."`
	Name    string   `json:"name,omitempty" doc:"Its name."`
	Score   float64  `json:"score,omitempty" doc:"How well it fits; higher is better."`
	Refused []Reason `json:"refused" doc:"Why each of the others does not do." nullable:"false"`
}

// Order is that of a list: ids and positions grow with time.
type Order string

// The orders of a list; "" is OrderOldest.
const (
	OrderOldest Order = "oldest" // the oldest first
	OrderNewest Order = "newest" // the newest first
)

// Query selects resources of one kind, in the order of their ids.
type Query struct {
	Kind Kind
	// Name, if not empty, must match exactly.
	Name string
	// Phases, if any, of which one must match.
	Phases []Phase
	// Facets and Labels must all match.
	Facets map[string]string
	Labels map[string]string
	Order  Order
	// After is the id to go on after, in this order; "" = from the start.
	After string
	// Limit bounds the page; 0 = 100.
	Limit int
}

// Page is one page of a list.
type Page struct {
	Items []Resource
	// Next is the id to go on after; "" = there is no more.
	Next string
	// Revision of the state the page was read from.
	Revision uint64
}

// Resolution is what an operator decides on an operation, or anybody who may on
// one of theirs.
type Resolution string

// The resolutions. Cancel works on any operation that has not ended; the others
// on those that need an operator.
const (
	ResolutionCancel  Resolution = "cancel"
	ResolutionRetry   Resolution = "retry"
	ResolutionUnwind  Resolution = "unwind"
	ResolutionAbandon Resolution = "abandon"
)
