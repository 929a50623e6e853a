package persistence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// tx is the state while one command is applied: reads see its own writes by key
// (not in scans), and nothing is written before the command was accepted.
type tx struct {
	View
	pending *pending
	memory  *memory
	// index, term and at are those of the entry; event counts within the entry.
	index uint64
	term  uint64
	at    time.Time
	event *uint32
	// principal and operation go into the events of this command.
	principal string
	operation string
}

// newTx begins a command. What p holds of the one before is forgotten.
func newTx(p *pending, codec *Codec, known *memory, e Entry, event *uint32) *tx {
	p.reset()
	return &tx{
		View: View{r: p, codec: codec}, pending: p, memory: known,
		index: e.Index, term: e.Term, at: e.At.UTC(), event: event,
	}
}

// open reads a resource that came with a command. One that can't be read refuses the command on every node, where an
// error would end them all, and again at each start.
func (t *tx) open(d *Document) (resources.Resource, error) {
	r, err := t.codec.Open(d)
	if err != nil {
		return nil, malformed(err)
	}
	return r, nil
}

// CodeMalformed says that nobody can read a command, or carry it out: repeating it is of no use.
const CodeMalformed = "command-malformed"

func malformed(err error) *resources.Error {
	return &resources.Error{Class: resources.ClassInternal, Code: CodeMalformed, Message: err.Error()}
}

// An update of the store holds at least one entry of the log, with all its commands.
const (
	maxCommandWrites = MaxBatchBytes / 8
	maxEntryWrites   = MaxBatchBytes / 2
)

// fits refuses a command that writes what no store takes, alone or after what the entry's commands before it wrote. It
// returns how many bytes of the entry are written now.
func (t *tx) fits(written int) (int, error) {
	own := 0
	for i := range t.pending.writes {
		w := &t.pending.writes[i]
		own += len(w.key) + len(w.value)
		if len(w.key) > MaxKeyBytes || len(w.value) > MaxValueBytes || own > maxCommandWrites {
			return written, &resources.Error{
				Class: resources.ClassTooLarge, Code: "request-too-large",
				Message: "the request would write more than can be kept", Remedy: "shorten it",
			}
		}
	}
	if written+own > maxEntryWrites {
		return written, &resources.Error{
			Class: resources.ClassUnavailable, Code: "busy",
			Message: "too much is written at once", Remedy: "try again in a moment",
		}
	}
	return written + own, nil
}

// flush writes what the command wrote.
func (t *tx) flush(w Writer) error {
	for i := range t.pending.writes {
		one, err := &t.pending.writes[i], error(nil)
		if one.removed {
			err = w.Delete(one.key)
		} else {
			err = w.Put(one.key, one.value)
		}
		if err != nil {
			return fmt.Errorf("writing the state: %w", err)
		}
		t.memory.wrote(one)
	}
	t.memory.events = append(t.memory.events, t.pending.events...)
	return nil
}

func (t *tx) putRecord(k []byte, what string, v any) error {
	data, err := t.codec.marshal(what, v)
	if err != nil {
		return err
	}
	t.pending.put(k, data)
	return nil
}

func (t *tx) putNumber(name string, n uint64) {
	t.pending.put(key(familyMeta, name), binary.BigEndian.AppendUint64(nil, n))
}

// create adds a resource. Its name must be free and what it stands on must be
// there.
func (t *tx) create(r resources.Resource) error {
	m := r.Metadata()
	_, exists, err := t.r.Get(resourceKey(m.Ref()))
	if err != nil {
		return fmt.Errorf("reading %s: %w", m.Ref(), err)
	}
	if exists {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "id-taken",
			Message: fmt.Sprintf("there is a %s %s already", m.Kind, m.ID),
		}
	}
	return t.add(r)
}

// add is create for what is known not to be there.
func (t *tx) add(r resources.Resource) error {
	r.Metadata().CreatedAt = t.at
	return t.write(nil, r, resources.EventCreated)
}

