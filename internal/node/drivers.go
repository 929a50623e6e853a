package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// drivers connects the zone's drivers to their processes on this node.
type drivers struct {
	node     string
	alone    bool // no other node can be reached
	founder  bool // it began the cluster: what names no node is of before there were others
	host     *host.Host
	state    *persistence.Machine
	guestUID uint32
	spool    string
	log      *slog.Logger
	propose  func(ctx context.Context, cmd persistence.Command) (persistence.Result, error)

	manifests map[string]host.Manifest // by product
	// inForce is what the processes were made of, by product. It belongs to start,
	// and then to follow.
	inForce map[string]resources.DriverSpec

	mu        sync.Mutex
	described map[string]description
	learned   chan struct{} // closed when another driver was described
	paths     map[pathsAsked]pathsFound
}

// pathsAsked and pathsFound remember what pathsOf found: it is asked for each call,
// and changes when a pool or store does, or a driver says what it is.
type pathsAsked struct {
	kind      resources.Kind
	readWrite bool
}

type pathsFound struct {
	changes uint64
	grants  []host.Grant
}

// description is what a driver says of itself.
type description struct {
	properties   []resources.Property
	capabilities map[string]any
	raw          *driverpb.Capabilities
}

// start starts the processes of all drivers that are enabled, with access to what
// the resources bound to them name. Those left by a server before are taken over.
func (d *drivers) start(ctx context.Context) error {
	for product, m := range d.manifests {
		record, err := d.record(product)
		if err != nil {
			return err
		}
		d.recall(record)
		d.inForce[product] = record.Spec
		if !record.Spec.Enabled {
			continue
		}
		if err := d.run(ctx, m, record); err != nil {
			return err
		}
	}
	return d.host.StopUnclaimed(ctx)
}

// run makes a driver run as its record says.
func (d *drivers) run(ctx context.Context, m host.Manifest, record *resources.Driver) error {
	setup := host.Setup{
		Grants:     append(d.knownGrants(m.Name), d.grantsOf(m.Name, record.Spec.Properties)...),
		Properties: record.Spec.Properties, Secrets: record.Spec.Secrets,
	}
	if _, err := d.host.Start(ctx, m, setup); err != nil {
		return fmt.Errorf("starting driver %s: %w", m.Name, err)
	}
	return nil
}

// unavailable says why a driver does not answer.
func (d *drivers) unavailable(product string) error {
	e := &resources.Error{
		Class: resources.ClassUnavailable, Code: "driver-unavailable", Message: "driver " + product + " is not running",
		Remedy: "see \"bulkhead driver show\" for what it says, and the server's log",
	}
	i, err := d.instance(product)
	if err != nil {
		return e
	}
	e.Message = fmt.Sprintf("driver %s is %s", product, i.State())
	if failures := i.LastErrors(); len(failures) > 0 {
		e.Message += ": " + failures[len(failures)-1].Text
	}
	return e
}

// record returns the driver as the zone knows it.
func (d *drivers) record(product string) (found *resources.Driver, err error) {
	err = d.state.View(func(v *persistence.View) error {
		return v.Each(resources.KindDriver, map[string]string{"product": product}, func(r resources.Resource) bool {
			found, _ = r.(*resources.Driver)
			return false
		})
	})
	if err == nil && found == nil {
		err = noDriver(product)
	}
	return found, err
}

func noDriver(product string) error {
	return &resources.Error{
		Class: resources.ClassNotFound, Code: "no-such-driver", Message: fmt.Sprintf("there is no driver %q", product),
		Remedy: "list the drivers to see which there are",
		Fields: []resources.FieldError{{
			Pointer: "/spec/driver", Code: "no-such-driver", Message: "names no installed driver",
		}},
	}
}

// instance returns the running version of a product.
func (d *drivers) instance(product string) (*host.Instance, error) {
	m, ok := d.manifests[product]
	if !ok {
		return nil, noDriver(product)
	}
	i, ok := d.host.Instance(host.InstanceName(m.Name, m.Version))
	if !ok {
		return nil, &resources.Error{
			Class: resources.ClassUnavailable, Code: "driver-unavailable", Message: "driver " + product + " is not running",
			Remedy: "enable it: bulkhead driver update " + product + " --enabled",
		}
	}
	return i, nil
}

// Node implements actors.Drivers.
func (d *drivers) Node() string { return d.node }

// Nodes implements actors.Drivers.
func (d *drivers) Nodes() []string { return []string{d.node} }

// here reports whether what a resource names as its node is this one. A node that is
// alone is all of them: a zone may have been restored under another name. What names
// none is of an older version, and on the node that was there then.
func (d *drivers) here(node string) bool { return d.alone || node == d.node || node == "" && d.founder }

