package simworld

import (
	"errors"
	"time"
)

var (
	errReadOnly = errors.New("the world can't be changed in a view")
	errOneThing = errors.New("one update changes one thing")
)

// Tx is the world held still. It is good only inside the function it is given to.
type Tx struct {
	state    *state
	cause    Cause
	now      time.Time
	readOnly bool

	effect  *Effect
	refusal *LawError
	refused Key
}

// Now is the time of the update.
func (tx *Tx) Now() time.Time { return tx.now }

// Get returns a thing; false if it is not there.
func (tx *Tx) Get(key Key) (Object, bool) {
	o := tx.state.get(key)
	if o == nil {
		return Object{Key: key}, false
	}
	found := *o
	found.Detail = o.Detail.clone()
	return found, true
}

// IDs lists the things of a kind in a scope (empty for pools, hosts, networks and stores), sorted.
func (tx *Tx) IDs(kind, scope string) []string {
	return tx.state.ids(shelf{kind, scope})
}

// Load is what a pool, store or host holds, in bytes.
func (tx *Tx) Load(kind, id string) uint64 {
	return tx.state.load[shelf{kind, id}]
}

// Create makes a thing that is not there, and completes o by what the world adds. The laws may stand against it with a
// *LawError.
func (tx *Tx) Create(o *Object) error {
	if tx.state.get(o.Key) != nil {
		return tx.refuse(o.Key, refuse(LawExists, o.Kind+"-exists", "", "%s exists already", o.Key))
	}
	return tx.put(EffectCreate, nil, o)
}

// Change puts a thing that is there into the state of o, and completes o by what the world adds; effect names what was
// done. The laws may stand against it with a *LawError.
func (tx *Tx) Change(effect string, o *Object) error {
	old := tx.state.get(o.Key)
	if old == nil {
		return tx.refuse(o.Key, refuse(LawAbsent, o.Kind+"-absent", "", "%s does not exist", o.Key))
	}
	return tx.put(effect, old, o)
}

func (tx *Tx) put(effect string, old, now *Object) error {
	if tx.cause.Resource == now.subject() {
		if refusal := tx.fence(old); refusal != nil {
			return tx.refuse(now.Key, refusal)
		}
		now.Epoch = tx.cause.Epoch
		if old != nil {
			now.Epoch = max(tx.cause.Epoch, old.Epoch)
		}
	}
	if refusal := tx.state.allowPut(old, now); refusal != nil {
		return tx.refuse(now.Key, refusal)
	}
	if tx.cause.Token != "" {
		now.token = hashToken(tx.cause.Token)
	}
	now.Seq = tx.state.seq + 1
	staged := *now
	staged.Detail = now.Detail.clone()
	return tx.stage(&Effect{What: effect, Object: staged})
}

// Remove takes a thing away; effect names how. The laws may stand against it with a *LawError.
func (tx *Tx) Remove(effect string, key Key) error {
	old := tx.state.get(key)
	if old == nil {
		return tx.refuse(key, refuse(LawAbsent, key.Kind+"-absent", "", "%s does not exist", key))
	}
	if refusal := tx.fence(old); refusal != nil && tx.cause.Resource == key.Ref() {
		return tx.refuse(key, refusal)
	}
	if refusal := tx.state.allowRemove(old); refusal != nil {
		return tx.refuse(key, refusal)
	}
	return tx.stage(&Effect{What: effect, Object: *old, Gone: true})
}

// fence refuses a call by an owner that was replaced. What happens without a call (a guest, a person) has no epoch.
func (tx *Tx) fence(old *Object) *LawError {
	if old == nil || tx.cause.Call == "" || tx.cause.Epoch >= old.Epoch {
		return nil
	}
	return refuse(LawFence, "stale-epoch", "", "%s was changed under epoch %d, this call has %d",
		old.Key, old.Epoch, tx.cause.Epoch)
}

func (tx *Tx) refuse(key Key, refusal *LawError) error {
	tx.refused, tx.refusal = key, refusal
	return refusal
}

func (tx *Tx) stage(e *Effect) error {
	switch {
	case tx.readOnly:
		return errReadOnly
	case tx.effect != nil:
		return errOneThing
	}
	e.Time, e.Cause = tx.now, tx.cause
	tx.effect = e
	return nil
}
