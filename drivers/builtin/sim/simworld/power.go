package simworld

// A host has a power switch, whoever opened the host. One that nobody touched is on and is no object yet.

// EffectCycle is a power that went off and on again. Any other effect that leaves it off is a cut as well.
const EffectCycle = "power-cycle"

// endedByPower is the reason of machines whose host lost its power.
const endedByPower = "killed"

// PowerOf names the power switch of a host.
func PowerOf(host string) Key { return Key{Kind: KindPower, ID: host} }

// Switch puts the switch of a host, touched before or not, into the state of power; effect names what was done.
func (tx *Tx) Switch(effect string, power *Object) error {
	return tx.put(effect, tx.state.get(power.Key), power)
}

// subject is the resource whose owner may change the thing: a switch belongs to its host.
func (o *Object) subject() Ref {
	if o.Kind == KindPower {
		return Ref{Kind: KindHost, ID: o.ID}
	}
	return o.Ref()
}

// cuts tells whether the effect took a host's power away, and all that ran on it.
func (e *Effect) cuts() bool {
	return e.changes() && e.Object.Kind == KindPower && (e.Object.State == Off || e.What == EffectCycle)
}

// darken ends the machines of a host whose power went. It follows from the one effect, so it needs none of its own.
func (s *state) darken(e *Effect) {
	for _, machine := range s.shelves[shelf{KindMachine, e.Object.ID}] {
		waits := machine.State == Waiting || machine.State == Unconfirmed
		if !machine.live() && !waits || machine.Detail == nil || machine.Detail.Machine == nil {
			continue
		}
		s.unindex(machine)
		ended := *machine
		ended.Detail = machine.Detail.clone()
		ended.Detail.Machine.Ran, ended.Detail.Machine.Reason = machine.RanFor(e.Time), endedByPower
		if machine.State != Unconfirmed { // it may run elsewhere; what was here of it is lost
			ended.State = Stopped
		}
		*machine = ended
		s.index(machine)
	}
}

// darken takes the machines of a host whose power went from where machines run.
func (e *Effect) darken(running map[Ref]map[string]Effect) {
	if !e.cuts() {
		return
	}
	for ref, hosts := range running {
		if ref.Kind == KindMachine {
			delete(hosts, e.Object.ID)
		}
	}
}

// lawPower: nothing runs without power.
func (s *state) lawPower(_, now *Object) *LawError {
	if !now.live() {
		return nil
	}
	if power := s.get(PowerOf(now.Scope)); power == nil || power.State == On {
		return nil
	}
	return refuse(LawBusy, "host-off", "turn its power on first", "the power of host %s is off", now.Scope)
}

// Cuts tells how often the power of a host went off.
func (t *Truth) Cuts(host string) int {
	return len(t.selectEffects(func(e *Effect) bool { return e.cuts() && e.Object.ID == host }))
}

// Powered tells whether the power of a host is on.
func (t *Truth) Powered(host string) bool {
	power := t.state.get(PowerOf(host))
	return power == nil || power.State == On
}
