package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/journal"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// current reports whether the state still says of a unit what was written last.
func (r *runner) current(u *unit) bool {
	if u.ref.Kind == resources.KindHost || u.ref.Kind == resources.KindPool {
		return false // what of them is promised is not in their record
	}
	same := false
	err := r.state.View(func(v *persistence.View) (err error) {
		op := resources.Ref{Kind: resources.KindOperation, ID: u.op.ID}
		if same, err = v.Unchanged(op, u.journal); err != nil || !same {
			return err
		}
		same, err = v.Unchanged(u.ref, u.record)
		return err
	})
	if err != nil {
		r.logger.Warn("reading what is to be done failed", slog.String("resource", u.ref.String()), slog.Any("error", err))
	}
	return err == nil && same
}

// beginLocal takes an operation up and does its first step with it, in one entry:
// a local step has no effect before its outcome is written, so nobody needs to
// know that it was under way. When that does not work out nothing was written,
// and done is false: the step is begun like any other then.
func (r *runner) beginLocal(ctx context.Context, u *unit, names []string, now time.Time) (n next, done bool) {
	if len(u.steps) < 2 || !u.steps[0].Local {
		return next{}, false // alone it would also have to end the operation
	}
	step, op := u.steps[0], *u.op
	journal.Begin(&op, names, u.resource.Metadata().Phase, now)
	journal.Start(&op, 0, now)
	c := &operations.Context{
		Operation: &op, Resource: u.resource, StepName: step.Name, Epoch: u.fence.Epoch,
		Engine: &localEngine{stepEngine: r.engine.forStep(u)},
	}
	if err := run(ctx, step, c); err != nil {
		if r.fenced(ctx, u) {
			return next{fenced: true}, true
		}
		return next{held: true}, r.engine.stopping()
	}
	journal.Finish(&op, 0, now)
	mine := *u
	mine.op = &op
	fresh := r.intend(&mine, now)
	w := r.write(ctx, &mine, change{phase: u.action.During, out: c.Outcome})
	if w.refused != nil {
		return next{}, false
	}
	*u = mine
	w.fresh = fresh
	return w.orRetry(), true
}

// beginAhead does the only step of an operation before anybody noted that it has begun, so that the resource is held
// for as long as one entry takes: whoever takes the operation up anew does the step from its beginning. When it does
// not work out it is begun like any other, and done is false.
func (r *runner) beginAhead(ctx context.Context, u *unit, names []string, now time.Time) (n next, done bool) {
	if !u.isAhead() {
		return next{}, false
	}
	step, op := u.steps[0], *u.op
	journal.Begin(&op, names, u.resource.Metadata().Phase, now)
	journal.Start(&op, 0, now)
	c := &operations.Context{
		Operation: &op, Resource: u.resource, StepName: step.Name, Epoch: u.fence.Epoch, Engine: r.engine.forStep(u),
		Repeat: true,
	}
	if err := run(ctx, step, c); err != nil {
		if r.fenced(ctx, u) {
			return next{fenced: true}, true
		}
		return next{held: true}, r.engine.stopping()
	}
	journal.Finish(&op, 0, r.engine.Now())
	mine := *u
	mine.op = &op
	end := r.ending(&mine)
	end.out = c.Outcome
	w := r.write(ctx, &mine, end)
	if w.refused != nil {
		return next{}, false
	}
	if w.ended {
		r.takeBack(ctx, step, c)
	}
	return w.orRetry(), true
}

// isAhead reports whether beginAhead is for a unit.
func (u *unit) isAhead() bool { return len(u.steps) == 1 && u.steps[0].Ahead }

// beginBack takes up an operation that was cancelled before anybody noted that it had begun: whoever acted for the
// resource before may have done its step and not lived to say so. What follows is that it is undone.
func (r *runner) beginBack(ctx context.Context, u *unit, names []string, now time.Time) next {
	journal.Begin(u.op, names, u.resource.Metadata().Phase, now)
	r.intend(u, now)
	return r.write(ctx, u, change{phase: u.action.During}).orRetry()
}

// takeBack undoes a step of an operation that was cancelled while nobody knew yet that it had begun.
func (r *runner) takeBack(ctx context.Context, step operations.Step, c *operations.Context) {
	c.Undoing, c.Outcome = true, operations.Outcome{}
	if err := run(context.WithoutCancel(ctx), step, c); err != nil {
		r.logger.Warn("taking back what was cancelled failed; it is looked after as what is ill",
			slog.String("operation", c.Operation.ID), slog.Any("error", err))
	}
}

// localEngine is what a local step may use: the state.
type localEngine struct{ *stepEngine }

var errNotLocal = errors.New("a local step asks for more than the state")

// Conn implements operations.Engine.
func (*localEngine) Conn(context.Context, operations.Place) (grpc.ClientConnInterface, string, error) {
	return nil, "", errNotLocal
}

// Tunnel implements operations.Engine.
func (*localEngine) Tunnel(context.Context, operations.Place, operations.Place, string) (string, func(), error) {
	return "", nil, errNotLocal
}

// Ask implements operations.Engine.
func (*localEngine) Ask(_ context.Context, ask operations.Ask) (*resources.Operation, error) {
	return nil, fmt.Errorf("asking for %s of %s: %w", ask.Action, ask.Target, errNotLocal)
}
