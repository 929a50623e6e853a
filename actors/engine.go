package actors

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Engine is what can be asked of a zone: it accepts operations, tells how they
// stand, and waits for them.
type Engine struct {
	log        Log
	state      State
	codec      *persistence.Codec
	vocabulary resources.Vocabulary
	table      operations.Table
	drivers    Drivers
	feed       *feed
	waiting    *waiters
	logger     *slog.Logger
	base       context.Context //nolint:containedctx // ends when the node stops
	// fresh returns when the state has all that was answered before, by any node.
	fresh func(ctx context.Context) error
	// holds reports whether this node may still act by a fence.
	holds   func(persistence.Fence) bool
	secrecy secrecy
	secrets *secrets.Keeper
}

// Now is the node's clock.
func (e *Engine) Now() time.Time { return time.Now().UTC() }

// share draws a number from 0 to 1, to spread retries.
func (e *Engine) share() float64 { return mathrand.Float64() }

func (e *Engine) stopping() bool { return e.base.Err() != nil }

// newID makes an id for a new resource.
func (e *Engine) newID(kind resources.Kind) string {
	var entropy [10]byte
	rand.Read(entropy[:]) // never fails (crypto/rand)
	return e.vocabulary.NewID(kind, e.Now(), entropy)
}

// cancelled reports whether an operation was asked to stop.
func (e *Engine) cancelled(id string) bool {
	return e.is(id, func(op *resources.Operation) bool { return op.Cancel })
}

// decided reports whether an operator decided about an operation.
func (e *Engine) decided(id string) bool {
	return e.is(id, func(op *resources.Operation) bool { return op.Resolution != "" })
}

// is reports whether something is true of an operation as far as this node knows.
func (e *Engine) is(id string, what func(op *resources.Operation) bool) bool {
	found := false
	err := e.state.View(func(v *persistence.View) error {
		op, err := v.Operation(resources.OperationID(id))
		found = err == nil && what(op)
		return err
	})
	return err == nil && found
}

// forStep is the engine as the steps of one operation see it.
func (e *Engine) forStep(u *unit) *stepEngine { return &stepEngine{Engine: e, unit: u} }

type stepEngine struct {
	*Engine
	unit *unit

	mu   sync.Mutex
	told time.Time // when progress was to be written down last
	// said and at, in percent, are what was written.
	said string
	at   int
}

// Together implements operations.Engine. A task that panics ends the step like one that
// panics itself.
func (e *stepEngine) Together(ctx context.Context, limit int, tasks []func(ctx context.Context)) {
	var group sync.WaitGroup
	var broken any
	places := make(chan struct{}, max(limit, 1))
	for _, task := range tasks {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			defer func() {
				if cause := recover(); cause != nil {
					e.mu.Lock()
					broken = cause
					e.mu.Unlock()
				}
			}()
			task(ctx)
		})
	}
	group.Wait()
	if broken != nil {
		panic(broken) //nolint:forbidigo // on its way to the runner, which makes an error of it
	}
}

// Progress implements operations.Engine.
func (e *stepEngine) Progress(percent int, message string) { e.progress(percent, message) }

// View implements operations.Engine.
func (e *stepEngine) View(fn func(v *persistence.View) error) error { return e.state.View(fn) }

// GuestUID implements operations.Engine.
func (e *stepEngine) GuestUID(ctx context.Context, node string) (uint32, error) {
	return e.drivers.GuestUID(ctx, node)
}

// Overlap implements operations.Engine.
func (e *stepEngine) Overlap(ctx context.Context, a, b operations.Place) (string, error) {
	return e.drivers.Overlap(ctx, a, b)
}

// Tunnel implements operations.Engine.
func (e *stepEngine) Tunnel(ctx context.Context, from, to operations.Place, socket string) (string, func(), error) {
	if !e.holds(e.unit.fence) {
		return "", nil, errFenced
	}
	return e.drivers.Tunnel(ctx, from, to, socket)
}

