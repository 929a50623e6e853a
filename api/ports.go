package api

import (
	"context"
	"io"
	"net"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Reader reads the zone; see door.Reader for what each method promises.
type Reader = door.Reader

// Engine changes the zone; see door.Engine for what each method promises.
type Engine = door.Engine

// Consistency says how fresh the state must be that a request is answered from; see
// door.Consistency.
type Consistency = door.Consistency

// Cluster knows and changes the nodes of the zone; see door.Cluster for what each
// method promises.
type Cluster = door.Cluster

// Drivers knows what the installed drivers understand.
type Drivers interface {
	// Validate checks the properties given to a driver. It fails with a *resources.Error: class not-found if no
	// such driver is installed, class invalid with fields whose pointers are relative to the properties ("/path").
	Validate(ctx context.Context, check resources.PropertyCheck) error
	// Schema returns the properties of a scope as JSON Schema, with its texts in the language that comes nearest to
	// those of an Accept-Language header. It fails with class not-found if no such driver is installed.
	Schema(ctx context.Context, d *resources.Driver, scope, languages string) (map[string]any, error)
	// Translate returns the properties of a driver with their texts in that language.
	Translate(d *resources.Driver, languages string) []resources.Property
	// DriverFigures says how the instances of a driver do, on all nodes and agents that answer in time.
	DriverFigures(ctx context.Context, d *resources.Driver, q resources.FiguresQuery) (resources.DriverFigures, error)
	// DriverLogs has what the processes of a driver printed last, on all nodes and agents that answer in time, or on the
	// one that was asked for. It fails with class invalid if there is no such one.
	DriverLogs(ctx context.Context, d *resources.Driver, q resources.LogsQuery) (resources.DriverLogs, error)
}

// Bindings knows which version of a driver acts for what.
type Bindings interface {
	// Acting tells which version acts for a resource. It fails with class not-found if none does.
	Acting(ctx context.Context, r resources.Resource) (resources.ActingDriver, error)
	// SwapProgress tells how far a swap is, with so many at most of the resources that are left.
	SwapProgress(ctx context.Context, s *resources.Swap, most int) (resources.SwapProgress, error)
}

// Archives takes the archives that drivers are installed from.
type Archives interface {
	// TakeArchive reads an archive to its end, checks all of it and keeps it, durably, on more than one node if there are
	// several. It returns the record of its version: the one that there is, which has an id, or one that is to be
	// created. It fails with class invalid if something is wrong with the archive, and with class conflict if there is
	// another archive of the same version. What is not submitted then is forgotten.
	TakeArchive(ctx context.Context, from io.Reader) (*resources.Driver, error)
	// InstalledFrom finds the record that a version from the same archive has now; what TakeArchive made of it if there
	// is none.
	InstalledFrom(ctx context.Context, d *resources.Driver) (*resources.Driver, error)
}

// Developing has processes that developers run take the places of drivers'.
type Developing interface {
	// Attach has the processes of a session take the place of the one that the server runs of a version of a driver. Asked
	// again for the same session it answers with the same attachment. It fails with class conflict if another session
	// has it, denied if the server demands isolation, unavailable if the version is not run here.
	Attach(ctx context.Context, d *resources.Driver, session, who string) (Attachment, error)
}

// Attachment is a place that a developer's processes have taken, one after the other.
type Attachment interface {
	// Serve makes calls over a connection until it is broken or ctx ends, and closes it. Tell is called once calls are
	// made, or with why none can be.
	Serve(ctx context.Context, conn net.Conn, tell func(refused error))
	// Detach gives the place back.
	Detach()
}

// Health tells whether the zone can serve.
type Health interface {
	// Ready fails, saying why in words, while requests can't be served here.
	Ready(ctx context.Context) error
}

// Uploads keeps what was uploaded until the engine has made a template of it.
type Uploads interface {
	// Spool writes r to a file that the image driver can read, durably, and returns
	// its path and size. It fails with class too-large if there is more than max
	// bytes, and with class exhausted if there is no room; a failure leaves nothing
	// behind. Every upload has a file of its own, also a second one for the same
	// template: it is not known yet which of them will be taken.
	Spool(ctx context.Context, id resources.TemplateID, r io.Reader, maxBytes int64) (path string, n int64, err error)
	// Discard removes a spooled file that came to nothing. It is idempotent.
	Discard(ctx context.Context, path string) error
}
