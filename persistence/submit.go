package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Submit accepts an operation: from here on it will end, whatever crashes. In
// the same entry go the resource in its first state (for a creation), the audit
// line and the events.
type Submit struct {
	// Operation with id, action, target, arguments, steps and who asked.
	Operation *Document `json:"o"`
	// Resource is the new or changed resource, for actions that carry one.
	Resource *Document `json:"r,omitempty"`
	// Instant operations need nobody to act: they succeed by being accepted.
	Instant bool `json:"i,omitempty"`
	// Pending leaves the new resource of an instant operation pending: another
	// operation will realise it.
	Pending bool `json:"p,omitempty"`
	// IfRevision, if not 0, must be the target's revision.
	IfRevision uint64 `json:"v,omitempty"`
	// Key and Fingerprint of a request that may be repeated.
	Key         string `json:"k,omitempty"`
	Fingerprint []byte `json:"f,omitempty"`
	Source      string `json:"s,omitempty"`
	Digest      []byte `json:"d,omitempty"`
	// Sole says that the id of the operation follows from what asks for it: no other can be the same request.
	Sole bool `json:"z,omitempty"`
	// Fence of the parent's owner, when an operation asks for another.
	Fence *Fence `json:"e,omitempty"`
	// Claims taken with it (instant operations only).
	Claims []Claim `json:"c,omitempty"`
	// Drivers, if set, are the records of drivers that it was judged by.
	Drivers *Witness `json:"w,omitempty"`
}

func (*Submit) commandName() string { return "submit" }

func (s *Submit) apply(t *tx) (Result, error) {
	r, err := t.open(s.Operation)
	if err != nil {
		return Result{}, err
	}
	op, ok := r.(*resources.Operation)
	if !ok {
		return Result{}, fmt.Errorf("submitting: not an operation but a %T", r)
	}
	t.principal, t.operation = op.Principal, op.ID
	if before, err := s.repeated(t, op); err != nil || before != nil {
		return Result{Operation: before, Repeated: before != nil}, err
	}
	if s.Fence != nil {
		if err := t.checkFence(*s.Fence); err != nil {
			return Result{}, err
		}
	}
	if err := s.witnessed(t); err != nil {
		return Result{}, err
	}
	if err := s.accept(t, op); err != nil {
		return Result{}, err
	}
	if err := s.remember(t, op); err != nil {
		return Result{}, err
	}
	if err := s.audit(t, op); err != nil {
		return Result{}, err
	}
	return Result{Operation: op}, nil
}

// repeated finds the operation that an equal request became before: the same command, of which its proposer did not
// learn what became of it, or one of the same parent or key.
func (s *Submit) repeated(t *tx, op *resources.Operation) (*resources.Operation, error) {
	same, err := t.Operation(resources.OperationID(op.ID))
	if err == nil || resources.ClassOf(err) != resources.ClassNotFound {
		return same, err
	}
	if s.Sole {
		return nil, nil
	}
	if op.ParentID != "" {
		children, err := t.Children(op.ParentID, op.ParentStep)
		if err != nil || len(children) == 0 {
			return nil, err
		}
		last := children[len(children)-1]
		if last.Phase == resources.PhaseFailed || last.Phase == resources.PhaseCancelled {
			return nil, nil // asked for again after it failed
		}
		return last, nil
	}
	return t.Repeated(op.Principal, s.Key, s.Fingerprint)
}

// Repeated finds the operation that a request of a principal with an idempotency
// key became before; nil = there was none. A key that was used for a request with
// another fingerprint is refused with class invalid.
func (v *View) Repeated(principal, idempotencyKey string, fingerprint []byte) (*resources.Operation, error) {
	if idempotencyKey == "" {
		return nil, nil
	}
	var rec idempotency
	known, err := v.record(key(familyIdempotency, principal, idempotencyKey), "an idempotency key", &rec)
	if err != nil || !known {
		return nil, err
	}
	if !bytes.Equal(rec.Fingerprint, fingerprint) {
		return nil, &resources.Error{
			Class: resources.ClassInvalid, Code: "idempotency-key-reused",
			Message: "this idempotency key was used for another request", Remedy: "use a new key for a new request",
		}
	}
	return v.Operation(resources.OperationID(rec.Operation))
}

