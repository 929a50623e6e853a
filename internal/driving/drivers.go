package driving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// State is what the zone says of drivers and of the resources that name one.
type State interface {
	// Versions returns the records of a product's versions, of all products if it is "": each with its secrets apart from
	// its other properties, in clear.
	Versions(product string) ([]*resources.Driver, error)
	// Bound calls yield for each resource of a kind that names a driver, until it answers false.
	Bound(kind resources.Kind, yield func(b Bound) bool) error
	// Changes grows whenever a resource of the kind changes.
	Changes(kind resources.Kind) uint64
}

// Bound is a resource that names the driver which acts for it.
type Bound struct {
	Product, Node string
	Phase         resources.Phase
	// Shared says that its paths lead to the same directories on all nodes and host agents.
	Shared bool
	// Properties hold at least those that name paths.
	Properties map[string]any
}

// BuiltIn is a driver that ships in the server's own program and runs, as any
// other, in a process of its own.
type BuiltIn struct {
	// Name is what the program is called with to become the driver.
	Name     string
	New      func(env sdk.Environment) (sdk.Driver, error)
	Manifest func(executable string) host.Manifest
	// Messages has a folder "messages" of message files, as an archive has below resources; nil = there are none.
	Messages fs.FS
}

// Config of Drivers.
type Config struct {
	// Node is the name of the node or agent that this is.
	Node string
	// Here reports whether what a resource names as its node is this one.
	Here func(node string) bool
	// Host says how processes are run; OnStart is set by Open.
	Host host.Config
	// BuiltIns are the drivers that ship with the program, Executable what they are run from.
	BuiltIns   []BuiltIn
	Executable string
	// Spool is the directory of uploads; "" = there are none here.
	Spool string
	// Shelf has the archives of versions that are installed; nil = none are run here.
	Shelf *shelf.Shelf
	State State
	// Remember is given the record of a driver that says something else of itself than the record does; nil = nobody
	// is to know.
	Remember func(ctx context.Context, record *resources.Driver) error
	// Started is called, with the context of that run, whenever a process of a version has begun to run, or was found
	// running, and has its paths.
	Started func(ctx context.Context, v Version)
	// Program is the version of the program; "" = nobody knows.
	Program string
	Log     *slog.Logger
}

// Drivers connects the zone's drivers to their processes on this machine. It
// implements relay.Drivers. Safe for concurrent use.
type Drivers struct {
	node     string
	host     *host.Host
	state    State
	guestUID uint32
	spool    string
	shelf    *shelf.Shelf
	log      *slog.Logger
	isHere   func(node string) bool
	remember func(ctx context.Context, record *resources.Driver) error
	started  func(ctx context.Context, v Version)
	program  string
	// recheck receives when a version was found to be not what it was.
	recheck chan struct{}

	// inForce is what the processes were made of. It belongs to Start, and then to
	// Follow.
	inForce map[Version]resources.DriverSpec
	// archives are those that the zone knew when it was last looked at. It belongs to whom
	// inForce does.
	archives map[string]bool

	mu       sync.Mutex
	versions map[Version]*version // that are here
	troubles map[Version]trouble  // of those that are installed and can't be run here
	// resolved remembers which version acts where one is asked for, at a count of changes.
	resolved   map[Version]Version
	resolvedAt uint64
	described  map[Version]description
	learned    chan struct{} // closed when another driver was described
	paths      map[pathsAsked]pathsFound
	// namingPaths remembers which properties of a product name paths, as long as nobody says anything else of it.
	namingPaths map[string][]resources.Property
}

var _ relay.Drivers = (*Drivers)(nil)

