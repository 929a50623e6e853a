package actors

import (
	"context"
	"io"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Log is where decisions are agreed on.
type Log interface {
	// Propose returns once the command was applied here, with its result. A
	// refusal by the state is a *resources.Error. An outcome that is not known
	// has class unknown: the caller reads the state to learn it.
	Propose(ctx context.Context, cmd persistence.Command) (persistence.Result, error)
}

// State is the zone's state on this node.
type State interface {
	View(fn func(v *persistence.View) error) error
	// Recent appends the events after a position to into, as many as there is room for, if this node applied them
	// lately. Their resources must not be changed.
	Recent(after resources.Position, into []resources.Event) (events []resources.Event, known bool)
	// Placements counts the changes of the shard table.
	Placements() uint64
	// Changes counts the changes of a kind's resources: what was read after one count holds as long as it stays.
	Changes(kind resources.Kind) uint64
}

// Drivers connects to driver processes.
type Drivers interface {
	operations.Drivers
	// Node is the name of this node, and Nodes are the sorted names of those that a
	// resource can be driven by, this one among them.
	Node() string
	Nodes() []string
	// Console connects to the unix socket that a driver named as the one a console is
	// reached by. It is refused unless the driver, or the guest's own process, serves it.
	Console(ctx context.Context, place operations.Place, socket string) (io.ReadWriteCloser, error)
}
