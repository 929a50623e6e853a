package driving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// changeTimeout bounds how long one driver takes to be started, stopped or
	// configured: its calls are drained first.
	changeTimeout = time.Minute
	// changeRetry is how long to wait before what failed is tried again.
	changeRetry = 5 * time.Second
)

// Follow makes the processes here what the zone's records of drivers say, at once and
// whenever changed receives, until ctx ends. A change that came while it was at work
// must not be lost: changed holds one.
func (d *Drivers) Follow(ctx context.Context, changed <-chan struct{}) {
	for ctx.Err() == nil {
		var again <-chan time.Time
		shelved := d.shelved()
		if err := d.applyAll(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("a driver can't be made what its record says; it is tried again", slog.Any("error", err))
			again = time.After(changeRetry)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-d.recheck:
		case <-shelved:
		case <-again:
		}
	}
}

// applyAll puts in force what is not yet.
func (d *Drivers) applyAll(ctx context.Context) error {
	records, err := d.state.Versions("")
	if err != nil {
		return err
	}
	return errors.Join(d.retire(ctx, records), d.enforce(ctx, records))
}

// sameInForce reports whether what processes were made of is what a record says.
func sameInForce(was, is resources.DriverSpec) bool {
	return was.Enabled == is.Enabled && reflect.DeepEqual(was.Properties, is.Properties) &&
		reflect.DeepEqual(was.Secrets, is.Secrets)
}

// apply puts a record in force: a driver that is disabled has no process, and one
// that is enabled has one that was told its properties. A process that runs is told
// new ones; when it can't take them while it runs, or needs access to other paths
// for them, it is started again.
func (d *Drivers) apply(ctx context.Context, one *version, record *resources.Driver) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	m := one.manifest
	name := host.InstanceName(m.Name, m.Version)
	_, runs := d.host.Instance(name)
	had, needs := d.grantsOf(m.Name, d.inForce[one.Version].Properties), d.grantsOf(m.Name, record.Spec.Properties)
	if runs && record.Spec.Enabled && reflect.DeepEqual(had, needs) {
		_, err := d.host.Start(ctx, m, setupOf(record))
		if err == nil {
			return nil
		}
		d.log.Info("a driver is started again, since it does not take its new properties as it runs",
			slog.String("driver", one.String()), slog.Any("error", err))
	}
	if runs || !record.Spec.Enabled { // one that a server before has left is taken over
		if err := d.host.Stop(ctx, name); err != nil {
			return fmt.Errorf("stopping driver %s: %w", one.String(), err)
		}
	}
	if !record.Spec.Enabled {
		return nil
	}
	return d.run(ctx, one, record)
}