// Open finds the processes that were left running. None is started before Start.
func Open(c Config) (*Drivers, error) {
	d := &Drivers{
		node: c.Node, state: c.State, guestUID: c.Host.GuestUID, spool: c.Spool, log: c.Log, isHere: c.Here,
		remember: c.Remember, started: c.Started, versions: map[Version]*version{}, troubles: map[Version]trouble{},
		shelf: c.Shelf, recheck: make(chan struct{}, 1), resolved: map[Version]Version{},
		inForce: map[Version]resources.DriverSpec{}, described: map[Version]description{},
		learned: make(chan struct{}), paths: map[pathsAsked]pathsFound{}, program: c.Program,
		namingPaths: map[string][]resources.Property{},
	}
	if os.Geteuid() != 0 {
		d.guestUID = uint32(os.Geteuid())
	}
	for _, b := range c.BuiltIns {
		one := &version{Version: Version{Product: b.Manifest(c.Executable).Name}, manifest: b.Manifest(c.Executable)}
		d.versions[one.Version] = one
		if b.Messages == nil {
			continue
		}
		var err error
		if one.messages, err = property.ReadMessages(b.Messages, "messages"); err != nil {
			return nil, fmt.Errorf("driver %s: %w", one.Product, err)
		}
	}
	c.Host.OnStart, c.Host.Check = d.hasStarted, d.check
	var err error
	if d.host, err = host.Open(c.Host); err != nil {
		return nil, err
	}
	return d, nil
}

// Close lets go of all processes, which run on.
func (d *Drivers) Close() { d.host.Close() }

// Stop ends the driver processes, in the reverse order of their start. What they launched runs on.
func (d *Drivers) Stop(ctx context.Context) error {
	var running []*version
	for _, i := range d.host.Instances() {
		if one, here := d.here(d.versionOf(i)); here {
			running = append(running, one)
		}
	}
	var errs []error
	for _, one := range lastFirst(running) {
		errs = append(errs, d.host.Stop(ctx, one.instanceName()))
	}
	for _, i := range slices.Backward(d.host.Instances()) { // of what is known no more
		errs = append(errs, d.host.Stop(ctx, i.Name()))
	}
	return errors.Join(errs...)
}

// hasStarted learns what a driver is and gives it its paths back.
func (d *Drivers) hasStarted(ctx context.Context, i *host.Instance) {
	if d.blocked() {
		d.lookAgain()
	}
	log := d.log.With(slog.String("driver", i.Name()))
	if err := d.learn(ctx, i); err != nil {
		log.Warn("a driver does not describe itself", slog.Any("error", err))
		return
	}
	if err := d.regrant(ctx, i); err != nil {
		if ctx.Err() != nil {
			return // it is started again with its paths, and this is called again
		}
		log.Warn("a driver can't be given its paths", slog.Any("error", err))
	}
	d.started(ctx, d.versionOf(i))
}

// Start starts the processes of all drivers that are enabled, in their order, with access to what the resources bound
// to them name. Those left by a server before are taken over.
func (d *Drivers) Start(ctx context.Context) error {
	records, err := d.state.Versions("")
	if err != nil {
		return err
	}
	if err := d.keepOnly(records); err != nil {
		return err
	}
	for _, record := range records {
		d.recall(record)
	}
	if err := d.enforce(ctx, records); err != nil {
		d.log.Warn("a driver can't be made what its record says; it is tried again", slog.Any("error", err))
		for _, record := range records {
			if t, failed := d.troubleOf(VersionOf(record)); failed && record.Spec.BuiltIn && t.state == resources.TroubleFailed {
				return err
			}
		}
		d.lookAgain()
	}
	return d.host.StopUnclaimed(ctx)
}

// lookAgain has Follow look whether what could not be run can be now.
func (d *Drivers) lookAgain() {
	select {
	case d.recheck <- struct{}{}:
	default:
	}
}

// run makes a driver run as its record says.
func (d *Drivers) run(ctx context.Context, one *version, record *resources.Driver) error {
	setup := setupOf(record)
	setup.Grants = append(d.knownGrants(one.Version), d.grantsOf(one.Product, record.Spec.Properties)...)
	if _, err := d.host.Start(ctx, one.manifest, setup); err != nil {
		return fmt.Errorf("starting driver %s: %w", one.String(), err)
	}
	return nil
}