// update replaces a resource by its next state. The phase must be one that may
// follow.
func (t *tx) update(old, next resources.Resource) error {
	if err := t.keepAdmin(old, next); err != nil {
		return err
	}
	if err := t.keepOneCurrent(old, next); err != nil {
		return err
	}
	return t.write(old, next, resources.EventUpdated)
}

func (t *tx) write(old, next resources.Resource, event resources.EventType) error {
	m := next.Metadata()
	if err := t.checkPhase(old, m); err != nil {
		return err
	}
	if err := t.checkSealed(resources.SealingKeys(next)); err != nil {
		return err
	}
	if err := t.checkName(old, m); err != nil {
		return err
	}
	m.Revision, m.UpdatedAt = t.index, t.at
	after, err := t.reindex(old, next)
	if err != nil {
		return err
	}
	doc, err := t.codec.Seal(next)
	if err != nil {
		return err
	}
	if len(doc.Data) > MaxValueBytes {
		return &resources.Error{
			Class: resources.ClassTooLarge, Code: "resource-too-large",
			Message: fmt.Sprintf("the %s would take %d bytes; at most %d are kept", m.Kind, len(doc.Data), MaxValueBytes),
			Remedy:  "shorten its properties, labels or user data",
		}
	}
	own := kept(next)
	t.pending.set(write{
		key: resourceKey(m.Ref()), value: doc.Data,
		record: &record{ref: m.Ref(), resource: own, entries: after},
	})
	return t.emit(event, own, doc.Data)
}

func (t *tx) checkPhase(old resources.Resource, m *resources.Meta) error {
	if old == nil {
		return nil
	}
	from := old.Metadata().Phase
	if t.codec.vocabulary[m.Kind].Phases.Allows(from, m.Phase) {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "wrong-phase",
		Message: fmt.Sprintf("%s %s can't go from %s to %s", m.Kind, m.ID, from, m.Phase),
		Remedy:  "wait for what is under way, then look again",
	}
}

func (t *tx) checkName(old resources.Resource, m *resources.Meta) error {
	if m.Name == "" || old != nil && old.Metadata().Name == m.Name {
		return nil
	}
	id, taken, err := t.r.Get(nameKey(m.Kind, m.Name))
	if err != nil {
		return fmt.Errorf("looking up a name: %w", err)
	}
	if !taken || string(id) == m.ID {
		return nil
	}
	return t.nameTaken(m, resources.Ref{Kind: m.Kind, ID: string(id)})
}

func (t *tx) nameTaken(m *resources.Meta, by resources.Ref) error {
	e := &resources.Error{
		Class: resources.ClassConflict, Code: "name-taken",
		Message: fmt.Sprintf("there is a %s named %q already", m.Kind, m.Name), Remedy: "choose another name",
		Fields:   []resources.FieldError{{Pointer: "/name", Code: "taken", Message: "is taken"}},
		Resource: &by,
	}
	holder, err := t.stored(by)
	if err != nil {
		return err
	}
	if holder.Metadata().Phase == resources.PhaseFailed {
		e.Message += ", which failed"
		e.Remedy = "delete that one first, or choose another name"
	}
	return e
}

// reindex brings names, facets and dependents in line with the next state, and returns them; nil stands for "not
// there".
func (t *tx) reindex(old, next resources.Resource) (after entries, err error) {
	before := t.indexed(old)
	if next != nil {
		after = entriesOf(next)
		for _, ref := range after.references {
			if err := t.checkReference(ref, before); err != nil {
				return after, err
			}
		}
	}
	t.replace(before, after)
	return after, nil
}

// indexed are the index keys that the state has of a resource.
func (t *tx) indexed(r resources.Resource) entries {
	if r == nil {
		return entries{}
	}
	ref := r.Metadata().Ref()
	if w := t.pending.find(resourceKey(ref)); w != nil && w.record != nil {
		return w.record.entries
	}
	if known := t.memory.find(ref); known != nil {
		return known.entries
	}
	return entriesOf(r)
}

