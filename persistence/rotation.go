package persistence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// RotationPhase is how far a rotation is.
type RotationPhase string

// The phases of a rotation, in order. Each begins when all members have reached the one before.
const (
	// RotationAdding makes the new secret known to all, beside the old one.
	RotationAdding RotationPhase = "adding"
	// RotationUsing has all use the new one; the old one is good still.
	RotationUsing RotationPhase = "using"
	// RotationDropping has all give the old one up.
	RotationDropping RotationPhase = "dropping"
	// RotationDone is a rotation that is over.
	RotationDone RotationPhase = "done"
)

// After reports whether p comes after other. What is no phase comes before all.
func (p RotationPhase) After(other RotationPhase) bool { return p.place() > other.place() }

func (p RotationPhase) place() int {
	return slices.Index([]RotationPhase{RotationAdding, RotationUsing, RotationDropping, RotationDone}, p)
}

func (p RotationPhase) next() RotationPhase {
	switch p {
	case RotationAdding:
		return RotationUsing
	case RotationUsing:
		return RotationDropping
	case RotationDropping, RotationDone:
	}
	return RotationDone
}

// Rotation replaces a secret that all members have by another while all go on. There is
// one at a time, and the last one is remembered.
type Rotation struct {
	ID string `json:"i"`
	// Secret says what is replaced, in a word of the proposer's.
	Secret string `json:"s"`
	// Old and New tell the secrets apart, and nothing about them.
	Old string `json:"o"`
	New string `json:"n"`
	// Sealed is the new one, for those alone who have what it is sealed with; empty when it is over.
	Sealed []byte        `json:"e,omitempty"`
	Phase  RotationPhase `json:"p"`
	// BegunAt is when it began, Since when its phase did.
	BegunAt time.Time `json:"b"`
	Since   time.Time `json:"t"`
	// Instead is the id of a rotation under way that this one takes the place of: nobody can go on with it.
	Instead string `json:"x,omitempty"`
	// Forsaken says that nobody has the old one: what is left to do with it can't be done.
	Forsaken bool `json:"f,omitempty"`
	// Alone says that the cluster has no nodes from before it began: those that the state knows are of another one, whose
	// state the zone was restored from.
	Alone bool `json:"l,omitempty"`
	// Reached is the phase that each member has reached.
	Reached map[string]RotationPhase `json:"r,omitempty"`
}

// Under reports whether it goes on.
func (r Rotation) Under() bool { return r.Phase != "" && r.Phase != RotationDone }

// Has reports whether a member has reached the phase that it is in.
func (r Rotation) Has(role, name string) bool {
	return !r.Phase.After(r.Reached[memberName(role, name)])
}

func memberName(role, name string) string { return role + " " + name }

// Rotate begins a rotation, says that a member has reached its phase, or has the next
// phase begin. One of the three is set.
type Rotate struct {
	// Begin has ID, Secret, Old, New, Sealed, Instead, Forsaken and Alone.
	Begin *Rotation `json:"b,omitempty"`
	// Reached says how far a member is. Repeated it is no error.
	Reached *RotationReached `json:"r,omitempty"`
	// Advance ends a phase. It is refused while a member has not reached it.
	Advance *RotationAdvance `json:"a,omitempty"`
	Origin  resources.Origin `json:"w,omitzero"`
}

// RotationReached says that a member has reached a phase of a rotation.
type RotationReached struct {
	ID    string        `json:"i"`
	Role  string        `json:"r"`
	Name  string        `json:"n"`
	Phase RotationPhase `json:"p"`
}

// RotationAdvance ends a phase of a rotation.
type RotationAdvance struct {
	ID string `json:"i"`
	// Phase that is over.
	Phase RotationPhase `json:"p"`
	// Nodes that must have reached it, besides the members that the state knows.
	Nodes []string `json:"n"`
}

func (*Rotate) commandName() string { return "rotate" }

func (c *Rotate) apply(t *tx) (Result, error) {
	r, err := t.Rotation()
	switch {
	case err != nil:
		return Result{}, err
	case c.Begin != nil:
		err = c.begin(t, r)
	case c.Reached != nil:
		err = c.reached(t, r)
	case c.Advance != nil:
		err = c.advance(t, r)
	}
	return Result{}, err
}

