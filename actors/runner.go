package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/journal"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// runner carries out the operations of resources, a step at a time. It has no
// state of its own: what comes next follows from the zone's state.
type runner struct {
	log        Log
	state      State
	codec      *persistence.Codec
	vocabulary resources.Vocabulary
	table      operations.Table
	engine     *Engine
	logger     *slog.Logger
}

// next says what follows for a resource.
type next struct {
	// idle: its queue is empty. held: it is suspended, or waits for an operator.
	idle, held bool
	// fenced: this node no longer acts for it.
	fenced bool
	// after: when to look again; 0 = at once.
	after time.Duration
	// fresh names the step whose intent was just written and which nobody has
	// begun yet; "" after a restart.
	fresh string
	// unit is what that step works on, as it was written; nil = read it.
	unit *unit
}

// unit is what one turn works on.
type unit struct {
	ref   resources.Ref
	fence persistence.Fence
	fresh string

	op       *resources.Operation
	resource resources.Resource
	action   resources.Action
	steps    []operations.Step
	// journal and record are op and resource as they were written last, nil if this
	// is not known.
	journal, record []byte
	// follows marks the journal that the state had when it was read or written last.
	follows uint64
}

// turn does the next thing there is to do for a resource: take an operation up,
// do a step, undo a step, end it.
func (r *runner) turn(ctx context.Context, ref resources.Ref, fence persistence.Fence, last next) next {
	u := last.unit
	if u == nil || !r.current(u) {
		u = &unit{ref: ref, fence: fence}
		found, err := r.load(u)
		if err != nil {
			r.logger.Error("reading what is to be done failed", slog.String("resource", ref.String()), slog.Any("error", err))
			return next{after: time.Second}
		}
		if !found {
			return next{idle: true}
		}
	}
	u.fresh = last.fresh
	n := r.goOn(ctx, u)
	if n.fresh != "" && u.journal != nil && u.record != nil {
		n.unit = u
	}
	return n
}

func (r *runner) goOn(ctx context.Context, u *unit) next {
	if u.resource != nil && u.resource.Metadata().Suspended && !u.op.Urgent {
		return next{held: true}
	}
	switch u.op.Phase {
	case resources.PhaseQueued:
		return r.begin(ctx, u)
	case resources.PhaseNeedsOperator:
		return r.resolved(ctx, u)
	case resources.PhaseRunning, resources.PhaseUnwinding:
		return r.proceed(ctx, u)
	}
	r.logger.Error("an ended operation is queued",
		slog.String("operation", u.op.ID), slog.String("phase", string(u.op.Phase)))
	return next{held: true}
}

// heads reports whether an operation is the one that is carried out on a resource now.
func (r *runner) heads(shard persistence.Shard, ref resources.Ref, operation string) bool {
	first := false
	err := r.state.View(func(v *persistence.View) error {
		op, _, err := v.Head(shard, ref)
		first = err == nil && op != nil && op.ID == operation
		return err
	})
	return first || err != nil
}

func (r *runner) load(u *unit) (found bool, err error) {
	u.journal, u.record = nil, nil
	err = r.state.View(func(v *persistence.View) error {
		op, _, err := v.Head(u.fence.Shard, u.ref)
		if err != nil || op == nil {
			return err
		}
		found, u.op = true, op
		u.resource, err = v.Get(u.ref)
		if resources.ClassOf(err) == resources.ClassNotFound {
			return nil
		}
		return err
	})
	if err != nil || !found {
		return found, err
	}
	u.follows = persistence.JournalMark(u.op)
	action, ok := r.vocabulary.Action(u.ref.Kind, u.op.Action)
	if !ok {
		return true, errors.New("unknown action " + u.op.Action)
	}
	u.action = action
	if u.op.Phase == resources.PhaseNeedsOperator {
		return true, nil // what is decided is carried out even if the steps can't be told
	}
	if d, ok := r.table.Find(u.ref.Kind, u.op.Action); ok && u.resource != nil {
		u.steps = d.Steps(u.op, u.resource)
	}
	return true, nil
}

// begin takes an operation up, if the resource is in a phase that allows it.
func (r *runner) begin(ctx context.Context, u *unit) next {
	now := r.engine.Now()
	names := make([]string, len(u.steps))
	for i, s := range u.steps {
		names[i] = s.Name
	}
	if why := r.unfit(u); why != nil {
		if u.resource != nil && u.op.Cancel && u.isAhead() {
			return r.beginBack(ctx, u, names, now)
		}
		return r.refuse(ctx, u, why)
	}
	if n, done := r.beginLocal(ctx, u, names, now); done {
		return n
	}
	if n, done := r.beginAhead(ctx, u, names, now); done {
		return n
	}
	journal.Begin(u.op, names, u.resource.Metadata().Phase, now)
	fresh := r.intend(u, now)
	w := r.write(ctx, u, change{phase: u.action.During})
	if w.refused != nil { // somebody came to stand on what is to be deleted
		return r.refuse(ctx, u, w.refused)
	}
	w.fresh = fresh
	return w.orRetry()
}

