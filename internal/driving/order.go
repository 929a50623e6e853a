package driving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/lifecycle"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// orderPatience is how long, in all, those that come later wait for those before them to run or to fail. What hangs
// holds nobody up for longer but what requires it.
const orderPatience = 2 * time.Second

// turn is a version that is here, and what the zone says of it.
type turn struct {
	*version
	record *resources.Driver
}

// unitName is what a version is called among those that are ordered.
func (v *version) unitName() string { return v.Product + " " + v.manifest.Version }

// ordered is a version as the order of start sees it.
func (v *version) ordered() lifecycle.Version {
	rank := 0
	if len(v.manifest.Categories) > 0 {
		rank = int(slices.Min(v.manifest.Categories))
	}
	return lifecycle.Version{Product: v.Product, Number: v.manifest.Version, Rank: rank, Requires: v.requires}
}

// orderOf plans the start of some versions.
func orderOf(versions []*version) (*lifecycle.Plan, map[string]lifecycle.Unit) {
	all := make([]lifecycle.Version, len(versions))
	for i, one := range versions {
		all[i] = one.ordered()
	}
	units := lifecycle.Units(all)
	named := map[string]lifecycle.Unit{}
	for _, u := range units {
		named[u.Name] = u
	}
	return lifecycle.Order(units), named
}

// lastFirst puts versions into the order in which they are stopped: the exact reverse of that of their start. What
// could not be started now, though it runs, goes first.
func lastFirst(versions []*version) []*version {
	plan, _ := orderOf(versions)
	place := map[string]int{}
	for i, u := range plan.Start {
		place[u.Name] = len(plan.Start) - i
	}
	sorted := slices.SortedFunc(slices.Values(versions), func(a, b *version) int {
		return strings.Compare(a.unitName(), b.unitName())
	})
	slices.SortStableFunc(sorted, func(a, b *version) int { return place[a.unitName()] - place[b.unitName()] })
	return sorted
}

// enforce makes the processes of versions that are here what their records say: first what is to end does, in the
// reverse order of the start, then what is to run is started in that order. A version that can't be is reported, and
// keeps none from starting but what requires it.
func (d *Drivers) enforce(ctx context.Context, records []*resources.Driver) (failed error) {
	turns := map[string]turn{}
	var all, running []*version
	for _, record := range records {
		one, here := d.bring(ctx, record)
		if !here {
			continue
		}
		turns[one.unitName()] = turn{one, record}
		all = append(all, one)
		if record.Spec.Enabled {
			running = append(running, one)
		}
	}
	for _, one := range lastFirst(all) {
		if t := turns[one.unitName()]; !t.record.Spec.Enabled {
			failed = errors.Join(failed, d.follow(ctx, t))
		}
	}
	plan, units := orderOf(running)
	patience, cancel := context.WithTimeout(ctx, orderPatience)
	defer cancel()
	var before []turn
	rank := 0
	for _, u := range plan.Start {
		if u.Rank != rank {
			d.settle(patience, before)
			before, rank = nil, u.Rank
		}
		t := turns[u.Name]
		for _, name := range units[u.Name].Requires {
			d.settle(patience, []turn{turns[name]})
		}
		failed = errors.Join(failed, d.follow(ctx, t, d.waits(t, units, turns)...))
		before = append(before, t)
	}
	for _, one := range lastFirst(running) {
		if why := plan.Blocked[one.unitName()]; why != nil {
			failed = errors.Join(failed, d.follow(ctx, turns[one.unitName()], d.explain(why, one, records)))
		}
	}
	return failed
}

// settle waits until versions run or have failed.
func (d *Drivers) settle(ctx context.Context, turns []turn) {
	for _, t := range turns {
		if i, found := d.host.Instance(t.instanceName()); found {
			// What hangs is not waited for any longer; whoever requires it looks how it is.
			_ = i.Await(ctx, host.StateRunning, host.StateBackingOff, host.StateCrashLoop, host.StateStopped)
		}
	}
}

func (v *version) instanceName() string { return host.InstanceName(v.Product, v.manifest.Version) }

// waits says which of the versions that one requires do not run.
func (d *Drivers) waits(t turn, units map[string]lifecycle.Unit, turns map[string]turn) (why []error) {
	for _, name := range units[t.unitName()].Requires {
		i, found := d.host.Instance(turns[name].instanceName())
		switch {
		case !found:
			why = append(why, fmt.Errorf("it requires driver %s, which does not run here", name))
		case i.State() != host.StateRunning:
			words := ""
			if failures := i.LastErrors(); len(failures) > 0 {
				words = ": " + failures[len(failures)-1].Text
			}
			why = append(why, fmt.Errorf("it requires driver %s, which is %s here%s", name, i.State(), words))
		}
	}
	return why
}

// explain says why the requirements of a version are not met here, where they are in the zone.
func (d *Drivers) explain(why error, one *version, records []*resources.Driver) error {
	if errors.Is(why, lifecycle.ErrCycle) {
		return why
	}
	for _, r := range one.requires {
		for _, record := range records {
			if _, met := lifecycle.Meets(r, []lifecycle.Version{lifecycle.VersionOf(record)}); !met {
				continue
			}
			d.mu.Lock()
			t, troubled := d.troubles[VersionOf(record)]
			d.mu.Unlock()
			if troubled {
				return fmt.Errorf("it requires driver %s, which is %s here: %s", record.VersionName(), t.state, t.reason)
			}
		}
	}
	return why
}

// follow puts the record of a version in force, unless it is. What is in the way of its start does not end a process
// that runs.
func (d *Drivers) follow(ctx context.Context, t turn, inTheWay ...error) error {
	was, known := d.inForce[t.Version]
	if known && sameInForce(was, t.record.Spec) {
		return nil
	}
	_, runs := d.host.Instance(t.instanceName())
	if len(inTheWay) > 0 && !runs && !d.host.Left(t.instanceName()) {
		d.note(t.Version, trouble{resources.TroubleBlocked, errors.Join(inTheWay...).Error()})
		return nil
	}
	if err := d.apply(ctx, t.version, t.record); err != nil { // which is no reason to keep the others waiting
		d.fail(t.Version, err)
		return err
	}
	d.inForce[t.Version] = t.record.Spec
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.troubles, t.Version)
	return nil
}

// blocked reports whether a version waits for another one.
func (d *Drivers) blocked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.troubles {
		if t.state == resources.TroubleBlocked {
			return true
		}
	}
	return false
}
