package actors

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
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
}

// Drivers connects to driver processes.
type Drivers interface {
	// Conn returns the connection to the instance of a product, and the version it
	// runs. Where a property names a path on the host, the instance is given
	// access to it first. It fails with class unavailable while there is none.
	Conn(ctx context.Context, product string, properties map[string]any) (
		conn grpc.ClientConnInterface, version string, err error)
	// Console connects to the unix socket that a driver named as the one a console is
	// reached by. It is refused unless the driver, or the guest's own process, serves it.
	Console(ctx context.Context, product, socket string) (io.ReadWriteCloser, error)
	// GuestUID is the user guests run as on this host.
	GuestUID() uint32
	// Overlap names the property of a that leads to a directory which b may write to,
	// into one or around one, whatever names it goes by; "" = none does.
	Overlap(a, b operations.Place) (property string)
}