// Conn implements actors.Drivers, for places on this node.
func (d *drivers) Conn(ctx context.Context, place operations.Place) (grpc.ClientConnInterface, string, error) {
	i, err := d.instance(place.Product)
	if err != nil {
		return nil, "", err
	}
	grants := append(d.grantsOf(place.Product, place.Properties), present(d.sharedGrants(i.Manifest()))...)
	if len(grants) > 0 {
		if err := d.host.EnsureGrants(ctx, i.Name(), grants); err != nil {
			return nil, "", d.blame(place.Product, place.Properties, err)
		}
	}
	return i.Conn(), i.Manifest().Version, nil
}

// present leaves out what is not there: a pool that was lost is no reason to keep a driver from all others.
func present(grants []host.Grant) []host.Grant {
	return slices.DeleteFunc(grants, func(g host.Grant) bool {
		_, err := os.Lstat(g.Path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Console implements actors.Drivers.
func (d *drivers) Console(ctx context.Context, place operations.Place, socket string) (io.ReadWriteCloser, error) {
	i, err := d.instance(place.Product)
	if err != nil {
		return nil, err
	}
	return d.host.Dial(ctx, i.Name(), socket)
}

// blame names the property whose path was refused.
func (d *drivers) blame(product string, properties map[string]any, err error) error {
	e, ok := errors.AsType[*resources.Error](operations.FromFault(err))
	if !ok || len(e.Fields) > 0 {
		return err
	}
	d.mu.Lock()
	about := d.described[product].properties
	d.mu.Unlock()
	for _, p := range about {
		path, given := properties[p.Key].(string)
		if given && p.PathAccess != "" && strings.Contains(e.Message, path) {
			e.Fields = []resources.FieldError{{Pointer: "/spec/properties/" + p.Key, Code: e.Code, Message: e.Message}}
		}
	}
	return e
}

// GuestUID implements actors.Drivers.
func (d *drivers) GuestUID(context.Context, string) (uint32, error) { return d.guestUID, nil }

// grantsOf lists the paths that properties name.
func (d *drivers) grantsOf(product string, properties map[string]any) []host.Grant {
	d.mu.Lock()
	about := d.described[product].properties
	d.mu.Unlock()
	var grants []host.Grant
	for _, p := range about {
		path, ok := properties[p.Key].(string)
		if !ok || p.PathAccess == "" || path == "" {
			continue
		}
		for one := range strings.SplitSeq(path, ":") {
			grants = append(grants, host.Grant{Path: one, ReadWrite: p.PathAccess == accessReadWrite})
		}
	}
	return grants
}

const (
	accessRead      = "read"
	accessReadWrite = "read-write"
)

// knownGrants lists the paths that the resources bound to a product name.
func (d *drivers) knownGrants(product string) []host.Grant {
	var grants []host.Grant
	own := func(r resources.Resource) []host.Grant {
		place := operations.PlaceOf(r)
		if !d.here(place.Node) {
			return nil
		}
		return d.grantsOf(product, place.Properties)
	}
	bound := []resources.Kind{resources.KindPool, resources.KindImageStore, resources.KindHost, resources.KindNetwork}
	err := d.state.View(func(v *persistence.View) error {
		for _, kind := range bound {
			err := v.Each(kind, map[string]string{"driver": product}, func(r resources.Resource) bool {
				if r.Metadata().Phase != resources.PhaseFailed { // its paths may never have been given
					grants = append(grants, own(r)...)
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.log.Warn("reading the paths a driver needs failed", slog.String("driver", product), slog.Any("error", err))
	}
	return append(grants, d.sharedGrants(d.manifests[product])...)
}

// sharedGrants lists the paths that drivers need of others, by what they can do:
// image drivers the spool of uploads, storage of files the templates it copies,
// hypervisors that open files the pools and templates guests' disks are in.
func (d *drivers) sharedGrants(m host.Manifest) []host.Grant {
	d.mu.Lock()
	can := d.described[m.Name].raw
	d.mu.Unlock()
	var grants []host.Grant
	if slices.Contains(can.GetImageSources(), "upload") {
		grants = append(grants, host.Grant{Path: d.spool, ReadWrite: true})
	}
	opens := slices.Contains(can.GetVolumeProtocols(), protocolFile)
	if opens || can.GetProtocol() == protocolFile {
		grants = append(grants, d.pathsOf(resources.KindImageStore, false)...)
	}
	if opens {
		grants = append(grants, d.pathsOf(resources.KindPool, true)...)
	}
	return grants
}

// protocolFile is how volumes that are files on the host are opened.
const protocolFile = "file"

// pathsOf lists the paths that the ready resources of a kind are kept in.
func (d *drivers) pathsOf(kind resources.Kind, readWrite bool) []host.Grant {
	asked, changes := pathsAsked{kind, readWrite}, d.state.Changes(kind)
	d.mu.Lock()
	last, known := d.paths[asked]
	learned := d.learned
	d.mu.Unlock()
	if known && last.changes == changes {
		return slices.Clone(last.grants)
	}
	grants, err := d.readPaths(kind, readWrite)
	if err != nil {
		d.log.Warn("reading paths failed", slog.String("kind", string(kind)), slog.Any("error", err))
		return grants
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.learned == learned {
		d.paths[asked] = pathsFound{changes: changes, grants: slices.Clone(grants)}
	}
	return grants
}

func (d *drivers) readPaths(kind resources.Kind, readWrite bool) (grants []host.Grant, err error) {
	err = d.state.View(func(v *persistence.View) error {
		return v.Each(kind, map[string]string{"phase": string(resources.PhaseReady)}, func(r resources.Resource) bool {
			place := operations.PlaceOf(r)
			if !d.here(place.Node) {
				return true
			}
			for _, g := range d.grantsOf(place.Product, place.Properties) {
				if g.ReadWrite {
					grants = append(grants, host.Grant{Path: g.Path, ReadWrite: readWrite})
				}
			}
			return true
		})
	})
	return grants, err
}

const describeTimeout = 10 * time.Second

// learn asks a running instance what it is, and has the zone remember it: at the
// next start it is known before the driver runs.
func (d *drivers) learn(ctx context.Context, i *host.Instance) error {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	reply, err := driverpb.NewBaseClient(i.Conn()).Describe(ctx, &driverpb.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("asking driver %s for its description: %w", i.Name(), err)
	}
	about := describe(reply)
	record, err := d.record(i.Manifest().Name)
	if err != nil {
		return err
	}
	if len(about.properties) == 0 && len(record.Status.Properties) > 0 {
		return fmt.Errorf("driver %s describes none of its properties any more: what it said before stays", i.Name())
	}
	d.set(i.Manifest().Name, about)
	if reflect.DeepEqual(record.Status.Properties, about.properties) &&
		reflect.DeepEqual(record.Status.Capabilities, about.capabilities) {
		return nil
	}
	record.Status.Properties, record.Status.Capabilities = about.properties, about.capabilities
	doc, err := d.state.Codec().Seal(record)
	if err != nil {
		return err
	}
	_, err = d.propose(ctx, &persistence.Bootstrap{Documents: []*persistence.Document{doc}})
	return err
}

// recall takes up what the zone remembers of a driver.
func (d *drivers) recall(record *resources.Driver) {
	if len(record.Status.Properties) > 0 {
		d.set(record.Spec.Product, description{
			properties: record.Status.Properties, capabilities: record.Status.Capabilities,
			raw: capabilities(record.Status.Capabilities),
		})
	}
}

func (d *drivers) set(product string, about description) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.described[product] = about
	clear(d.paths)
	close(d.learned)
	d.learned = make(chan struct{})
}

// describe joins what is known of a driver's processes to its record.
func (d *drivers) describe(r resources.Resource) resources.Resource {
	record, ok := r.(*resources.Driver)
	if !ok {
		return r
	}
	d.mu.Lock()
	about, known := d.described[record.Spec.Product]
	d.mu.Unlock()
	if known { // else the zone still knows what it said of itself before
		record.Status.Properties, record.Status.Capabilities = about.properties, about.capabilities
	}
	record.Status.Instances = nil // a change of the record may have written down what ran then
	i, err := d.instance(record.Spec.Product)
	if err != nil {
		return record
	}
	report := i.Report()
	shown := resources.Instance{
		Node: d.node, State: string(i.State()), PID: i.PID(), StartedAt: i.StartedAt().UTC(), Restarts: i.Restarts(),
		Isolation: string(report.Level), Applied: report.Applied,
	}
	if shown.PID != 0 {
		shown.Health, shown.Reason = healthWords(i.Health())
	}
	for _, m := range report.Missing {
		shown.Missing = append(shown.Missing, resources.MissingIsolation{
			Mechanism: m.Mechanism, Reason: m.Reason, Remedy: m.Remedy,
		})
	}
	if failures := i.LastErrors(); len(failures) > 0 {
		shown.LastError = failures[len(failures)-1].Text
	}
	record.Status.Instances = []resources.Instance{shown}
	return record
}

// healthWords says in the API's words what a driver says of itself; nothing while it was not asked.
func healthWords(h host.Health) (health, reason string) {
	switch h.Readiness {
	case driverpb.ProbeReply_HEALTH_READY:
		return "ready", ""
	case driverpb.ProbeReply_HEALTH_DEGRADED:
		return "degraded", operations.Words(h.Reason)
	case driverpb.ProbeReply_HEALTH_UNREADY:
		return "unready", operations.Words(h.Reason)
	case driverpb.ProbeReply_HEALTH_UNSPECIFIED:
	}
	return "", ""
}

// regrant gives an instance the paths of the resources bound to it, now that it
// has said which of its properties name paths.
func (d *drivers) regrant(ctx context.Context, i *host.Instance) error {
	grants := present(d.knownGrants(i.Manifest().Name))
	if len(grants) == 0 {
		return nil
	}
	return d.host.EnsureGrants(ctx, i.Name(), grants)
}

// categoryName turns CATEGORY_OUT_OF_BAND into out-of-band.
func categoryName(enum string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(enum, "CATEGORY_")), "_", "-")
}
