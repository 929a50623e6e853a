package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Submit accepts an operation. When it returns, the operation is in the log and
// will end. For "create" its target names the new resource.
func (e *Engine) Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error) {
	// What was answered by another node is not to be missing here.
	if err := e.fresh(ctx); err != nil {
		return nil, err
	}
	// What the first request stood on may be gone: a repetition is not checked again.
	if op, err := e.Repeated(s); op != nil || err != nil {
		return op, err
	}
	for attempt := 1; ; attempt++ {
		cmd, err := e.prepare(s)
		if err != nil {
			return nil, err
		}
		op, err := e.propose(ctx, cmd)
		if err == nil {
			return op, nil
		}
		// An address chosen here may be taken by the time it is claimed, a key be replaced, a driver be changed.
		again := []string{"taken", persistence.CodeKeyReplaced, persistence.CodeDriversChanged}
		if !slices.Contains(again, resources.AsError(err).Code) || attempt == maxChoices {
			return nil, err
		}
	}
}

const maxChoices = 16

// Repeated finds the operation that an equal submission became before, by its
// idempotency key; nil = there was none.
func (e *Engine) Repeated(s resources.Submission) (op *resources.Operation, err error) {
	if s.IdempotencyKey == "" {
		return nil, nil
	}
	err = e.state.View(func(v *persistence.View) error {
		op, err = v.Repeated(s.Origin.Principal, s.IdempotencyKey, s.Fingerprint)
		return err
	})
	return op, err
}

// prepare checks a submission and makes the command of it.
func (e *Engine) prepare(s resources.Submission) (*persistence.Submit, error) {
	op := &resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, ID: e.newID(resources.KindOperation)},
		Action: s.Action, Target: s.Target, Arguments: s.Arguments,
		Principal: s.Origin.Principal, RequestID: s.Origin.RequestID,
	}
	action, ok := e.vocabulary.Action(s.Target.Kind, s.Action)
	if !ok || action.Internal {
		return nil, &resources.Error{
			Class: resources.ClassInvalid, Code: "no-such-action",
			Message: fmt.Sprintf("a %s has no action %q", s.Target.Kind, s.Action), Remedy: "see the API's documentation",
		}
	}
	cmd := &persistence.Submit{
		IfRevision: s.IfRevision, Key: s.IdempotencyKey, Fingerprint: s.Fingerprint,
		Source: s.Origin.Source, Digest: s.Origin.Digest,
	}
	definition, defined := e.table.Find(s.Target.Kind, s.Action)
	cmd.Instant = !defined
	if err := e.checkUpload(op); err != nil {
		return nil, err
	}
	if err := e.carry(s, op, cmd); err != nil {
		return nil, err
	}
	if err := e.judgeRemoval(s, action, cmd); err != nil {
		return nil, err
	}
	err := e.check(definition, op, s.Resource)
	if err != nil {
		return nil, err
	}
	if err := e.protectArguments(op); err != nil {
		return nil, err
	}
	cmd.Operation, err = e.codec.Seal(op)
	return cmd, err
}

// protectArguments seals what is secret in the settings for an operation. Zones whose nodes may not know of such
// settings refuse them.
func (e *Engine) protectArguments(op *resources.Operation) error {
	if len(op.Arguments.Properties) == 0 {
		return nil
	}
	err := e.state.View(func(v *persistence.View) error { return v.Require(persistence.FeatureOperationProperties) })
	if err != nil {
		return err
	}
	return e.protect(op, nil)
}

// check refuses what its definition can see to fail.
func (e *Engine) check(d operations.Definition, op *resources.Operation, r resources.Resource) error {
	if d.Check == nil {
		return nil
	}
	return e.state.View(func(v *persistence.View) (err error) {
		if r == nil {
			if r, err = v.Get(op.Target); err != nil {
				return err
			}
		}
		return d.Check(v, op, r)
	})
}

// carry puts the new or changed resource into the command.
func (e *Engine) carry(s resources.Submission, op *resources.Operation, cmd *persistence.Submit) error {
	if s.Resource == nil {
		return nil
	}
	r, err := e.codec.Clone(s.Resource)
	if err != nil {
		return err
	}
	p := resources.NewProblems("")
	r.Validate(p)
	if err := p.Err(); err != nil {
		return err
	}
	if s.Action == "create" {
		if err := e.complete(r, op, cmd); err != nil {
			return err
		}
		if err := e.protect(r, nil); err != nil {
			return err
		}
	} else if r, err = e.change(s.Target, r, op, cmd); err != nil || r == nil {
		return err
	}
	cmd.Resource, err = e.codec.Seal(r)
	return err
}