func (s *Submit) accept(t *tx, op *resources.Operation) error {
	action, ok := t.codec.vocabulary.Action(op.Target.Kind, op.Action)
	if !ok {
		return &resources.Error{
			Class: resources.ClassInvalid, Code: "no-such-action",
			Message: fmt.Sprintf("a %s has no action %q", op.Target.Kind, op.Action),
		}
	}
	if err := t.reached(action); err != nil {
		return err
	}
	if err := t.checkSealed(argumentKeys(op)); err != nil {
		return err
	}
	target, err := s.target(t, op, action)
	if err != nil {
		return err
	}
	op.TargetName, op.Before = target.Metadata().Name, target.Metadata().Phase
	op.Phase, op.Sequence = resources.PhaseQueued, t.index<<20|uint64(*t.event)&(1<<20-1)
	op.Deadline = t.at.Add(action.Deadline)
	if op.Urgent {
		op.Deadline = t.at.Add(urgentDeadline)
	}
	if s.Instant {
		op.Phase, op.StartedAt, op.EndedAt, op.Percent = resources.PhaseSucceeded, t.at, t.at, 100
		t.ended(op)
		return t.add(op) // repeated has looked whether it is there
	}
	zone, err := t.Zone()
	if err != nil {
		return err
	}
	if err := t.overtakes(zone, op); err != nil {
		return err
	}
	t.pending.put(queueKey(ShardOf(op.Target, zone.Status.Shards), op.Target, op.Place()), []byte(op.ID))
	return t.add(op) // repeated has looked whether it is there
}

// urgentDeadline is how long it is tried to do what is urgent: what waits behind it waits as long.
const urgentDeadline = 30 * time.Minute

// overtakes refuses a second operation that overtakes the others on a resource.
func (t *tx) overtakes(zone *resources.Zone, op *resources.Operation) error {
	if !op.Urgent {
		return nil
	}
	_, taken, err := t.r.Get(queueKey(ShardOf(op.Target, zone.Status.Shards), op.Target, op.Place()))
	if err != nil || !taken {
		return err
	}
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: "urgent-waits",
		Message: fmt.Sprintf("something urgent waits already on %s", op.Target), Remedy: "ask again when it has ended",
	}
}

// reached refuses an action that the zone's level does not have yet.
func (t *tx) reached(action resources.Action) error {
	if action.Level <= OldestLevel {
		return nil
	}
	if level, err := t.Level(); err != nil || action.Level > level {
		return errors.Join(err, notYet(action.Name, action.Level, level))
	}
	return nil
}

// target brings the resource into the state it has once this is accepted.
func (s *Submit) target(t *tx, op *resources.Operation, action resources.Action) (resources.Resource, error) {
	if action.Name == "create" && s.Resource != nil {
		return s.create(t)
	}
	current, err := t.stored(op.Target)
	if err != nil {
		return nil, err
	}
	if err := s.allowed(t, op, action, current); err != nil {
		return nil, err
	}
	if action.Deletes {
		if err := errors.Join(s.unused(t, op), t.mayRemove(current)); err != nil {
			return nil, err
		}
	}
	if s.Instant && action.Deletes {
		return current, t.remove(current)
	}
	if s.Resource == nil {
		return current, nil
	}
	next, err := t.open(s.Resource)
	if err != nil {
		return nil, err
	}
	m, was := next.Metadata(), current.Metadata()
	m.Phase, m.Reason, m.Suspended, m.CreatedAt = was.Phase, was.Reason, was.Suspended, was.CreatedAt
	if err := t.mayChange(current, next); err != nil {
		return nil, err
	}
	return next, t.update(current, next)
}

func (s *Submit) create(t *tx) (resources.Resource, error) {
	r, err := t.open(s.Resource)
	if err != nil {
		return nil, err
	}
	r.Metadata().Phase = resources.PhasePending
	if s.Instant && !s.Pending {
		r.Metadata().Phase = resources.PhaseReady
	}
	if err := t.mayCreate(r); err != nil {
		return nil, err
	}
	if n, ok := r.(*resources.Network); ok {
		if err := t.takeRange(n); err != nil {
			return nil, err
		}
	}
	if err := t.create(r); err != nil {
		return nil, err
	}
	for _, c := range s.Claims {
		if err := t.claim(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// allowed checks revision and phase. Behind other operations the phase is not
// known yet; it is checked again when the operation begins. What is taken away at
// once is behind nothing, and what is queued would never come to its end.
func (s *Submit) allowed(t *tx, op *resources.Operation, action resources.Action, current resources.Resource) error {
	m := current.Metadata()
	if s.IfRevision != 0 && s.IfRevision != m.Revision {
		return &resources.Error{
			Class: resources.ClassStale, Code: "revision-changed",
			Message: fmt.Sprintf("the %s is at revision %d, not %d", m.Kind, m.Revision, s.IfRevision),
			Remedy:  "read it again and repeat the request with its revision",
		}
	}
	if action.Deletes && m.Phase == resources.PhaseDeleting {
		return t.wrongPhase(m, action)
	}
	zone, err := t.Zone()
	if err != nil {
		return err
	}
	queued, err := t.queued(ShardOf(op.Target, zone.Status.Shards), op.Target)
	if err != nil {
		return err
	}
	switch {
	case len(queued) > 0 && s.Instant && action.Deletes:
		return inUse(m, queued)
	case len(queued) > 0, op.Urgent:
		return nil
	}
	if !slices.Contains(action.From, m.Phase) {
		return t.wrongPhase(m, action)
	}
	return nil
}

// inUse says what is queued for a resource that is to be deleted.
func inUse(m *resources.Meta, queued []string) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "operation-under-way",
		Message: fmt.Sprintf("%s %s has operations that have not ended: %s", m.Kind, m.ID, strings.Join(queued, ", ")),
		Remedy:  "wait until they have ended, or cancel them",
	}
}

func (t *tx) wrongPhase(m *resources.Meta, action resources.Action) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "wrong-phase",
		Message: fmt.Sprintf("%s %s is %s; %q needs it to be %s", m.Kind, m.ID, m.Phase, action.Name, either(action.From)),
		Remedy:  wayOut(t.codec.vocabulary[m.Kind].Actions, m.Phase, action),
	}
}

