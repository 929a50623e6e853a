package sim

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// base answers what only the driver can of the contract's Base.
type base struct {
	driver *driver
}

var _ sdk.Resources = (*base)(nil)

// Configure implements sdk.Resources.
func (b *base) Configure(ctx context.Context, given map[string]any, secrets map[string]string) error {
	fields, err := structpb.NewStruct(given)
	if err != nil {
		return sdk.Invalid("bad-property", "/properties", err.Error(), "")
	}
	if err := checkAccessKey(secrets); err != nil {
		return err
	}
	settings, err := readDriverSettings(fields.GetFields())
	if err != nil {
		return err
	}
	if err := b.use(settings); err != nil {
		return err
	}
	return b.slowStart(ctx)
}

// use puts settings in force; the first ones open the world.
func (b *base) use(settings driverSettings) error {
	d := b.driver
	d.mutex.Lock()
	defer d.mutex.Unlock()
	opened := d.world != nil && d.given == nil
	if opened && (settings.world != d.settings.world || settings.journal != d.settings.journal) {
		return sdk.Invalid("world-open", "/properties/world", "the world of a running instance can't be exchanged",
			"start another instance for another world")
	}
	d.settings = settings
	d.orders.Replace(settings.rules)
	return d.openWorld()
}

// slowStart makes the first Configure of a process last as long as ordered.
func (b *base) slowStart(ctx context.Context) error {
	d := b.driver
	if !d.started.CompareAndSwap(false, true) {
		return nil
	}
	world, err := d.open()
	if err != nil {
		return err
	}
	start, cause := simfault.Subject{Call: "Configure", Starting: true}, simworld.Cause{Call: "Configure", By: d.instance}
	fired, err := world.Faults(start, cause)
	if err != nil {
		d.log.WarnContext(ctx, "fault rules can't be followed", slog.String("error", err.Error()))
	}
	more, err := world.TakeFaults(d.orders, start, cause)
	if err != nil {
		return asFault(err)
	}
	for _, rule := range append(fired, more...) {
		if err := pause(ctx, stretch(rule)); err != nil {
			return err
		}
	}
	return nil
}

// Probe implements sdk.Resources.
func (b *base) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	world, err := b.driver.open()
	if err != nil {
		return nil, err
	}
	if reason := degradation(world); reason != "" {
		return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_DEGRADED, Reason: reason}, nil
	}
	return look(ctx, b.driver, "Probe", call, func(tx *simworld.Tx) (*driverpb.ProbeReply, error) {
		ready := &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}
		if call.GetResource().GetId() == "" {
			return ready, nil
		}
		o, found, err := find(tx, call)
		if o.Kind == simworld.KindMachine {
			if err := powered(tx, simworld.Key{Kind: simworld.KindHost, ID: o.Scope}); err != nil {
				return nil, err
			}
		}
		if why := o.Degraded(); found && why != "" {
			return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_DEGRADED, Reason: why}, err
		}
		if err != nil || found || gracefullyAbsent(call) {
			return ready, err
		}
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_UNREADY,
			Reason: fmt.Sprintf("%s %s is not in the simulated world: create it again or restore it",
				call.GetResource().GetKind(), call.GetResource().GetId()),
		}, nil
	})
}

// degradation says why the driver can do its work, but not as ordered.
func degradation(world *simworld.World) string {
	if err := world.FaultsError(); err != nil {
		return err.Error() + ": correct the file"
	}
	return ""
}

// Adopt implements sdk.Resources. A thing that is adopted obeys no older epoch any more, and works again if it was
// degraded.
func (b *base) Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return act(ctx, b.driver, "Adopt", call, func(tx *simworld.Tx) (*driverpb.Handle, error) {
		o, found, err := find(tx, call)
		switch {
		case err != nil:
			return nil, err
		case !found && gracefullyAbsent(call):
			return &driverpb.Handle{}, nil
		case !found:
			return nil, absent(o.Key)
		case o.Epoch < call.GetEpoch(), o.Degraded() != "":
			o.Repair()
			if err := tx.Change(simworld.EffectAdopt, &o); err != nil {
				return nil, err
			}
		}
		return handleOf(o), nil
	})
}

// Release implements sdk.Resources. There is nothing to let go of.
func (b *base) Release(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return look(ctx, b.driver, "Release", call, func(tx *simworld.Tx) (*driverpb.Handle, error) {
		o, found, err := find(tx, call)
		if err != nil || !found {
			return call.GetHandle(), err
		}
		return handleOf(o), nil
	})
}