// unfit says why an operation can't begin, or nil.
func (r *runner) unfit(u *unit) *resources.Error {
	if u.resource == nil {
		return resources.NotFound(u.ref)
	}
	if u.op.Cancel {
		return cancelled()
	}
	m := u.resource.Metadata()
	if u.op.Urgent || slices.Contains(u.action.From, m.Phase) {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "wrong-phase",
		Message: "the " + string(m.Kind) + " is " + string(m.Phase) + " by now", Remedy: "look at it and ask again",
	}
}

func cancelled() *resources.Error {
	return &resources.Error{Class: resources.ClassCancelled, Code: "cancelled", Message: "cancelled on request"}
}

// refuse ends an operation that can't begin.
func (r *runner) refuse(ctx context.Context, u *unit, why *resources.Error) next {
	u.op.Phase, u.op.Error, u.op.Steps = resources.PhaseFailed, why, nil
	if why.Class == resources.ClassCancelled {
		u.op.Phase = resources.PhaseCancelled
	}
	c := change{}
	if u.op.Action == "create" && u.resource != nil && u.resource.Metadata().Phase == resources.PhasePending {
		c.phase, c.reason = u.action.Undone, why.Message
	}
	return r.write(ctx, u, c).orRetry()
}

// resolved carries out an operator's decision, if there is one.
func (r *runner) resolved(ctx context.Context, u *unit) next {
	if u.op.Resolution == "" {
		return next{held: true}
	}
	now := r.engine.Now()
	journal.Take(u.op, now.Add(u.action.Deadline), now)
	c := change{took: true}
	if u.op.Phase == resources.PhaseFailed {
		c.phase, c.reason = r.undonePhase(u, u.resource), u.op.Message
		c.out = operations.LetGo(u.op.Target, u.resource)
	}
	return r.write(ctx, u, c).orRetry()
}

// proceed does or undoes the next step, or ends the operation when none is left.
func (r *runner) proceed(ctx context.Context, u *unit) next {
	if u.op.Resolution != "" { // nobody waits for the rest to be undone
		return r.resolved(ctx, u)
	}
	now := r.engine.Now()
	i, more := journal.Next(u.op)
	if !more {
		c := r.ending(u)
		return r.settle(ctx, u, len(u.op.Steps)-1, c)
	}
	if u.op.Phase == resources.PhaseRunning && u.op.Cancel && !u.op.Passed(u.action.Final) {
		journal.Unwind(u.op, i, cancelled(), now)
		return r.write(ctx, u, change{}).orRetry()
	}
	if u.fresh != stepKey(u.op, i) {
		u.fresh = ""
		journal.Start(u.op, i, now) // the intent to repeat it
		if w := r.write(ctx, u, change{}); !w.ok {
			return w.orRetry()
		}
	}
	return r.attempt(ctx, u, i)
}

// stepKey names the intent to do or undo a step of an operation.
func stepKey(op *resources.Operation, i int) string {
	return op.Token(op.Steps[i].Name) + "/" + string(op.Steps[i].State)
}

// intend notes the intent to do or undo the next step; "" when none is left.
func (r *runner) intend(u *unit, now time.Time) string {
	i, more := journal.Next(u.op)
	if !more {
		return ""
	}
	journal.Start(u.op, i, now)
	return stepKey(u.op, i)
}

// attempt does or undoes a step and writes down what came of it.
func (r *runner) attempt(ctx context.Context, u *unit, i int) next {
	step, known := u.step(u.op.Steps[i].Name)
	if !known {
		return r.stumble(ctx, u, i, &resources.Error{
			Class: resources.ClassUnsupported, Code: "unknown-step",
			Message: "this program knows no step " + u.op.Steps[i].Name + " of " + u.op.Action,
		})
	}
	c := &operations.Context{
		Operation: u.op, Resource: u.resource, StepName: step.Name, Epoch: u.fence.Epoch,
		Engine: r.engine.forStep(u), Undoing: u.op.Phase == resources.PhaseUnwinding,
		Repeat: u.op.Steps[i].Attempts > 1 || u.fresh == "",
	}
	if err := run(ctx, step, c); err != nil {
		if r.engine.stopping() || errors.Is(err, operations.ErrHeld) {
			return next{held: true} // the journal says what was under way
		}
		if r.fenced(ctx, u) {
			return next{fenced: true} // the same
		}
		return r.stumble(ctx, u, i, operations.Classify(err))
	}
	return r.finish(ctx, u, i, c.Outcome)
}