func (c *Rotate) begin(t *tx, had Rotation) error {
	if had.Under() && had.ID != c.Begin.Instead {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "rotation-under-way",
			Message: fmt.Sprintf("the %s is being replaced since %s", had.Secret, had.BegunAt.UTC().Format(time.RFC3339)),
			Remedy:  "wait until that is done; see who lags: bulkhead node rotation",
		}
	}
	if had.Secret == c.Begin.Secret && had.New != c.Begin.Old && !had.Under() {
		return staleRotation("the " + had.Secret + " was replaced meanwhile")
	}
	next := *c.Begin
	next.Phase, next.BegunAt, next.Since, next.Reached = RotationAdding, t.at, t.at, nil
	if err := t.putRecord([]byte(familyRotation), "a rotation", next); err != nil {
		return err
	}
	return t.auditMember(c.Origin, "rotate", "rotation", next.Secret)
}

func (c *Rotate) reached(t *tx, r Rotation) error {
	if r.ID != c.Reached.ID || !r.Under() {
		return staleRotation("it is over")
	}
	name := memberName(c.Reached.Role, c.Reached.Name)
	if !c.Reached.Phase.After(r.Reached[name]) {
		return nil
	}
	if c.Reached.Phase.After(r.Phase) {
		return staleRotation("that phase has not begun")
	}
	if r.Reached == nil {
		r.Reached = map[string]RotationPhase{}
	}
	r.Reached[name] = c.Reached.Phase
	return t.putRecord([]byte(familyRotation), "a rotation", r)
}

func (c *Rotate) advance(t *tx, r Rotation) error {
	if r.ID != c.Advance.ID || r.Phase != c.Advance.Phase || !r.Under() {
		return staleRotation("that phase is over")
	}
	lagging, err := t.Lagging(r, c.Advance.Nodes)
	if err != nil {
		return err
	}
	if len(lagging) > 0 {
		return staleRotation("not all are so far: " + strings.Join(lagging, ", "))
	}
	if r.Secret == RotationSecretKeys {
		if err := t.advanceKeys(r); err != nil {
			return err
		}
	}
	r.Phase, r.Since = r.Phase.next(), t.at
	if r.Phase == RotationDone {
		r.Sealed, r.Reached = nil, nil
	}
	return t.putRecord([]byte(familyRotation), "a rotation", r)
}

// advanceKeys says which keys are good in the phase that comes. The old one is given up when nothing is sealed with it.
func (t *tx) advanceKeys(r Rotation) error {
	switch r.Phase.next() {
	case RotationUsing:
		good, err := t.SecretKeys()
		if err != nil {
			return err
		}
		good = slices.DeleteFunc(good, func(id string) bool { return id == r.New })
		return t.putSecretKeys(slices.Insert(good, 0, r.New)...)
	case RotationDropping:
		found, err := t.SealedOtherwise(r.New)
		if err != nil {
			return err
		}
		if found != (resources.Ref{}) {
			return staleRotation(fmt.Sprintf("secrets of %s are not sealed with the new key", found))
		}
		return t.putSecretKeys(r.New)
	case RotationAdding, RotationDone:
	}
	return nil
}

func staleRotation(why string) error {
	return &resources.Error{Class: resources.ClassStale, Code: "rotation-changed", Message: "the rotation: " + why}
}

// Rotation returns the one that goes on, or else the last one, or none.
func (v *View) Rotation() (r Rotation, err error) {
	_, err = v.record([]byte(familyRotation), "a rotation", &r)
	return r, err
}

// Lagging returns who has not reached the phase that a rotation is in, as role and
// name: of the members that were let in and not taken out, and of some nodes besides.
func (v *View) Lagging(r Rotation, nodes []string) ([]string, error) {
	if !r.Under() {
		return nil, nil
	}
	members, err := v.Members()
	if err != nil {
		return nil, err
	}
	if r.Alone {
		members = slices.DeleteFunc(members, func(m Member) bool { return m.Since.Before(r.BegunAt) })
	}
	for _, name := range nodes {
		members = append(members, Member{Role: RoleNode, Name: name})
	}
	var lagging []string
	for _, m := range members {
		if !m.Expelled && !r.Has(m.Role, m.Name) {
			lagging = append(lagging, memberName(m.Role, m.Name))
		}
	}
	slices.Sort(lagging)
	return slices.Compact(lagging), nil
}