// Observe implements sdk.Resources.
func (b *base) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	scope := simworld.Key{Kind: call.GetResource().GetKind(), ID: call.GetResource().GetId()}
	kinds := childKinds(scope.Kind)
	if kinds == nil {
		return sdk.Invalid("not-a-scope", "/call/resource/kind", "nothing is in a "+scope.Kind, "")
	}
	var keys []simworld.Key
	_, err := look(ctx, b.driver, "Observe", call, func(tx *simworld.Tx) (*driverpb.Observed, error) {
		if _, ok := tx.Get(scope); !ok {
			return nil, absent(scope)
		}
		if err := powered(tx, scope); err != nil {
			return nil, err
		}
		for _, kind := range kinds {
			for _, id := range tx.IDs(kind, scope.ID) {
				keys = append(keys, simworld.Key{Kind: kind, Scope: scope.ID, ID: id})
			}
		}
		return &driverpb.Observed{}, nil
	})
	if err != nil {
		return err
	}
	return b.report(ctx, keys, found)
}

// report hands on what still exists, in pieces so that a scope of a million things does not hold the world still.
func (b *base) report(ctx context.Context, keys []simworld.Key, found func(*driverpb.Observed) error) error {
	const piece = 256
	world, err := b.driver.open()
	if err != nil {
		return err
	}
	for len(keys) > 0 {
		n := min(piece, len(keys))
		var seen []*driverpb.Observed
		err := world.View(func(tx *simworld.Tx) error {
			for _, key := range keys[:n] {
				if o, ok := tx.Get(key); ok {
					seen = append(seen, observed(o))
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return asFault(err)
		}
		for _, one := range seen {
			if err := found(one); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}

func observed(o simworld.Object) *driverpb.Observed {
	seen := &driverpb.Observed{
		Resource: &driverpb.Ref{Kind: o.Kind, Id: o.ID}, Name: o.ID, Bytes: o.Bytes, State: o.State,
	}
	if o.State == stateForeign {
		seen.Resource.Id = "" // it carries none of our ids, however it is called
	}
	facts := map[string]any{}
	if o.Format != "" {
		facts["format"] = o.Format
	}
	if o.Detail != nil && o.Detail.Of != "" {
		facts["of"] = o.Detail.Of
	}
	seen.Facts, _ = structpb.NewStruct(facts) // strings always can be
	return seen
}

// stateForeign is the state of things planted into a world that are none of ours.
const stateForeign = "foreign"

func childKinds(kind string) []string {
	switch kind {
	case simworld.KindPool:
		return []string{simworld.KindVolume, simworld.KindSnapshot}
	case simworld.KindStore:
		return []string{simworld.KindTemplate}
	case simworld.KindHost:
		return []string{simworld.KindMachine}
	case simworld.KindNetwork:
		return []string{simworld.KindNic}
	}
	return nil
}

// scopeKind is the kind of the scope a kind is in; empty for scopes themselves.
func scopeKind(kind string) string {
	switch kind {
	case simworld.KindVolume, simworld.KindSnapshot:
		return simworld.KindPool
	case simworld.KindTemplate:
		return simworld.KindStore
	case simworld.KindMachine:
		return simworld.KindHost
	case simworld.KindNic:
		return simworld.KindNetwork
	}
	return ""
}

// find looks a call's resource up: where its handle says it is, or, without a handle, wherever it is.
func find(tx *simworld.Tx, call *driverpb.Call) (simworld.Object, bool, error) {
	key := simworld.Key{Kind: call.GetResource().GetKind(), ID: call.GetResource().GetId()}
	if !emptyHandle(call.GetHandle()) {
		content, err := ReadHandle(call.GetHandle())
		if err != nil {
			return simworld.Object{}, false, sdk.Invalid("handle-unreadable", "/call/handle", err.Error(), "")
		}
		key.Scope = content.Scope
		o, ok := tx.Get(key)
		return o, ok, nil
	}
	if o, ok := tx.Get(key); ok {
		return o, true, nil
	}
	for _, scope := range tx.IDs(scopeKind(key.Kind), "") {
		key.Scope = scope
		if o, ok := tx.Get(key); ok {
			return o, true, nil
		}
	}
	key.Scope = ""
	return simworld.Object{Key: key}, false, nil
}

// gracefullyAbsent tells whether a resource may well have nothing in the world: a machine that is not started.
func gracefullyAbsent(call *driverpb.Call) bool {
	return call.GetResource().GetKind() == simworld.KindMachine && emptyHandle(call.GetHandle())
}

func absent(key simworld.Key) error {
	return sdk.NotFound(key.Kind+"-absent", key.String()+" does not exist", "check whether it was removed by hand")
}