// Conn implements operations.Engine.
func (e *stepEngine) Conn(
	ctx context.Context, place operations.Place,
) (grpc.ClientConnInterface, string, error) {
	if !e.holds(e.unit.fence) { // however late a timer is, nothing is asked for after the lease
		return nil, "", errFenced
	}
	conn, version, err := e.drivers.Conn(ctx, place)
	if err != nil {
		return nil, "", err
	}
	may := func() bool { return e.holds(e.unit.fence) }
	noting := func(at time.Time, method, token string) func(error) { return e.noting(place, at, method, token) }
	return &recaller{ClientConnInterface: conn, progress: e.progress, may: may, noting: noting}, version, nil
}

// progressInterval is how often progress is written down.
const progressInterval = 2 * time.Second

// progress writes down how far the running step is, not more often than anybody
// would look. It is only called while the step waits for its driver.
func (e *stepEngine) progress(percent int, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.Now()
	if e.unit.op.Action == "" || message == "" && percent == 0 || now.Sub(e.told) < progressInterval {
		return
	}
	op := *e.unit.op
	op.Message = message
	if len(op.Steps) > 0 {
		op.Percent = min(99, op.Percent+percent/len(op.Steps))
	}
	if op.Message == e.said && op.Percent == e.at { // some wait for hours, and each word is an entry of the log
		return
	}
	e.told = now
	doc, err := e.codec.Seal(&op)
	if err != nil {
		return
	}
	_, err = e.log.Propose(e.base, &persistence.Commit{
		Fence: e.unit.fence, Operation: doc, Follows: e.unit.follows,
	})
	if err != nil {
		e.logger.Debug("progress was not written", slog.String("operation", op.ID), slog.Any("error", err))
		return
	}
	e.said, e.at = op.Message, op.Percent
}

// Ask implements operations.Engine.
func (e *stepEngine) Ask(ctx context.Context, ask operations.Ask) (*resources.Operation, error) {
	if ctx.Err() != nil && !e.asked(ask) {
		return nil, context.Cause(ctx)
	}
	// Whether the child was accepted must be known, also when the step is stopped meanwhile: one that was is to be
	// waited for before anything is undone.
	child, err := e.child(e.base, ask)
	if err != nil {
		return nil, err
	}
	ended, err := e.await(ctx, resources.OperationID(child.ID), (*resources.Operation).Ended)
	if err == nil || ctx.Err() == nil || e.stopping() {
		return ended, err
	}
	unwinding := e.unit.op.Phase == resources.PhaseUnwinding
	switch {
	case e.decided(e.unit.op.ID):
		return nil, errors.Join(e.leaveChild(child, ask), err)
	case e.cancelled(e.unit.op.ID) && !unwinding:
		if err := e.stopChild(child, ask, true); err != nil {
			return nil, err
		}
		return e.await(e.base, resources.OperationID(child.ID), (*resources.Operation).Ended)
	case errors.Is(context.Cause(ctx), operations.ErrWithdrawn):
		return e.withdraw(child, ask)
	}
	return ended, err
}

// withdraw stops what nobody wants any more, and returns what became of it. What is held back on a suspended resource
// ends when that is resumed.
func (e *stepEngine) withdraw(child *resources.Operation, ask operations.Ask) (*resources.Operation, error) {
	if err := e.leaveChild(child, ask); err != nil {
		return nil, err
	}
	op, err := e.operation(resources.OperationID(child.ID))
	if err == nil && !op.Ended() {
		return nil, operations.ErrWithdrawn
	}
	return op, err
}

// stopChild stops what an operation waits for that was asked to stop itself. A deletion that has begun is stopped only
// if it need not be whole.
func (e *stepEngine) stopChild(child *resources.Operation, ask operations.Ask, whole bool) error {
	_, err := e.log.Propose(e.base, &persistence.Resolve{
		Operation: child.ID, Resolution: resources.ResolutionCancel, Origin: resources.Origin{Principal: ask.Principal},
		Whole: whole,
	})
	if resources.ClassOf(err) == resources.ClassConflict { // it has ended, or will
		return nil
	}
	return err
}