// change says what an update writes when it is accepted; nil = nothing yet. Where
// the spec is put in force by an operation, that operation gets the fields to
// change, so that it changes them in its turn: only name and labels are new at
// once, and with them alone nothing is left to do.
func (e *Engine) change(
	target resources.Ref, next resources.Resource, op *resources.Operation, cmd *persistence.Submit,
) (resources.Resource, error) {
	current, err := e.current(target)
	if err != nil {
		return nil, err
	}
	if err := e.protect(next, current); err != nil {
		return nil, err
	}
	fields, err := e.changes(current, next)
	if err != nil {
		return nil, err
	}
	if err := e.judge(current, next, cmd); err != nil {
		return nil, err
	}
	if err := e.checkAsker(current, next); err != nil {
		return nil, err
	}
	if cmd.Instant || len(fields) == 0 {
		cmd.Instant = true
		return next, nil
	}
	op.Arguments.Spec = fields
	was, m := current.Metadata(), next.Metadata()
	if was.Name == m.Name && maps.Equal(was.Labels, m.Labels) {
		return nil, nil
	}
	if cmd.IfRevision == 0 {
		cmd.IfRevision = was.Revision // what is written is made of this one
	}
	was.Name, was.Labels = m.Name, m.Labels
	return current, nil
}

func (e *Engine) current(ref resources.Ref) (found resources.Resource, err error) {
	err = e.state.View(func(v *persistence.View) error {
		found, err = v.Get(ref)
		return err
	})
	return found, err
}

// complete gives a new resource its id and what is decided on acceptance.
func (e *Engine) complete(r resources.Resource, op *resources.Operation, cmd *persistence.Submit) error {
	m := r.Metadata()
	m.ID = e.newID(m.Kind)
	op.Target = m.Ref()
	switch x := r.(type) {
	case *resources.Address:
		return e.chooseAddress(x, cmd)
	case *resources.Template:
		if x.Spec.Upload {
			cmd.Instant, cmd.Pending = true, true
		}
		return e.chooseStore(x)
	}
	if err := e.chooseNode(r); err != nil {
		return err
	}
	if err := e.checkAsker(nil, r); err != nil {
		return err
	}
	if err := e.judge(nil, r, cmd); err != nil {
		return err
	}
	return e.state.View(func(v *persistence.View) error { return v.MayUse(r) })
}

func (e *Engine) chooseAddress(a *resources.Address, cmd *persistence.Submit) error {
	return e.state.View(func(v *persistence.View) error {
		n, err := persistence.Find[*resources.Network](v, resources.KindNetwork, string(a.Spec.NetworkID))
		if err != nil {
			return badReference("/spec/networkId", err)
		}
		a.Status.Address, err = operations.FreeAddress(v, n, a.Spec.Address, a.ID)
		if err != nil {
			return err
		}
		cmd.Claims = []persistence.Claim{{
			Scope: operations.AddressScope(a.Spec.NetworkID), Value: a.Status.Address, Owner: a.Ref(),
		}}
		return nil
	})
}

// chooseStore takes the only image store there is when none was named.
func (e *Engine) chooseStore(t *resources.Template) error {
	if t.Spec.ImageStoreID != "" {
		return nil
	}
	return e.state.View(func(v *persistence.View) error {
		page, err := v.List(resources.Query{Kind: resources.KindImageStore, Limit: 2})
		if err != nil {
			return err
		}
		if len(page.Items) == 1 {
			t.Spec.ImageStoreID = resources.ImageStoreID(page.Items[0].Metadata().ID)
			return nil
		}
		p := resources.NewProblems("/spec")
		count := "several"
		if len(page.Items) == 0 {
			count = "no"
		}
		p.In("imageStoreId").Add("required", "is required: there are %s image stores", count)
		return p.Err()
	})
}

// badReference names the field that refers to what is not there.
func badReference(pointer string, err error) error {
	if resources.ClassOf(err) != resources.ClassNotFound {
		return err
	}
	p := resources.NewProblems(pointer)
	p.Add("not-found", "%s", resources.AsError(err).Message)
	return p.Err()
}

// changes returns the fields of the spec that differ, a nil for one that is taken
// away, and refuses those that are fixed once a resource was made.
func (e *Engine) changes(current, next resources.Resource) (map[string]any, error) {
	before, err := specOf(current)
	if err != nil {
		return nil, err
	}
	after, err := specOf(next)
	if err != nil {
		return nil, err
	}
	kind := current.Metadata().Kind
	fields, p := map[string]any{}, resources.NewProblems("/spec")
	for _, field := range changed(before, after) {
		fields[field] = after[field]
		if !slices.Contains(e.vocabulary[kind].Mutable, field) {
			p.In(field).Add("immutable", "can't be changed once the %s was made", kind)
		}
	}
	return fields, p.Err()
}

