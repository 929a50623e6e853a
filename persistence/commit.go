package persistence

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Commit is what the owner of a resource writes in the course of its work: the
// journal of an operation, the resource's new state, the driver's new handle,
// and what is reserved, claimed or given back with it, all or nothing.
type Commit struct {
	Fence Fence `json:"f"`
	// Operation is the journal; what others may write into it meanwhile (Cancel,
	// Resolution) is kept.
	Operation *Document `json:"o,omitempty"`
	// Follows is JournalMark of the journal that this one was made from. If it is
	// another one by now, a commit of before whose outcome was not known came about
	// after all, and this one is refused as stale. 0 = unchecked.
	Follows uint64 `json:"p,omitempty"`
	// TookResolution says that the operator's decision was taken up.
	TookResolution bool `json:"t,omitempty"`
	// Resource is the next state of the resource; BaseRevision the revision it
	// was made from.
	Resource     *Document `json:"r,omitempty"`
	BaseRevision uint64    `json:"b,omitempty"`
	// Delete takes the resource out of the state.
	Delete  resources.Ref `json:"d,omitzero"`
	Binding *Binding      `json:"g,omitempty"`
	Unbind  bool          `json:"n,omitempty"`
	Reserve []Reservation `json:"v,omitempty"`
	Release []Reservation `json:"l,omitempty"`
	Claim   []Claim       `json:"c,omitempty"`
	Unclaim []Claim       `json:"u,omitempty"`
}

// CodeEnded is the code of the refusal to write the journal of an operation that has ended.
const CodeEnded = "operation-ended"

func (*Commit) commandName() string { return "commit" }

func (c *Commit) apply(t *tx) (Result, error) {
	if err := t.checkFence(c.Fence); err != nil {
		return Result{}, err
	}
	t.principal = "system"
	op, old, err := c.journal(t)
	if err != nil {
		return Result{}, err
	}
	result := Result{Operation: op}
	if result.Resource, err = c.resource(t, op); err != nil {
		return Result{}, err
	}
	if err := c.holdings(t); err != nil {
		return Result{}, err
	}
	if op != nil {
		if err := c.settle(t, old, op); err != nil {
			return Result{}, err
		}
	}
	if op != nil {
		result.Journal = t.recorded(op)
	}
	if result.Resource != nil {
		result.Record = t.recorded(result.Resource)
	}
	if c.Delete.IsZero() {
		return result, nil
	}
	return result, c.remove(t, op)
}

func (c *Commit) journal(t *tx) (op, old *resources.Operation, err error) {
	if c.Operation == nil {
		return nil, nil, nil
	}
	r, err := t.open(c.Operation)
	if err != nil {
		return nil, nil, err
	}
	op, ok := r.(*resources.Operation)
	if !ok {
		return nil, nil, fmt.Errorf("committing: not an operation but a %T", r)
	}
	current, err := t.current(resources.Ref{Kind: resources.KindOperation, ID: op.ID})
	if err != nil {
		return nil, nil, err
	}
	if old, ok = current.(*resources.Operation); !ok {
		return nil, nil, fmt.Errorf("committing: found a %T for operation %s", current, op.ID)
	}
	if old.Ended() {
		return nil, nil, &resources.Error{
			Class: resources.ClassStale, Code: CodeEnded,
			Message: fmt.Sprintf("operation %s has ended: %s", op.ID, old.Phase),
		}
	}
	if c.Follows != 0 && c.Follows != JournalMark(old) {
		return nil, nil, &resources.Error{
			Class: resources.ClassStale, Code: "journal-changed",
			Message: fmt.Sprintf("operation %s has gone on meanwhile", op.ID),
		}
	}
	op.Cancel = old.Cancel
	if !c.TookResolution {
		op.Resolution = old.Resolution
	}
	op.Epoch = c.Fence.Epoch
	t.principal, t.operation = op.Principal, op.ID
	return op, old, nil
}

// JournalMark tells journals of one operation apart by how far they are. It is never 0.
func JournalMark(op *resources.Operation) uint64 {
	var room [256]byte
	b := append(append(room[:0], op.Phase...), op.Before...)
	for _, s := range op.Steps {
		b = append(append(append(append(b, '/'), s.Name...), '='), s.State...)
		b = strconv.AppendInt(append(b, '*'), int64(s.Attempts), 10)
	}
	h := fnv.New64a()
	h.Write(b) // a hash never fails
	return max(h.Sum64(), 1)
}

// settle writes the journal and, once the operation ended, takes it out of the
// queue.
func (c *Commit) settle(t *tx, old, op *resources.Operation) error {
	if op.Ended() {
		op.EndedAt = t.at
		t.pending.remove(queueKey(c.Fence.Shard, op.Target, op.Place()))
		t.ended(op)
	}
	return t.update(old, op)
}

