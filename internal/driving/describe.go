package driving

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// description is what a driver says of itself.
type description struct {
	sheet        *property.Descriptor // compiled once, for as long as the driver says the same
	capabilities map[string]any
	actions      []resources.ActionRole
	raw          *driverpb.Capabilities
}

const (
	describeTimeout = 10 * time.Second
	rememberRetry   = 200 * time.Millisecond
)

// learn asks a running instance what it is, and has the zone remember it: at the
// next start it is known before the driver runs.
func (d *Drivers) learn(ctx context.Context, i *host.Instance) error {
	asking, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	reply, err := driverpb.NewBaseClient(i.Conn()).Describe(asking, &driverpb.DescribeRequest{})
	if err != nil {
		return fmt.Errorf("asking driver %s for its description: %w", i.Name(), err)
	}
	about, err := describe(reply)
	if err != nil {
		return fmt.Errorf("driver %s: %w", i.Name(), err)
	}
	properties := about.sheet.All()
	v := d.versionOf(i)
	record, err := d.record(v)
	if err != nil {
		return err
	}
	if len(properties) == 0 && len(record.Status.Properties) > 0 {
		return fmt.Errorf("driver %s describes none of its properties any more: what it said before stays", i.Name())
	}
	was := record.Status
	record.Status.Properties, record.Status.Capabilities = properties, about.capabilities
	record.Status.Actions = about.actions
	record.Status.HandleReads, record.Status.HandleWrites = i.Handles()
	record.Status.Permissions = i.Manifest().Permissions.Words()
	if d.remember != nil && !saysTheSame(was, record.Status) {
		// Before anybody can go by it: what is secret is known by the record.
		err = d.insist(ctx, record)
	}
	d.set(v, about)
	return err
}

// insist has the zone remember a record, for as long as it can't be asked to.
func (d *Drivers) insist(ctx context.Context, record *resources.Driver) error {
	for {
		trying, cancel := context.WithTimeout(ctx, describeTimeout)
		err := d.remember(trying, record)
		cancel()
		if err == nil || !resources.AsError(err).Retryable() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rememberRetry):
		}
	}
}

// Declared is what an archive says of its driver: the same as the driver says of itself when it runs. With it a driver
// can be given the settings that it does not start without.
func Declared(d *archive.Declaration) (resources.DriverStatus, error) {
	reply, err := d.Describe()
	if err != nil {
		return resources.DriverStatus{}, err
	}
	about, err := describe(reply)
	if err != nil {
		return resources.DriverStatus{}, err
	}
	return resources.DriverStatus{
		Properties: lasting(about.sheet.All()), Capabilities: about.capabilities, Actions: about.actions,
	}, nil
}

// saysTheSame reports whether a driver says of itself what it said before.
func saysTheSame(was, is resources.DriverStatus) bool {
	return reflect.DeepEqual(lasting(was.Properties), lasting(is.Properties)) &&
		reflect.DeepEqual(was.Capabilities, is.Capabilities) && slices.Equal(was.Permissions, is.Permissions) &&
		slices.Equal(was.Actions, is.Actions) &&
		slices.Equal(was.HandleReads, is.HandleReads) && was.HandleWrites == is.HandleWrites
}

// isCurrent reports whether new resources are bound to a version.
func (d *Drivers) isCurrent(v Version) bool {
	current, err := d.resolve(v.Product, "")
	return err == nil && current == v
}

// record returns the record of a version.
func (d *Drivers) record(v Version) (*resources.Driver, error) {
	records, err := d.state.Versions(v.Product)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if VersionOf(r) == v {
			return r, nil
		}
	}
	return nil, NoDriver(v.Product)
}

// lasting is what the zone keeps of properties.
func lasting(all []resources.Property) []resources.Property {
	kept := slices.Clone(all)
	for i := range kept {
		kept[i].Group, kept[i].LabelKey, kept[i].DescriptionKey = "", "", ""
	}
	return kept
}

// recall takes up what the zone remembers of a driver, if it was told anything: which paths its process needs from the
// start, too.
func (d *Drivers) recall(record *resources.Driver) {
	if len(record.Status.Properties) == 0 && len(record.Status.Capabilities) == 0 {
		return
	}
	sheet, err := property.Compile(record.Status.Properties)
	if err != nil {
		d.log.Warn("what is remembered of a driver makes no sense; it is asked again when it runs",
			slog.String("driver", record.Spec.Product), slog.Any("error", err))
		return
	}
	d.set(VersionOf(record), description{
		sheet: sheet, capabilities: record.Status.Capabilities, raw: capabilities(record.Status.Capabilities),
		actions: record.Status.Actions,
	})
}

func (d *Drivers) set(v Version, about description) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.described[v] = about
	clear(d.paths)
	clear(d.namingPaths)
	close(d.learned)
	d.learned = make(chan struct{})
}

// Describe joins what is known of a driver's processes to its record.
func (d *Drivers) Describe(r resources.Resource) resources.Resource {
	record, ok := r.(*resources.Driver)
	if !ok {
		return r
	}
	d.mu.Lock()
	v := VersionOf(record)
	about, known := d.described[v]
	d.mu.Unlock()
	if known { // else the zone still knows what it said of itself before
		record.Status.Properties, record.Status.Capabilities = about.sheet.All(), about.capabilities
		record.Status.Actions = about.actions
	}
	record.Status.Current = d.isCurrent(v)
	record.Status.Instances = nil // a change of the record may have written down what ran then
	if shown, some := d.Instances()[v]; some {
		record.Status.Instances = []resources.Instance{shown}
	}
	return record
}

// Instances lists the processes here, by version, and the versions that should have one and can't.
func (d *Drivers) Instances() map[Version]resources.Instance {
	shown := d.shownTroubles()
	for _, i := range d.host.Instances() {
		shown[d.versionOf(i)] = d.show(i)
	}
	return shown
}

func (d *Drivers) show(i *host.Instance) resources.Instance {
	report := i.Report()
	shown := resources.Instance{
		Node: d.node, State: string(i.State()), PID: i.PID(), StartedAt: i.StartedAt().UTC(), Restarts: i.Restarts(),
		Isolation: string(report.Level), Applied: report.Applied,
	}
	attached := i.Attached() != ""
	if attached {
		shown.Isolation += " (attached)"
	}
	if shown.PID != 0 || attached {
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
	return shown
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
