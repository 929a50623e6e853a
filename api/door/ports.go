package door

import (
	"context"
	"io"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Consistency says how fresh the state must be that a request is answered from. The
// zero value asks for everything that any node has answered before.
type Consistency struct {
	// Stale says that what the node has will do: no other node is asked.
	Stale bool
	// AtLeast is a revision that the node must have; 0 = any.
	AtLeast uint64
}

// Freshness tells how new the state is that a node has.
type Freshness interface {
	// Consistent returns once the state of this node is as fresh as asked for, with
	// the revision it has then: reads that begin afterwards find that or more. Unless
	// c is stale it asks a majority of the nodes; a node that is the only one has
	// nobody to ask and answers at once. It waits until ctx ends, or fails before with
	// class unavailable if nobody can tell. The revision is returned with an error too.
	Consistent(ctx context.Context, c Consistency) (revision uint64, err error)
	// Changes counts the changes of resources of a kind that this node knows of: what was read after it answered
	// a number is as it was read while it answers the same.
	Changes(kind resources.Kind) uint64
}

// Reader reads the agreed state of a zone, as this node has it. What it returns is
// shared and must not be changed. All methods may be called concurrently.
type Reader interface {
	Freshness
	// Get returns one resource and the revision of the state it was read from, or a
	// *resources.Error of class not-found, with the revision too.
	Get(ctx context.Context, ref resources.Ref) (r resources.Resource, revision uint64, err error)
	// List returns one page of resources of a kind, in the order of their ids or
	// against it.
	List(ctx context.Context, q resources.Query) (resources.Page, error)
	// Events calls yield for every event after a position, in order, and goes on
	// with new ones until ctx ends or yield answers false; both are no error. If
	// events after the position are no longer kept, it fails at once with class
	// gone.
	Events(ctx context.Context, from resources.Position, yield func(resources.Event) bool) error
	// AuditLog returns at most limit lines that come after a position in an order,
	// and the revision of the state they were read from; the zero position is before
	// all.
	AuditLog(
		ctx context.Context, after resources.Position, order resources.Order, limit int,
	) (lines []resources.Audit, revision uint64, err error)
	// Repeated returns the operation that a request of a principal with an
	// idempotency key became before, or nil. It fails as Engine.Submit does when the
	// key was used for another request.
	Repeated(ctx context.Context, principal, key string, fingerprint []byte) (*resources.Operation, error)
}

// Control is what is written down at once, and no operation.
type Control interface {
	// Resolve takes down what somebody decides on an operation.
	Resolve(ctx context.Context, id resources.OperationID, r resources.Resolution, o resources.Origin,
	) (*resources.Operation, error)
	// Suspend holds back work on a resource, or lets it go on. It is idempotent.
	Suspend(ctx context.Context, ref resources.Ref, suspended bool, o resources.Origin) (resources.Resource, error)
	// Refused writes into the audit log that the origin was not allowed an action, and why.
	Refused(ctx context.Context, action string, target resources.Ref, why string, o resources.Origin) error
}

// Engine changes a zone. Errors are or wrap a *resources.Error. All methods may
// be called concurrently.
type Engine interface {
	Control
	// Submit accepts an action as an operation, durably. For "create" the target's
	// id is chosen by the engine and is found in the operation's target. With an
	// idempotency key a repetition answers with the first operation; another
	// fingerprint under the same key is refused with class invalid and the code
	// idempotency-key-reused.
	Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error)
	// Plan says what Submit would do and does nothing.
	Plan(ctx context.Context, s resources.Submission) (*resources.Plan, error)
	// Wait returns the operation once it has ended or needs an operator; when ctx
	// ends before, it returns the operation as it stands and no error.
	Wait(ctx context.Context, id resources.OperationID) (*resources.Operation, error)
	// Console connects to a machine's console of a kind, "serial" or "vnc". The
	// caller closes it.
	Console(ctx context.Context, id resources.MachineID, kind string) (io.ReadWriteCloser, error)
}
