package simworld

import (
	"fmt"
	"slices"
)

// Law is the sort of physical law that stands against a change.
type Law string

// The laws.
const (
	LawExists Law = "exists" // two things can't be in one place
	LawAbsent Law = "absent" // what is not there can't be changed or used
	LawSpace  Law = "space"  // capacity is finite
	LawBusy   Law = "busy"   // what is in use stays
	LawShape  Law = "shape"  // not like that
	LawFence  Law = "fence"  // a thing does not obey an owner it has seen replaced
)

// LawError is how a law refuses a change, in the words of an operator.
type LawError struct {
	Law     Law
	Code    string // stable, kebab-case
	Message string
	Remedy  string
}

// Error implements error.
func (r *LawError) Error() string { return r.Code + ": " + r.Message }

func refuse(law Law, code, remedy, format string, args ...any) *LawError {
	return &LawError{Law: law, Code: code, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// allowPut asks all laws about making (old nil) or changing a thing.
func (s *state) allowPut(old, now *Object) *LawError {
	for _, law := range []func(old, now *Object) *LawError{
		s.lawParent, s.lawCapacity, s.lawVolume, s.lawMachine, s.lawAddress, s.lawPower,
	} {
		if refusal := law(old, now); refusal != nil {
			return refusal
		}
	}
	return nil
}

// lawParent: a thing is in something that exists.
func (s *state) lawParent(_, now *Object) *LawError {
	kind := parentKind(now.Kind)
	if kind == "" || s.parent(now.Key) != nil {
		return nil
	}
	return refuse(LawAbsent, kind+"-absent", "open or create the "+kind+" first",
		"%s %s does not exist", kind, now.Scope)
}

// lawCapacity: what is in a pool, a store or a host fits in.
func (s *state) lawCapacity(old, now *Object) *LawError {
	parent := s.parent(now.Key)
	if parent == nil || parent.Bytes == 0 {
		return nil
	}
	taken := s.load[shelf{parent.Kind, parent.ID}]
	if old != nil {
		if weight(now) <= weight(old) {
			return nil // shrinking is possible in a scope that became too small
		}
		taken -= weight(old)
	}
	if taken <= parent.Bytes && weight(now) <= parent.Bytes-taken {
		return nil
	}
	code, remedy := "no-space", "free space or grow the "+parent.Kind
	if parent.Kind == KindHost {
		code, remedy = "no-memory", "stop machines on the host or choose another one"
	}
	return refuse(LawSpace, code, remedy, "%s needs %d bytes, %s %s has %d left",
		now.Key, weight(now), parent.Kind, parent.ID, parent.Bytes-min(taken, parent.Bytes))
}

// lawVolume: a volume never shrinks, and stays attached to where a machine runs on it.
func (s *state) lawVolume(old, now *Object) *LawError {
	if now.Kind != KindVolume || old == nil {
		return nil
	}
	if now.Bytes < old.Bytes {
		return refuse(LawShape, "volume-shrinks", "", "%s can't shrink from %d to %d bytes", now.Key, old.Bytes, now.Bytes)
	}
	for _, export := range exportsOf(old) {
		if slices.Contains(exportsOf(now), export) {
			continue
		}
		if user, used := s.userOn(now.Key, export.Host); used {
			return refuse(LawBusy, "volume-in-use", "stop the machine or detach its disk first",
				"machine %s on host %s uses volume %s", user.ID, user.Scope, now.ID)
		}
	}
	return nil
}

func exportsOf(o *Object) []Export {
	if o.Detail == nil {
		return nil
	}
	return o.Detail.Exports
}

// userOn finds a live machine on a host that has the volume plugged in.
func (s *state) userOn(volume Key, host string) (Key, bool) {
	path := PathOf(volume)
	for _, machine := range s.shelves[shelf{KindMachine, host}] {
		uses := func(d Disk) bool { return d.Path == path }
		if machine.live() && slices.ContainsFunc(machine.machine().Disks, uses) {
			return machine.Key, true
		}
	}
	return Key{}, false
}

// lawMachine: the disks of a machine that is live, or is to come, are there, and no two live ones write to one disk.
func (s *state) lawMachine(old, now *Object) *LawError {
	if !now.live() && (now.Kind != KindMachine || now.State != Waiting) {
		return nil
	}
	var before []Disk
	if old != nil && old.live() {
		before = old.machine().Disks
	}
	for _, disk := range now.machine().Disks {
		if slices.Contains(before, disk) {
			continue
		}
		if refusal := s.lawOneWriter(now, disk); refusal != nil {
			return refusal
		}
		if refusal := s.lawDisk(now, disk); refusal != nil {
			return refusal
		}
	}
	return nil
}

func (s *state) lawDisk(machine *Object, disk Disk) *LawError {
	if disk.Protocol != Protocol {
		return nil // not of this world
	}
	if template, ok := KeyAt(KindTemplate, disk.Path); ok && s.get(template) != nil && disk.ReadOnly {
		return nil
	}
	key, ok := KeyAt(KindVolume, disk.Path)
	volume := s.get(key)
	if !ok || volume == nil {
		return refuse(LawAbsent, "disk-absent", "", "there is no disk at %s", disk.Path)
	}
	for _, export := range exportsOf(volume) {
		if export.Host == machine.Scope && (disk.ReadOnly || !export.ReadOnly) {
			return nil
		}
	}
	return refuse(LawBusy, "volume-not-attached", "attach the volume to the host first",
		"volume %s is not attached to host %s for this use", volume.ID, machine.Scope)
}

func (s *state) lawOneWriter(machine *Object, disk Disk) *LawError {
	if disk.ReadOnly || !machine.live() {
		return nil
	}
	for _, writer := range s.writers[disk.name()] {
		if writer != machine.Key {
			return refuse(LawBusy, "disk-in-use", "stop the other machine first",
				"machine %s on host %s already writes to %s", writer.ID, writer.Scope, disk.Path)
		}
	}
	return nil
}

// lawAddress: an address and a MAC belong to one nic of a network.
func (s *state) lawAddress(_, now *Object) *LawError {
	for _, address := range addressesOf(now) {
		if owner, taken := s.addresses[address]; taken && owner != now.ID {
			return refuse(LawBusy, "address-in-use", "choose another address",
				"nic %s has %s in network %s", owner, address.scope, now.Scope)
		}
	}
	return nil
}

// allowRemove asks the laws about taking a thing away.
func (s *state) allowRemove(old *Object) *LawError {
	for _, kind := range childKinds(old.Kind) {
		if n := len(s.shelves[shelf{kind, old.ID}]); n > 0 {
			return refuse(LawBusy, "not-empty", "remove them first", "%s %s holds %d of kind %s", old.Kind, old.ID, n, kind)
		}
	}
	if old.Kind != KindVolume {
		return nil
	}
	if exports := exportsOf(old); len(exports) > 0 {
		return refuse(LawBusy, "volume-in-use", "detach the volume first",
			"volume %s is attached to host %s", old.ID, exports[0].Host)
	}
	if n := s.snapshots[old.Key]; n > 0 {
		return refuse(LawBusy, "volume-has-snapshots", "delete its snapshots first",
			"volume %s has %d snapshots", old.ID, n)
	}
	return nil
}
