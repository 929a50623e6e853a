package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// errDead ends what an instance that crashed in a test's process was about to do.
var errDead = errors.New("the instance crashed")

// deed is what a call does while the world is held still, and how it answers.
type deed[R proto.Message] func(tx *simworld.Tx) (R, error)

// act carries out a call that may change the world, with all that was ordered to go wrong.
func act[R proto.Message](
	ctx context.Context, d *driver, method string, call *driverpb.Call, do deed[R],
) (R, error) {
	ended, err := d.note(method, call, false)
	if err != nil {
		var none R
		return none, err
	}
	defer ended()
	return perform(ctx, d, method, call, do, (*simworld.World).Update)
}

// look carries out a call that only looks.
func look[R proto.Message](
	ctx context.Context, d *driver, method string, call *driverpb.Call, do deed[R],
) (R, error) {
	ended, err := d.note(method, call, true)
	if err != nil {
		var none R
		return none, err
	}
	defer ended()
	view := func(w *simworld.World, _ simworld.Cause, see func(tx *simworld.Tx) error) error { return w.View(see) }
	return perform(ctx, d, method, call, do, view)
}

// hold is how a deed gets at the world: World.Update, World.Rehearse or a view.
type hold func(w *simworld.World, cause simworld.Cause, do func(tx *simworld.Tx) error) error

func perform[R proto.Message](
	ctx context.Context, d *driver, method string, call *driverpb.Call, do deed[R], how hold,
) (reply R, err error) {
	var none R
	if err := checkHandle(call); err != nil {
		return none, err
	}
	world, err := d.open()
	if err != nil {
		return none, err
	}
	cause := d.cause(method, call)
	mischief, err := d.mischief(world, cause, call)
	if err != nil {
		return none, err
	}
	if err := mischief.before(ctx); err != nil {
		return none, err
	}
	if mischief.has(simfault.LieSuccess) {
		how = (*simworld.World).Rehearse
	}
	err = how(world, cause, func(tx *simworld.Tx) (err error) {
		if d.dead.Load() {
			return errDead
		}
		reply, err = do(tx)
		return err
	})
	if err != nil {
		return none, asFault(err)
	}
	if err := mischief.after(ctx, reply); err != nil {
		return none, err
	}
	return reply, nil
}

// note writes down when a call begins and ends, if that is ordered.
func (d *driver) note(method string, call *driverpb.Call, reads bool) (ended func(), err error) {
	ordered, err := properties(call.GetProperties().GetFields()).flag(propNote)
	if err != nil || !ordered {
		return func() {}, err
	}
	world, err := d.open()
	if err != nil {
		return nil, err
	}
	ended, err = world.Note(d.cause(method, call), reads)
	if err != nil {
		return nil, asFault(err)
	}
	return ended, nil
}

func (d *driver) cause(method string, call *driverpb.Call) simworld.Cause {
	return simworld.Cause{
		Call: method, Token: call.GetToken(), Epoch: call.GetEpoch(), By: d.instance,
		Resource: simworld.Ref{Kind: call.GetResource().GetKind(), ID: call.GetResource().GetId()},
	}
}

// answer gives the reply of a deed that succeeded.
func answer[R proto.Message](err error, reply func() R) (R, error) {
	var none R
	if err != nil {
		return none, err
	}
	return reply(), nil
}

// mischief gathers what goes wrong with a call: orders of this process, of the world's control file, of the driver
// and of the resource, in this order.
func (d *driver) mischief(
	world *simworld.World, cause simworld.Cause, call *driverpb.Call,
) (*mischief, error) {
	settings := d.configuration()
	m := &mischief{driver: d, wait: settings.latency.of(cause.Call)}
	subject := simfault.Subject{
		Call: cause.Call, Kind: cause.Resource.Kind, Resource: cause.Resource.ID, Token: cause.Token,
	}
	var err error
	if m.rules, err = world.Faults(subject, cause); err != nil {
		d.log.Warn("fault rules can't be followed", slog.String("error", err.Error()))
	}
	plans := []*simfault.Plan{d.orders}
	own, err := d.plans.of(call, settings)
	if err != nil {
		return nil, err
	}
	if own.latency != nil {
		m.wait = own.latency.of(cause.Call)
	}
	if own.plan != nil {
		plans = append(plans, own.plan)
	}
	for _, plan := range plans {
		fired, err := world.TakeFaults(plan, subject, cause)
		if err != nil {
			return nil, asFault(err)
		}
		m.rules = append(m.rules, fired...)
	}
	return m, nil
}

// asFault says in the contract's words what the world answered.
func asFault(err error) error {
	var refusal *simworld.LawError
	switch {
	case sdk.FaultOf(err) != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &refusal):
		return refusalFault(refusal)
	case errors.Is(err, errDead):
		return fmt.Errorf("working on the world: %w", err)
	}
	return sdk.Internal("world-broken", fmt.Errorf("working on the world: %w", err))
}

func refusalFault(r *simworld.LawError) error {
	remedy := r.Remedy
	if remedy == "" {
		remedy = "look at what is there and decide which one is right"
	}
	switch r.Law {
	case simworld.LawAbsent:
		return sdk.NotFound(r.Code, r.Message, remedy)
	case simworld.LawSpace:
		return sdk.Exhausted(r.Code, r.Message, remedy)
	case simworld.LawFence:
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_FENCED, Code: r.Code, Message: r.Message,
		})
	case simworld.LawExists, simworld.LawBusy, simworld.LawShape:
	}
	return sdk.Conflict(r.Code, r.Message, remedy)
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
}