func (c *Commit) resource(t *tx, by *resources.Operation) (resources.Resource, error) {
	if c.Resource == nil {
		return nil, nil
	}
	next, err := t.open(c.Resource)
	if err != nil {
		return nil, err
	}
	current, err := t.current(next.Metadata().Ref())
	if err != nil {
		return nil, err
	}
	if current.Metadata().Revision != c.BaseRevision {
		return nil, &resources.Error{
			Class: resources.ClassStale, Code: "revision-changed",
			Message: fmt.Sprintf("%s is at revision %d, not %d", next.Metadata().Ref(),
				current.Metadata().Revision, c.BaseRevision),
		}
	}
	if entersDeleting(current, next) {
		// From here on nothing can come to stand on it: the phase refuses that.
		if err := c.unused(t, by, next.Metadata().Ref()); err != nil {
			return nil, err
		}
	}
	return next, t.update(current, next)
}

func entersDeleting(current, next resources.Resource) bool {
	return next.Metadata().Phase == resources.PhaseDeleting && current.Metadata().Phase != resources.PhaseDeleting
}

// unused refuses what others stand on, other than the resource that asked.
func (c *Commit) unused(t *tx, by *resources.Operation, ref resources.Ref) error {
	dependents, err := t.Dependents(ref, 4)
	if err != nil {
		return err
	}
	if by != nil && by.ParentID != "" {
		if dependents, err = c.others(t, by, dependents); err != nil {
			return err
		}
	}
	if len(dependents) > 0 {
		return InUse(ref, dependents)
	}
	return nil
}

func (c *Commit) holdings(t *tx) error {
	for _, r := range c.Release {
		if err := t.release(r.Owner, r.Holder); err != nil {
			return err
		}
	}
	for _, r := range c.Reserve {
		if err := t.reserve(r); err != nil {
			return err
		}
	}
	for _, u := range c.Unclaim {
		if err := t.unclaim(u); err != nil {
			return err
		}
	}
	for _, k := range c.Claim {
		if err := t.claim(k); err != nil {
			return err
		}
	}
	return c.bind(t)
}

func (c *Commit) bind(t *tx) error {
	if c.Binding == nil {
		return nil
	}
	if c.Unbind {
		t.pending.remove(bindingKey(c.Binding.Ref))
		return nil
	}
	c.Binding.Epoch = c.Fence.Epoch
	return t.putRecord(bindingKey(c.Binding.Ref), "a binding", c.Binding)
}

// remove takes the resource out and fails what still waits for it.
func (c *Commit) remove(t *tx, by *resources.Operation) error {
	current, err := t.stored(c.Delete)
	if err != nil {
		return err
	}
	if err := c.unused(t, by, c.Delete); err != nil {
		return err
	}
	if err := t.remove(current); err != nil {
		return err
	}
	return c.failWaiting(t, by)
}

// others leaves out the resource that asked for the deletion.
func (c *Commit) others(t *tx, by *resources.Operation, dependents []resources.Ref) ([]resources.Ref, error) {
	parent, err := t.Operation(by.ParentID)
	if err != nil {
		return nil, err
	}
	var rest []resources.Ref
	for _, d := range dependents {
		if d != parent.Target {
			rest = append(rest, d)
		}
	}
	return rest, nil
}

func (c *Commit) failWaiting(t *tx, by *resources.Operation) error {
	ids, err := t.queued(c.Fence.Shard, c.Delete)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if by != nil && id == by.ID {
			continue
		}
		if err := t.endWaiting(c.Fence.Shard, id, resources.PhaseFailed, resources.NotFound(c.Delete)); err != nil {
			return err
		}
	}
	return nil
}

// endWaiting ends an operation that never began.
func (t *tx) endWaiting(shard Shard, id string, phase resources.Phase, why *resources.Error) error {
	old, err := t.Operation(resources.OperationID(id))
	if err != nil {
		return err
	}
	clone, err := t.codec.Clone(old)
	if err != nil {
		return err
	}
	op, ok := clone.(*resources.Operation)
	if !ok {
		return fmt.Errorf("ending operation %s: found a %T", id, clone)
	}
	op.Phase, op.Error, op.EndedAt = phase, why, t.at
	t.pending.remove(queueKey(shard, op.Target, op.Place()))
	t.ended(op)
	t.operation = op.ID
	return t.update(old, op)
}

// checkFence refuses a writer that no longer acts for its shard.
func (t *tx) checkFence(f Fence) error {
	owners, err := t.owners()
	if err != nil {
		return err
	}
	if int(f.Shard) < len(owners) && owners[f.Shard].Node == f.Node && owners[f.Shard].Epoch == f.Epoch {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassStale, Code: "fenced",
		Message: fmt.Sprintf("node %s no longer acts for shard %d in epoch %d", f.Node, f.Shard, f.Epoch),
	}
}
