package simworld

import "fmt"

// factDegraded is why a thing is degraded: it is there, and does not work.
const factDegraded = "degraded"

// Degrade makes a thing stop to work, as a process of it that ended would. It works again once it was adopted.
func (w *World) Degrade(ref Ref, reason string) error {
	var key Key
	truth, err := w.Truth()
	if err != nil {
		return err
	}
	for _, o := range truth.Objects(ref.Kind) {
		if o.ID == ref.ID {
			key = o.Key
		}
	}
	return w.Update(Cause{}, func(tx *Tx) error {
		o, ok := tx.Get(key)
		if !ok {
			return fmt.Errorf("degrading %s %s: it does not exist", ref.Kind, ref.ID)
		}
		o.setDegraded(reason)
		return tx.Change("degrade", &o)
	})
}

// Degraded says why the thing does not work; "" if it does.
func (o *Object) Degraded() string {
	if o.Detail == nil {
		return ""
	}
	return o.Detail.Facts[factDegraded]
}

// Repair makes the thing work again.
func (o *Object) Repair() { o.setDegraded("") }

func (o *Object) setDegraded(reason string) {
	if o.Detail == nil {
		o.Detail = &Detail{}
	}
	if o.Detail.Facts == nil {
		o.Detail.Facts = map[string]string{}
	}
	o.Detail.Facts[factDegraded] = reason
	if reason == "" {
		delete(o.Detail.Facts, factDegraded)
	}
}