// abandonPatience is how long an abandoned operation, or one that wants its child no more, waits for that to end, so
// that who sees the one end finds nothing of the other under way. A child that can't end is left to itself.
const abandonPatience = 5 * time.Second

// leaveChild stops what nobody is to wait for any more.
func (e *stepEngine) leaveChild(child *resources.Operation, ask operations.Ask) error {
	if err := e.stopChild(child, ask, false); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(e.base, abandonPatience)
	defer cancel()
	if _, err := e.await(soon, resources.OperationID(child.ID), (*resources.Operation).Ended); err != nil {
		e.logger.Warn("what nobody waits for any more has not ended", slog.String("operation", child.ID))
	}
	return nil
}

// asked reports whether this step asked for a child before that has not ended.
func (e *stepEngine) asked(ask operations.Ask) bool {
	open := false
	if ask.Round != "" {
		return e.is(e.childID(ask), func(op *resources.Operation) bool { return !op.Ended() })
	}
	err := e.state.View(func(v *persistence.View) error {
		children, err := v.Children(ask.ParentID, ask.Step)
		open = len(children) > 0 && !children[len(children)-1].Ended()
		return err
	})
	return err == nil && open
}

// childID is the id of a child that follows from what asks for it. The deadline is another one when an operator has
// decided that it is tried again, and attempts are counted anew.
func (e *stepEngine) childID(ask operations.Ask) string {
	deadline := e.unit.op.Deadline.UTC().Format(time.RFC3339Nano)
	sum := sha256.Sum256([]byte(string(ask.ParentID) + "\x00" + ask.Step + "\x00" + ask.Round + "\x00" + deadline))
	return e.vocabulary.NewID(resources.KindOperation, e.unit.op.StartedAt, [10]byte(sum[:10]))
}

// child finds the operation that this step asked for before, unless that failed,
// or submits it.
func (e *stepEngine) child(ctx context.Context, ask operations.Ask) (*resources.Operation, error) {
	op := &resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, ID: e.newID(resources.KindOperation)},
		Action: ask.Action, Target: ask.Target, Arguments: ask.Arguments, Principal: ask.Principal,
		ParentID: ask.ParentID, ParentStep: ask.Step, RequestID: e.unit.op.RequestID, Urgent: ask.Urgent,
	}
	cmd := &persistence.Submit{Fence: &e.unit.fence}
	if ask.Round != "" {
		op.ID, cmd.Sole = e.childID(ask), true
	}
	if ask.Resource != nil {
		m := ask.Resource.Metadata()
		if m.ID == "" { // one that is put back has its id
			m.ID = e.newID(m.Kind)
		}
		op.Target = m.Ref()
		if err := e.protect(ask.Resource, nil); err != nil {
			return nil, err
		}
		doc, err := e.codec.Seal(ask.Resource)
		if err != nil {
			return nil, err
		}
		cmd.Resource = doc
	}
	doc, err := e.codec.Seal(op)
	if err != nil {
		return nil, err
	}
	cmd.Operation = doc
	return e.propose(ctx, cmd)
}

// propose submits until the outcome is known: a repetition is recognised by the operation's id.
func (e *Engine) propose(ctx context.Context, cmd *persistence.Submit) (*resources.Operation, error) {
	var unknown error
	for {
		result, err := e.log.Propose(ctx, cmd)
		if err == nil {
			return result.Operation, nil
		}
		class := resources.ClassOf(err)
		if class == resources.ClassUnavailable && unknown != nil {
			return nil, unknown // not taken in this time, but perhaps before
		}
		if class != resources.ClassUnknown || ctx.Err() != nil || e.stopping() {
			return nil, err
		}
		unknown = err
		select {
		case <-ctx.Done():
		case <-time.After(unknownDelay):
		}
	}
}