func specOf(r resources.Resource) (map[string]any, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("reading the spec of %s: %w", r.Metadata().Ref(), err)
	}
	var whole struct {
		Spec map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, fmt.Errorf("reading the spec of %s: %w", r.Metadata().Ref(), err)
	}
	return whole.Spec, nil
}

func changed(before, after map[string]any) []string {
	var fields []string
	for k, v := range before {
		if !reflect.DeepEqual(v, after[k]) {
			fields = append(fields, k)
		}
	}
	for k := range after {
		if _, was := before[k]; !was {
			fields = append(fields, k)
		}
	}
	slices.Sort(fields)
	return fields
}

// Wait returns the operation once it has ended or needs an operator, or as it is
// when ctx ends.
func (e *Engine) Wait(ctx context.Context, id resources.OperationID) (*resources.Operation, error) {
	op, err := e.await(ctx, id, func(op *resources.Operation) bool {
		return op.Ended() || op.Phase == resources.PhaseNeedsOperator && op.Resolution == ""
	})
	if err != nil && ctx.Err() != nil {
		return e.operation(id)
	}
	return op, err
}

func (e *Engine) operation(id resources.OperationID) (op *resources.Operation, err error) {
	err = e.state.View(func(v *persistence.View) error {
		op, err = v.Operation(id)
		return err
	})
	return op, err
}

// await returns the operation once it is as wanted.
func (e *Engine) await(
	ctx context.Context, id resources.OperationID, want func(*resources.Operation) bool,
) (*resources.Operation, error) {
	for {
		changed, leave := e.waiting.add(string(id))
		op, err := e.operation(id)
		if err != nil || want(op) {
			leave()
			return op, err
		}
		select {
		case <-ctx.Done():
			leave()
			return nil, fmt.Errorf("waiting for operation %s: %w", id, ctx.Err())
		case op := <-changed:
			if op != nil && op.Ended() && want(op) { // it changes no more
				own := *op
				own.Steps = slices.Clone(op.Steps)
				return &own, nil
			}
		}
	}
}

// Resolve passes somebody's decision on an operation on to its owner.
func (e *Engine) Resolve(
	ctx context.Context, id resources.OperationID, r resources.Resolution, o resources.Origin,
) (*resources.Operation, error) {
	result, err := e.log.Propose(ctx, &persistence.Resolve{
		Operation: string(id), Resolution: r, Origin: o, Unwinding: true, Whole: true,
	})
	return result.Operation, err
}

// Refused writes into the audit log that somebody was not allowed something. A zone of an older level has no words for
// it.
func (e *Engine) Refused(
	ctx context.Context, action string, target resources.Ref, why string, o resources.Origin,
) error {
	var known bool
	err := e.state.View(func(v *persistence.View) (err error) {
		known, err = v.Enabled(persistence.FeaturePolicies)
		return err
	})
	if err != nil || !known {
		return err
	}
	_, err = e.log.Propose(ctx, &persistence.Refuse{Action: action, Target: target, Why: why, Origin: o})
	return err
}

// Suspend holds back work on a resource, or lets it go on.
func (e *Engine) Suspend(
	ctx context.Context, ref resources.Ref, suspended bool, o resources.Origin,
) (resources.Resource, error) {
	result, err := e.log.Propose(ctx, &persistence.Suspend{Ref: ref, Suspended: suspended, Origin: o})
	return result.Resource, err
}

// Events calls fn for each event after a position, as they come, until it answers
// false or ctx ends.
func (e *Engine) Events(ctx context.Context, after resources.Position, fn func(resources.Event) bool) error {
	all := func(resources.Event) bool { return true }
	read := func(after resources.Position, into []resources.Event) ([]resources.Event, error) {
		return e.feed.stored(after, into, all)
	}
	return e.feed.follow(ctx, after, read, fn)
}

// Changed returns a channel that is closed at the next change of the state.
func (e *Engine) Changed() <-chan struct{} { return e.feed.next() }

// retention bounds what is kept of the past.
const (
	keyRetention       = 24 * time.Hour
	operationRetention = 30 * 24 * time.Hour
	auditRetention     = 400 * 24 * time.Hour // a year, and a month to look at it
)
