package apitest

import (
	"context"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Submit implements door.Engine.
func (z *Zone) Submit(_ context.Context, s resources.Submission) (*resources.Operation, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if o, err := z.repeated(s.Origin.Principal, s.IdempotencyKey, s.Fingerprint); o != nil || err != nil {
		return o, err
	}
	target, err := z.target(s)
	if err != nil {
		return nil, err
	}
	if err := z.decided(s); err != nil {
		return nil, err
	}
	z.revision++
	z.submissions = append(z.submissions, s)
	m := target.Metadata()
	o := &resources.Operation{
		Meta: resources.Meta{
			Kind:  resources.KindOperation,
			ID:    z.newID(resources.KindOperation),
			Phase: resources.PhaseQueued,
		},
		Action:     s.Action,
		Target:     resources.Ref{Kind: m.Kind, ID: m.ID},
		TargetName: m.Name,
		Arguments:  s.Arguments,
		Principal:  s.Origin.Principal,
		RequestID:  s.Origin.RequestID,
		Before:     m.Phase,
		Steps: []resources.Step{
			{Name: "prepare", State: resources.StepWaiting},
			{Name: s.Action, State: resources.StepWaiting},
		},
	}
	o.CreatedAt = z.now()
	z.keep(s, o)
	z.begin(target, s, o)
	z.put(o, o.ID, resources.EventCreated)
	if !z.Hold && (s.Action != "create" || !awaitsContent(target, s)) {
		z.end(o.ID, nil)
		return z.state[o.Ref()].(*resources.Operation), nil
	}
	return o, nil
}

// awaitsContent reports whether a template was made whose content is still to
// come.
func awaitsContent(r resources.Resource, s resources.Submission) bool {
	t, ok := r.(*resources.Template)
	return ok && t.Spec.Upload && s.Arguments.Upload == ""
}

// Repeated implements door.Reader.
func (z *Zone) Repeated(
	_ context.Context, principal, key string, fingerprint []byte,
) (*resources.Operation, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.repeated(principal, key, fingerprint)
}

func (z *Zone) repeated(principal, key string, fingerprint []byte) (*resources.Operation, error) {
	known, ok := z.keys[principal+"\n"+key]
	if key == "" || !ok {
		return nil, nil
	}
	if known.fingerprint != string(fingerprint) {
		return nil, &resources.Error{
			Class: resources.ClassInvalid, Code: "idempotency-key-reused",
			Message: "this idempotency key was used for another request", Remedy: "use a new key for a new request",
		}
	}
	ref := resources.Ref{Kind: resources.KindOperation, ID: known.operation}
	return z.state[ref].(*resources.Operation), nil
}

func (z *Zone) keep(s resources.Submission, o *resources.Operation) {
	if s.IdempotencyKey != "" {
		z.keys[s.Origin.Principal+"\n"+s.IdempotencyKey] = remembered{string(s.Fingerprint), o.ID}
	}
	z.audit = append(z.audit, resources.Audit{
		Position: resources.Position{Revision: z.revision}, At: z.now(), Principal: s.Origin.Principal,
		Source: s.Origin.Source, RequestID: s.Origin.RequestID, Action: s.Action, Target: o.Target, Decision: "accepted",
		Digest: s.Origin.Digest,
	})
}

// target finds or makes what is acted on, or says why it can't be.
func (z *Zone) target(s resources.Submission) (resources.Resource, error) {
	if s.Action == "create" && s.Target.ID == "" {
		return z.fresh(s)
	}
	r, ok := z.state[s.Target]
	if !ok {
		return nil, resources.NotFound(s.Target)
	}
	m := r.Metadata()
	if s.IfRevision != 0 && s.IfRevision != m.Revision {
		return nil, &resources.Error{
			Class: resources.ClassStale, Code: "revision-mismatch", Message: "it was changed since it was read",
			Remedy: "read it again", Resource: &s.Target,
		}
	}
	a, ok := z.vocabulary.Action(m.Kind, s.Action)
	if !ok || !slices.Contains(a.From, m.Phase) {
		return nil, &resources.Error{
			Class: resources.ClassConflict, Code: "wrong-phase",
			Message: "a " + string(m.Kind) + " that is " + string(m.Phase) + " can't " + s.Action,
			Remedy:  "wait for its operations, then try again", Resource: &s.Target,
		}
	}
	if user := z.userOf(s.Target); a.Deletes && user != nil {
		return nil, &resources.Error{
			Class: resources.ClassConflict, Code: "in-use", Message: "it is in use by " + user.String(),
			Remedy: "delete that first", Resource: user,
		}
	}
	return clone(r), refused(r, s.Action)
}

func (z *Zone) fresh(s resources.Submission) (resources.Resource, error) {
	r := clone(s.Resource)
	m := r.Metadata()
	for ref, other := range z.state {
		if ref.Kind == m.Kind && m.Name != "" && other.Metadata().Name == m.Name {
			return nil, &resources.Error{
				Class: resources.ClassConflict, Code: "name-taken", Message: "there is a " + string(m.Kind) + " of this name",
				Remedy: "choose another name", Fields: []resources.FieldError{
					{Pointer: "/name", Code: "name-taken", Message: "is taken"},
				}, Resource: &ref,
			}
		}
	}
	if err := z.fits(r); err != nil {
		return nil, err
	}
	m.ID, m.Phase, m.CreatedAt = z.newID(m.Kind), resources.PhasePending, z.now()
	return r, nil
}

// fits refuses a machine that no host has room for.
func (z *Zone) fits(r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok {
		return nil
	}
	e := &resources.Error{
		Class: resources.ClassExhausted, Code: "no-host-fits", Message: "no host has room for this machine",
		Remedy: "add a host or ask for less",
	}
	for _, ref := range z.inOrder() {
		h, ok := z.state[ref].(*resources.Host)
		if !ok {
			continue
		}
		if m.Needs().Within(h.Capacity(4, 1)) {
			return nil
		}
		e.Reasons = append(e.Reasons, resources.Reason{
			Candidate: ref, Name: h.Name, Check: "capacity", Needed: "more", Available: "less",
			Message: "the host is too small",
		})
	}
	return e
}

func (z *Zone) userOf(ref resources.Ref) *resources.Ref {
	for _, user := range z.inOrder() {
		if slices.Contains(z.state[user].References(), ref) {
			return &user
		}
	}
	return nil
}

// begin brings the target into the phase of the action.
func (z *Zone) begin(target resources.Resource, s resources.Submission, o *resources.Operation) {
	what := resources.EventUpdated
	if s.Action == "create" && s.Target.ID == "" {
		what = resources.EventCreated
	}
	if s.Action == "update" {
		old := target.Metadata()
		target = clone(s.Resource)
		target.Metadata().Phase, target.Metadata().CreatedAt = old.Phase, old.CreatedAt
	}
	z.put(target, o.ID, what)
}

// Finish ends an operation well.
func (z *Zone) Finish(id string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.revision++
	z.end(id, nil)
}

// Fail ends an operation with a failure.
func (z *Zone) Fail(id string, why *resources.Error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.revision++
	z.end(id, why)
}

// Progress moves an operation on: its first step ends, the next one runs.
func (z *Zone) Progress(id string, percent int, message string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.revision++
	o := clone(z.state[resources.Ref{Kind: resources.KindOperation, ID: id}]).(*resources.Operation)
	o.Phase, o.Percent, o.Message, o.StartedAt = resources.PhaseRunning, percent, message, z.now()
	o.Steps = slices.Clone(o.Steps)
	o.Steps[0].State, o.Steps[1].State = resources.StepDone, resources.StepRunning
	z.put(o, o.ID, resources.EventUpdated)
}

func (z *Zone) end(id string, why *resources.Error) {
	o := clone(z.state[resources.Ref{Kind: resources.KindOperation, ID: id}]).(*resources.Operation)
	o.Phase, o.Percent, o.EndedAt, o.Error = resources.PhaseSucceeded, 100, z.now(), why
	a, _ := z.vocabulary.Action(o.Target.Kind, o.Action)
	phase := a.After
	state := resources.StepDone
	if why != nil {
		o.Phase, phase, state = resources.PhaseFailed, a.Undone, resources.StepFailed
	}
	o.Steps = slices.Clone(o.Steps)
	for i := range o.Steps {
		o.Steps[i].State = state
	}
	if r, ok := z.state[o.Target]; ok {
		r = clone(r)
		if phase != "" {
			r.Metadata().Phase = phase
		}
		if s, ok := r.(*resources.Swap); ok && why == nil {
			z.swapped(s, o.Action)
		}
		what := resources.EventUpdated
		if a.Deletes && why == nil {
			what = resources.EventDeleted
		}
		z.put(r, o.ID, what)
	}
	z.put(o, o.ID, resources.EventUpdated)
}

// Plan implements door.Engine.
func (z *Zone) Plan(_ context.Context, s resources.Submission) (*resources.Plan, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	p := &resources.Plan{Action: s.Action, Target: s.Target, Steps: []string{"prepare", s.Action}}
	p.Error = resources.AsError(z.fits(s.Resource)) // nil if it fits
	return p, nil
}

// Wait implements door.Engine.
func (z *Zone) Wait(ctx context.Context, id resources.OperationID) (*resources.Operation, error) {
	ref := resources.Ref{Kind: resources.KindOperation, ID: string(id)}
	for {
		z.mu.Lock()
		o, ok := z.state[ref].(*resources.Operation)
		changed := z.changed
		z.mu.Unlock()
		if !ok {
			return nil, resources.NotFound(ref)
		}
		if o.Ended() || o.Phase == resources.PhaseNeedsOperator {
			return o, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return o, nil
		}
	}
}

// Resolve implements door.Engine.
func (z *Zone) Resolve(
	_ context.Context, id resources.OperationID, r resources.Resolution, _ resources.Origin,
) (*resources.Operation, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	ref := resources.Ref{Kind: resources.KindOperation, ID: string(id)}
	found, ok := z.state[ref]
	if !ok {
		return nil, resources.NotFound(ref)
	}
	o := clone(found).(*resources.Operation)
	if o.Ended() {
		return nil, &resources.Error{
			Class: resources.ClassConflict, Code: "operation-ended", Message: "the operation has ended already",
			Remedy: "nothing is left to decide", Resource: &ref,
		}
	}
	z.revision++
	o.Resolution, o.Cancel = string(r), r == resources.ResolutionCancel
	if o.Cancel {
		o.Phase, o.EndedAt = resources.PhaseCancelled, z.now()
	}
	z.put(o, o.ID, resources.EventUpdated)
	return o, nil
}

// Suspend implements door.Engine.
func (z *Zone) Suspend(
	_ context.Context, ref resources.Ref, suspended bool, _ resources.Origin,
) (resources.Resource, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	found, ok := z.state[ref]
	if !ok {
		return nil, resources.NotFound(ref)
	}
	r := clone(found)
	r.Metadata().Suspended = suspended
	z.revision++
	z.put(r, "", resources.EventUpdated)
	return r, nil
}

// Refused implements door.Engine.
func (z *Zone) Refused(
	_ context.Context, action string, target resources.Ref, why string, o resources.Origin,
) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.revision++
	z.audit = append(z.audit, resources.Audit{
		Position: resources.Position{Revision: z.revision}, At: z.now(), Principal: o.Principal, Source: o.Source,
		RequestID: o.RequestID, Action: action, Target: target, Decision: "denied", Statement: why, Digest: o.Digest,
	})
	return nil
}

// Changes implements door.Reader: any change counts for all kinds.
func (z *Zone) Changes(resources.Kind) uint64 {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.revision
}