// fenced reports whether this node may not act for a unit any more, or could not for a while.
func (r *runner) fenced(ctx context.Context, u *unit) bool {
	return errors.Is(context.Cause(ctx), errFenced) || !r.engine.holds(u.fence)
}

func (u *unit) step(name string) (operations.Step, bool) {
	for _, s := range u.steps {
		if s.Name == name {
			return s, true
		}
	}
	return operations.Step{}, false
}

func run(ctx context.Context, s operations.Step, c *operations.Context) error {
	do := s.Do
	if c.Undoing {
		do = s.Undo
	}
	if do == nil {
		return nil
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = operations.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return guarded(ctx, do, c)
}

// guarded turns a panic of a step into an error: the operation fails, the node
// goes on.
func guarded(
	ctx context.Context, do func(context.Context, *operations.Context) error, c *operations.Context,
) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("step %s panicked: %v\n%s", c.StepName, cause, debug.Stack())
		}
	}()
	return do(ctx, c)
}

// finish writes down that a step is done or undone, with what it brought and the
// intent to do the next one, or the end.
func (r *runner) finish(ctx context.Context, u *unit, i int, out operations.Outcome) next {
	now := r.engine.Now()
	journal.Finish(u.op, i, now)
	fresh := r.intend(u, now)
	c := change{}
	if fresh == "" {
		c = r.ending(u)
	}
	c.out = out
	n := r.settle(ctx, u, i, c)
	n.fresh = fresh
	return n
}

// settle writes a change that the state may refuse: somebody else took what was
// chosen, or stands on what is to be deleted. Then the step has failed.
func (r *runner) settle(ctx context.Context, u *unit, i int, c change) next {
	w := r.write(ctx, u, c)
	if w.refused == nil {
		return w.orRetry()
	}
	found, err := r.load(u)
	if err != nil || !found {
		return next{after: time.Second}
	}
	n := r.stumble(ctx, u, i, w.refused)
	n.fresh = ""
	return n
}

// ending ends the operation in memory and says what becomes of the resource.
func (r *runner) ending(u *unit) change {
	if u.op.Phase == resources.PhaseUnwinding {
		reason := ""
		if u.op.Error != nil && u.op.Action == "create" {
			reason = u.op.Error.Message
		}
		journal.Fail(u.op)
		return change{ends: func(is resources.Resource) resources.Phase { return r.undonePhase(u, is) }, reason: reason}
	}
	journal.Succeed(u.op)
	if u.action.Deletes {
		return change{remove: true}
	}
	return change{ends: func(is resources.Resource) resources.Phase { return r.donePhase(u, is) }}
}

func (r *runner) donePhase(u *unit, is resources.Resource) resources.Phase {
	if d, ok := r.table.Find(u.ref.Kind, u.op.Action); ok && d.After != nil {
		return d.After(u.op, is)
	}
	if u.action.After != "" {
		return u.action.After
	}
	return u.op.Before
}

func (r *runner) undonePhase(u *unit, is resources.Resource) resources.Phase {
	if d, ok := r.table.Find(u.ref.Kind, u.op.Action); ok && d.Undone != nil {
		return d.Undone(u.op, is)
	}
	if u.action.Undone != "" {
		return u.action.Undone
	}
	return u.op.Before
}

// stumble writes down that an attempt failed and what follows: another attempt,
// undoing, or an operator.
func (r *runner) stumble(ctx context.Context, u *unit, i int, why *resources.Error) next {
	now := r.engine.Now()
	if u.op.Cancel || r.engine.cancelled(u.op.ID) {
		u.op.Cancel = true
	}
	asked := *u.op
	asked.Cancel = asked.Cancel && !asked.Passed(u.action.Final)
	switch journal.Decide(&asked, i, why, now) {
	case journal.Retry:
		journal.Stumble(u.op, i, why)
		w := r.write(ctx, u, change{})
		if w.ok && !r.engine.decided(u.op.ID) {
			w.after = journal.Delay(u.op.Steps[i].Attempts, r.engine.share())
		}
		return w.orRetry()
	case journal.GiveUp:
		if asked.Cancel {
			why = cancelled()
		}
		journal.Unwind(u.op, i, why, now)
	case journal.NeedOperator:
		journal.Stick(u.op, i, why)
	}
	fresh := ""
	if u.op.Phase == resources.PhaseUnwinding {
		fresh = r.intend(u, now)
	}
	w := r.write(ctx, u, change{})
	w.fresh = fresh
	return w.orRetry()
}
