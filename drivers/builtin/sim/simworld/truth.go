package simworld

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Truth is what exists and what was done, at one instant, to compare an engine's beliefs with.
type Truth struct {
	state   *state
	effects []Effect
}

// LoadTruth reads the truth about the world in dir. It needs no driver and disturbs none.
func LoadTruth(dir string) (*Truth, error) {
	f, err := Follow(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Truth()
}

// Truth returns the truth about the world, as it is now and for good.
func (w *World) Truth() (*Truth, error) {
	f, err := w.Follow()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Truth()
}

// Objects lists what exists, of the given kinds or of all, sorted by kind, scope and id.
func (t *Truth) Objects(kinds ...string) []Object {
	var found []Object
	for on, things := range t.state.shelves {
		if len(kinds) > 0 && !slices.Contains(kinds, on.kind) {
			continue
		}
		for _, o := range things {
			found = append(found, *o)
		}
	}
	slices.SortFunc(found, func(a, b Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.ID, b.ID))
	})
	return found
}

// Count tells how many things with this kind and id exist, wherever they are: 0 or 1 in a proper world.
func (t *Truth) Count(kind, id string) int {
	count := 0
	for on, things := range t.state.shelves {
		if on.kind == kind && things[id] != nil {
			count++
		}
	}
	return count
}

// Effects lists everything that was done to the world, in order.
func (t *Truth) Effects() []Effect {
	return t.selectEffects(func(e *Effect) bool { return e.changes() })
}

// EffectsOf lists what was done to one resource, in order.
func (t *Truth) EffectsOf(ref Ref) []Effect {
	return t.selectEffects(func(e *Effect) bool { return e.changes() && e.Object.Ref() == ref })
}

// EffectsBy lists what calls with a token did, in order.
func (t *Truth) EffectsBy(token string) []Effect {
	return t.selectEffects(func(e *Effect) bool { return e.changes() && e.Token == token })
}

// Faults lists the injected faults that fired, in order.
func (t *Truth) Faults() []Effect {
	return t.selectEffects(func(e *Effect) bool { return e.What == EffectFault })
}

// Refusals lists what physical laws prevented, in order.
func (t *Truth) Refusals() []Effect {
	return t.selectEffects(func(e *Effect) bool { return e.What == EffectRefusal })
}

func (t *Truth) selectEffects(want func(*Effect) bool) []Effect {
	var found []Effect
	for i := range t.effects {
		if want(&t.effects[i]) {
			found = append(found, t.effects[i])
		}
	}
	return found
}

// Orphans lists what exists though the engine does not know it. Things made without a driver (Plant) and
// switches, which come with their hosts, are no orphans.
func (t *Truth) Orphans(known func(Ref) bool) []Object {
	planted := map[Key]bool{}
	for _, e := range t.effects {
		if e.What == EffectCreate {
			planted[e.Object.Key] = e.Call == ""
		}
	}
	return slices.DeleteFunc(t.Objects(), func(o Object) bool {
		return known(o.Ref()) || planted[o.Key] || o.Kind == KindPower
	})
}

// Missing lists those of the engine's resources that do not exist.
func (t *Truth) Missing(known []Ref) []Ref {
	return slices.DeleteFunc(slices.Clone(known), func(r Ref) bool { return t.Count(r.Kind, r.ID) > 0 })
}

// Duplicate is a thing that existed, or an effect that happened, more than once.
type Duplicate struct {
	Ref Ref
	Why string
	// Effects are those that together make the duplicate.
	Effects []Effect
}

// Duplicates lists, over the whole history: things that existed in two places at one time, machines that ran on two
// hosts at one time, and calls that took effect twice for one token.
func (t *Truth) Duplicates() []Duplicate {
	found := t.doublePlaces()
	return append(found, t.doubleEffects()...)
}

// doublePlaces replays where each id was.
func (t *Truth) doublePlaces() []Duplicate {
	var found []Duplicate
	at := map[Ref]map[string]Effect{}
	for i := range t.effects {
		e := t.effects[i]
		if !e.changes() {
			continue
		}
		e.darken(at)
		ref := e.Object.Ref()
		if e.Gone || e.Object.Kind == KindMachine && !e.Object.live() {
			delete(at[ref], e.Object.Scope)
			continue
		}
		if at[ref] == nil {
			at[ref] = map[string]Effect{}
		}
		_, here := at[ref][e.Object.Scope]
		for scope, other := range at[ref] {
			if scope != e.Object.Scope && !here {
				found = append(found, Duplicate{
					Ref: ref, Why: fmt.Sprintf("in %s while in %s", e.Object.Scope, scope), Effects: []Effect{other, e},
				})
			}
		}
		at[ref][e.Object.Scope] = e
	}
	return found
}

// doubleEffects looks for the same thing done twice by one token. A thing is adopted once for each epoch: an owner
// that takes a call over from one before asks with the same token, and the thing has to obey it.
func (t *Truth) doubleEffects() []Duplicate {
	type deed struct {
		call, token, what string
		on                Key
		epoch             uint64
	}
	var found []Duplicate
	first := map[deed]Effect{}
	for i := range t.effects {
		e := t.effects[i]
		if !e.changes() || e.Token == "" {
			continue
		}
		d := deed{call: e.Call, token: e.Token, what: e.What, on: e.Object.Key}
		switch e.What {
		case EffectReturn: // and may leave again
			d.what = EffectLeave
			delete(first, d)
			continue
		case EffectAdopt:
			d.epoch = e.Epoch
		}
		if other, twice := first[d]; twice {
			found = append(found, Duplicate{
				Ref: e.Object.Ref(), Why: fmt.Sprintf("%s by one token twice", e.What), Effects: []Effect{other, e},
			})
			continue
		}
		first[d] = e
	}
	return found
}

// Stale lists effects of owners that had been replaced: with a lower epoch than an earlier effect on the same
// resource. The laws leave none where the thing still exists; one that was deleted has forgotten its owner.
func (t *Truth) Stale() []Effect {
	highest := map[Ref]uint64{}
	return t.selectEffects(func(e *Effect) bool {
		if !e.changes() || e.Call == "" {
			return false
		}
		stale := e.Epoch < highest[e.Resource]
		highest[e.Resource] = max(highest[e.Resource], e.Epoch)
		return stale
	})
}

// String is the effect in a line, for people.
func (e Effect) String() string {
	return fmt.Sprintf("#%d %s %s %s by %s (token %q, epoch %d) %s",
		e.Seq, e.Time.Format(time.RFC3339Nano), e.What, e.Object.Key, e.Call, e.Token, e.Epoch, e.Why)
}