func setupOf(record *resources.Driver) host.Setup {
	return host.Setup{Properties: record.Spec.Properties, Secrets: record.Spec.Secrets}
}

// unavailable says why a driver does not answer.
func (d *Drivers) unavailable(v Version) error {
	e := &resources.Error{
		Class: resources.ClassUnavailable, Code: "driver-unavailable", Message: "driver " + v.String() + " is not running",
		Remedy: "see \"bulkhead driver show\" for what it says, and the server's log",
	}
	i, err := d.instance(v)
	if err != nil {
		return e
	}
	e.Message = fmt.Sprintf("driver %s is %s", v, i.State())
	if failures := i.LastErrors(); len(failures) > 0 {
		e.Message += ": " + failures[len(failures)-1].Text
	}
	return e
}

// NoDriver says that there is no driver of a name.
func NoDriver(product string) error {
	return &resources.Error{
		Class: resources.ClassNotFound, Code: "no-such-driver", Message: fmt.Sprintf("there is no driver %q", product),
		Remedy: "list the drivers to see which there are",
		Fields: []resources.FieldError{{
			Pointer: "/spec/driver", Code: "no-such-driver", Message: "names no installed driver",
		}},
	}
}

// instance returns the process of a version.
func (d *Drivers) instance(v Version) (*host.Instance, error) {
	one, here := d.here(v)
	if here {
		if i, runs := d.host.Instance(one.instanceName()); runs {
			return i, nil
		}
	}
	t, troubled := d.troubleOf(v)
	switch {
	case troubled:
		return nil, inTrouble(v, t)
	case !here:
		return nil, absent(v)
	}
	record, err := d.record(v)
	if err != nil {
		record = &resources.Driver{Meta: resources.Meta{Name: v.Product}}
	}
	return nil, notRunning(v, record)
}

// notRunning says why a version has no process, and is not in trouble. One that is enabled is about to be started: this
// node was itself, or it was enabled just now.
func notRunning(v Version, record *resources.Driver) error {
	if record.Spec.Enabled {
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: resources.CodeNotReady,
			Message: "driver " + v.String() + " is being started", Remedy: "try again in a moment",
		}
	}
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "driver-unavailable", Message: "driver " + v.String() + " is not running",
		Remedy: "enable it: bulkhead driver enable " + record.Name,
	}
}

// Conn implements relay.Drivers.
func (d *Drivers) Conn(ctx context.Context, p relay.Place) (grpc.ClientConnInterface, string, error) {
	v, i, err := d.acting(p)
	if err != nil {
		return nil, "", err
	}
	grants := append(d.grantsOf(p.Product, p.Properties), present(d.sharedGrants(v))...)
	if len(grants) > 0 {
		if err := d.host.EnsureGrants(ctx, i.Name(), grants); err != nil {
			return nil, "", d.blame(p.Product, p.Properties, err)
		}
	}
	return i.Conn(), i.Manifest().Version, nil
}

// Attach has the processes of a developer's session take the place of the one here of a version: see host.Attach.
func (d *Drivers) Attach(record *resources.Driver, session, who string) (*host.Attachment, error) {
	i, err := d.instance(VersionOf(record))
	if err != nil {
		return nil, err
	}
	return d.host.Attach(i.Name(), session, who)
}

// Console implements relay.Drivers.
func (d *Drivers) Console(ctx context.Context, p relay.Place, socket string) (io.ReadWriteCloser, error) {
	_, i, err := d.acting(p)
	if err != nil {
		return nil, err
	}
	return d.host.Dial(ctx, i.Name(), socket)
}

// Enter makes a socket for one connection of a driver, joined to far, which is closed when that fails.
func (d *Drivers) Enter(p relay.Place, far io.ReadWriteCloser) (relay.Entry, error) {
	_, i, err := d.acting(p)
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	return d.host.Tunnel(i.Name(), far)
}

// GuestUID implements relay.Drivers.
func (d *Drivers) GuestUID(context.Context) (uint32, error) { return d.guestUID, nil }