// wayOut says how to come from a phase to one in which an action can be asked for.
func wayOut(actions map[string]resources.Action, from resources.Phase, wanted resources.Action) string {
	if from == wanted.After {
		return "nothing is left to do"
	}
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		a := actions[name]
		if !a.Internal && slices.Contains(a.From, from) && slices.Contains(wanted.From, a.After) {
			return name + " it first"
		}
	}
	return "wait for what is under way with it; what failed can only be deleted"
}

// either lists phases for people: "running or paused".
func either(phases []resources.Phase) string {
	var b strings.Builder
	for i, p := range phases {
		switch {
		case i == 0:
		case i == len(phases)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(p))
	}
	return b.String()
}

// unused refuses to delete what others stand on, other than the one that asks.
func (s *Submit) unused(t *tx, op *resources.Operation) error {
	dependents, err := t.Dependents(op.Target, 4)
	if err != nil {
		return err
	}
	if op.ParentID != "" {
		parent, err := t.Operation(op.ParentID)
		if err != nil {
			return err
		}
		dependents = slices.DeleteFunc(dependents, func(r resources.Ref) bool { return r == parent.Target })
	}
	if len(dependents) == 0 {
		return nil
	}
	return InUse(op.Target, dependents)
}

// CodeInUse is of the error that InUse makes.
const CodeInUse = "in-use"

// InUse says that others stand on a resource.
func InUse(ref resources.Ref, dependents []resources.Ref) *resources.Error {
	const shown = 3
	list := make([]string, 0, shown)
	for _, d := range dependents[:min(len(dependents), shown)] {
		list = append(list, string(d.Kind)+" "+d.ID)
	}
	names := strings.Join(list, ", ")
	if len(dependents) > shown {
		names += " and others"
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: CodeInUse,
		Message: fmt.Sprintf("%s %s is in use by %s", ref.Kind, ref.ID, names),
		Remedy:  "delete or change those first", Resource: &dependents[0],
	}
}

func (s *Submit) remember(t *tx, op *resources.Operation) error {
	if s.Key == "" {
		return nil
	}
	k := key(familyIdempotency, op.Principal, s.Key)
	t.pending.put(expiryKey(t.at, k), k)
	return t.putRecord(k, "an idempotency key", idempotency{Operation: op.ID, Fingerprint: s.Fingerprint})
}

// expiryKey sorts idempotency keys by when they were first used.
func expiryKey(at time.Time, k []byte) []byte {
	e := binary.BigEndian.AppendUint64([]byte(familyExpiry), uint64(at.UnixNano()))
	return append(e, k...)
}

func (s *Submit) audit(t *tx, op *resources.Operation) error {
	if op.ParentID != "" {
		return nil // the parent's line stands for it
	}
	return t.audit(resources.Audit{
		Principal: op.Principal, Source: s.Source, RequestID: op.RequestID, Action: op.Asked(), Target: op.Target,
		Decision: "accepted", Digest: s.Digest, Statement: op.Arguments.Statement,
	})
}

// ended notes when an operation ended, so that it can be forgotten one day.
func (t *tx) ended(op *resources.Operation) {
	k := binary.BigEndian.AppendUint64([]byte(familyEnded), uint64(t.at.UnixNano()))
	t.pending.put(append(k, op.ID...), []byte(op.ID))
}
