package node

import (
	"context"
	"log/slog"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// records is what this node's state says of drivers, and of what names one.
type records struct {
	machine *persistence.Machine
	secrets *secrets.Keeper
	log     *slog.Logger
	said    sync.Map // drivers of which it was said that their secrets can't be opened
}

// Versions implements driving.State.
func (r *records) Versions(product string) (list []*resources.Driver, err error) {
	err = r.machine.View(func(v *persistence.View) error {
		list, err = v.Versions(product)
		return err
	})
	for i, record := range list {
		opened, shut := r.secrets.Apart(record)
		list[i] = opened
		if shut == nil {
			r.said.Delete(record.ID)
		} else if _, said := r.said.LoadOrStore(record.ID, true); !said {
			r.log.Error("a driver goes without its secrets", slog.String("driver", record.Spec.Product), slog.Any("error", shut))
		}
	}
	return list, err
}

// Bound implements driving.State.
func (r *records) Bound(kind resources.Kind, yield func(b driving.Bound) bool) error {
	return r.machine.View(func(v *persistence.View) error {
		return v.Each(kind, nil, func(r resources.Resource) bool {
			p := operations.PlaceOf(r)
			return yield(driving.Bound{
				Product: p.Product, Node: p.Node, Phase: r.Metadata().Phase, Properties: p.Properties,
				Shared: operations.IsShared(r),
			})
		})
	})
}

// Changes implements driving.State.
func (r *records) Changes(kind resources.Kind) uint64 { return r.machine.Changes(kind) }

// remember has the zone remember what a driver says of itself: at the next start it is
// known before the driver runs.
func (n *Node) remember(ctx context.Context, record *resources.Driver) error {
	told := *record
	told.Spec.Properties, told.Spec.Secrets = nil, nil // only what it says of itself is taken from it
	doc, err := n.machine.Codec().Seal(&told)
	if err != nil {
		return err
	}
	_, err = n.log.Propose(ctx, &persistence.Bootstrap{Documents: []*persistence.Document{doc}})
	return err
}

// driversChanged receives when a record of a driver may have changed, until ctx ends.
func (n *Node) driversChanged(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	n.chores.done.Go(func() {
		var seen uint64 // what changed before counts, too
		for first := true; ctx.Err() == nil; first = false {
			next := n.system.Engine().Changed()
			if now := n.machine.Changes(resources.KindDriver); first || now != seen {
				seen = now
				wake(changed)
			}
			select {
			case <-ctx.Done():
			case <-next:
			}
		}
	})
	return changed
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