func (t *tx) replace(before, after entries) {
	for _, e := range before.keys {
		if _, stays := after.find(e.key); !stays {
			t.pending.remove(e.key)
		}
	}
	for _, e := range after.keys {
		if value, was := before.find(e.key); !was || !bytes.Equal(value, e.value) {
			t.pending.put(e.key, e.value)
		}
	}
}

func (t *tx) checkReference(ref resources.Ref, before entries) error {
	if slices.Contains(before.references, ref) {
		return nil
	}
	r, err := t.current(ref)
	if err != nil {
		if e := resources.AsError(err); e.Class == resources.ClassNotFound {
			e.Class, e.Code = resources.ClassInvalid, "no-such-reference"
			return e
		}
		return err
	}
	switch phase := r.Metadata().Phase; phase {
	case resources.PhaseDeleting, resources.PhaseFailed, resources.PhaseDeleted:
		return &resources.Error{
			Class: resources.ClassConflict, Code: "reference-unusable",
			Message: fmt.Sprintf("%s %s is %s", ref.Kind, ref.ID, phase), Remedy: "choose another " + string(ref.Kind),
			Resource: &ref,
		}
	}
	return nil
}

// remove takes a resource out of the state, with all that belongs to it: its
// binding, what it reserved and what it claimed.
func (t *tx) remove(r resources.Resource) error {
	m := r.Metadata()
	if err := t.keepAdmin(r, nil); err != nil {
		return err
	}
	if _, err := t.reindex(r, nil); err != nil {
		return err
	}
	if err := t.releaseAll(m.Ref()); err != nil {
		return err
	}
	if err := t.unclaimAll(m.Ref()); err != nil {
		return err
	}
	if n, ok := r.(*resources.Network); ok {
		t.freeRange(n)
	}
	t.pending.remove(bindingKey(m.Ref()))
	t.pending.remove(usageKey(m.Ref()))
	t.pending.set(write{key: resourceKey(m.Ref()), removed: true, record: &record{ref: m.Ref()}})
	m.Phase, m.Revision, m.UpdatedAt = resources.PhaseDeleted, t.index, t.at
	doc, err := t.codec.Seal(r)
	if err != nil {
		return err
	}
	return t.emit(resources.EventDeleted, kept(r), doc.Data)
}

func (t *tx) emit(event resources.EventType, r resources.Resource, data []byte) error {
	p := resources.Position{Revision: t.index, Index: *t.event}
	*t.event++
	m := r.Metadata()
	ref := m.Ref()
	t.pending.events = append(t.pending.events, resources.Event{
		Position: p, Type: event, At: t.at, Ref: ref, Name: m.Name, Phase: m.Phase,
		Principal: t.principal, OperationID: resources.OperationID(t.operation), Resource: r,
	})
	return t.putRecord(positionKey(familyEvent, p), "an event", eventRecord{
		Type: event, At: t.at, Ref: ref, Principal: t.principal, Operation: t.operation, Data: data,
	})
}

// audit writes a line of the audit log, chained to the one before.
func (t *tx) audit(line resources.Audit) error {
	chain, _, err := t.r.Get(key(familyMeta, "chain"))
	if err != nil {
		return fmt.Errorf("reading the audit chain: %w", err)
	}
	line.Position = resources.Position{Revision: t.index, Index: *t.event}
	line.At, line.Chain = t.at, nil
	data, err := t.codec.marshal("an audit line", line)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(append(chain, data...))
	line.Chain = sum[:]
	t.pending.put(key(familyMeta, "chain"), sum[:])
	whole, err := t.Enabled(FeatureWholeAudit)
	if err != nil {
		return err
	}
	if whole { // the entry's next command may have no event of its own
		*t.event++
	}
	return t.putRecord(positionKey(familyAudit, line.Position), "an audit line", line)
}
