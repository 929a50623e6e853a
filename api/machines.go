package api

import (
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type machineList struct {
	ListParams
	HostID       resources.HostID     `query:"hostId" doc:"Only machines on this host."`
	TemplateID   resources.TemplateID `query:"templateId" doc:"Only machines whose disk began as a copy of this template."`
	Affinity     string               `query:"affinity" maxLength:"63" doc:"Only machines of this affinity group."`
	AntiAffinity string               `query:"antiAffinity" maxLength:"63" doc:"Only machines of this anti-affinity group."`
}

func (l *machineList) facets() map[string]string {
	return given("host", string(l.HostID), "template", string(l.TemplateID), "affinity", l.Affinity,
		"anti-affinity", l.AntiAffinity)
}

type machinePatch struct {
	MetaPatch
	Spec *machineSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type machineSpecPatch struct {
	Recovery *recoveryChange `json:"recovery,omitempty" doc:"What is done when its host is lost."`
}

type recoveryChange struct {
	Policy   *string `json:"policy,omitempty" enum:"restart,none" doc:"restart, or none to leave it to people."`
	Priority *int    `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Higher ones come first."`
}

func (p machinePatch) apply(m *resources.Machine) {
	p.meta(&m.Meta)
	if p.Spec == nil || p.Spec.Recovery == nil {
		return
	}
	next := resources.Recovery{Policy: resources.RecoverRestart}
	if m.Spec.Recovery != nil {
		next = *m.Spec.Recovery
	}
	set(&next.Policy, p.Spec.Recovery.Policy)
	set(&next.Priority, p.Spec.Recovery.Priority)
	if m.Spec.Recovery = &next; next.Policy == "none" {
		m.Spec.Recovery = nil
	}
}

// machineSwitch is what a machine is started, paused and resumed with.
type machineSwitch struct{ OperationProperties }

func (b machineSwitch) arguments() resources.Arguments {
	return resources.Arguments{Properties: b.Properties}
}

// machineHalt is how a machine is stopped or rebooted.
type machineHalt struct {
	OperationProperties
	GraceSeconds uint32 `json:"graceSeconds,omitempty" maximum:"600" doc:"How long the guest has to shut down by itself, in seconds; 0 means the zone's default."`
	Force        bool   `json:"force,omitempty" doc:"Whether to cut the power when the guest does not shut down in time."`
}

func (b machineHalt) arguments() resources.Arguments {
	return resources.Arguments{GraceSeconds: b.GraceSeconds, Force: b.Force, Properties: b.Properties}
}

// machineMove is where a machine goes to.
type machineMove struct {
	OperationProperties
	HostID resources.HostID `json:"hostId,omitempty" doc:"Host to go to; absent means the zone chooses."`
}

func (b machineMove) arguments() resources.Arguments {
	return resources.Arguments{HostID: b.HostID, Properties: b.Properties}
}

type machineVolume struct {
	VolumeID resources.VolumeID `json:"volumeId" doc:"Volume."`
}

func (b machineVolume) arguments() resources.Arguments {
	return resources.Arguments{VolumeID: b.VolumeID}
}

// machineVolumeForget is a volume in storage that is lost.
type machineVolumeForget machineVolume

func (b machineVolumeForget) arguments() resources.Arguments {
	return resources.Arguments{VolumeID: b.VolumeID, Forget: true}
}

type machineVolumeGrow struct {
	VolumeID  resources.VolumeID `json:"volumeId" doc:"One of the machine's volumes."`
	SizeBytes uint64             `json:"sizeBytes" minimum:"1048576" maximum:"70368744177664" doc:"New size in bytes; larger than the size now."`
}

func (b machineVolumeGrow) arguments() resources.Arguments {
	return resources.Arguments{VolumeID: b.VolumeID, SizeBytes: b.SizeBytes}
}

type machineNicAttach struct {
	Nic resources.MachineNic `json:"nic" doc:"Nic asked for."`
}

func (b machineNicAttach) arguments() resources.Arguments { return resources.Arguments{Nic: &b.Nic} }

type machineNicDetach struct {
	NicID resources.NicID `json:"nicId" doc:"One of the machine's nics."`
}

func (b machineNicDetach) arguments() resources.Arguments { return resources.Arguments{NicID: b.NicID} }

type machineSnapshot struct {
	Name string `json:"name,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$" patternDescription:"1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit" doc:"Name of the group of snapshots."`
}

func (b machineSnapshot) arguments() resources.Arguments { return resources.Arguments{Name: b.Name} }

func (a *API) machines() {
	n := noun{resources.KindMachine, "machine", "machines", "machine", "machines", "Machines"}
	addList[resources.Machine, machineList](a, n)
	addGet[resources.Machine](a, n)
	addCreate(a, n, func(c *creation[resources.MachineSpec]) resources.Resource {
		return &resources.Machine{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[machinePatch](a, n)
	addDelete(a, n)
	addForget(a, n, "its disk")
	addSuspend[resources.Machine](a, n)
	a.machinePower(n)
	a.machinePlaces(n)
	a.machineParts(n)
	a.consoles(n)
}

func (a *API) machinePower(n noun) {
	addActionWith[machineSwitch](a, n, action{
		name: "start", id: "start-machine", summary: "Start a machine", about: "Starts a stopped machine.", optional: true,
	})
	addActionWith[machineHalt](a, n, action{
		name: "stop", id: "stop-machine", summary: "Stop a machine", optional: true,
		about: "Asks the guest to shut down; with force, cuts its power when it does not in time.",
	})
	addActionWith[machineHalt](a, n, action{
		name: "reboot", id: "reboot-machine", summary: "Reboot a machine", optional: true,
		about: "Asks the guest to reboot; with force, resets it when it does not in time.",
	})
	addActionWith[machineSwitch](a, n, action{
		name: "pause", id: "pause-machine", summary: "Pause a machine", optional: true,
		about: "Stops the processors of a running machine; its memory stays.",
	})
	addActionWith[machineSwitch](a, n, action{
		name: "resume", id: "resume-machine", summary: "Resume a machine", optional: true,
		about: "Lets a paused machine run on.",
	})
}

func (a *API) machinePlaces(n noun) {
	addActionWith[machineMove](a, n, action{
		name: "migrate", id: "migrate-machine", summary: "Move a machine to another host", optional: true,
		about: "Moves the machine to another host, while it runs if it is running. It is on its old host until it has " +
			"come; until then it can be cancelled.",
	})
	addActionWith[machineMove](a, n, action{
		name: "recover", id: "recover-machine", summary: "Start a machine elsewhere whose host is lost", optional: true,
		about: "Starts the machine on another host. Refused unless there is proof that its host does not run: see " +
			"fence-host and attest-host-off.",
	})
}

func (a *API) machineParts(n noun) {
	addActionWith[machineVolume](a, n, action{
		name: "attach-volume", id: "attach-volume-to-machine",
		summary: "Attach a volume to a machine", about: "Gives a volume to the machine, also while it runs.",
	})
	addActionWith[machineVolume](a, n, action{
		name: "detach-volume", id: "detach-volume-from-machine",
		summary: "Detach a volume from a machine", about: "Takes a volume from the machine, also while it runs.",
	})
	addActionWith[machineVolumeForget](a, n, action{
		name: door.VerbForgetVolume, asks: "detach-volume", id: "forget-volume-of-machine",
		summary: "Detach a volume from a machine that is lost",
		about: "Takes a volume from the machine like detach-volume, and asks the driver of its storage once: what that " +
			"does not manage is left behind. For administrators.",
	})
	addActionWith[machineVolumeGrow](a, n, action{
		name: "grow-volume", id: "grow-machine-volume",
		summary: "Grow a volume of a machine", about: "Makes one of the machine's volumes larger, also while it runs.",
	})
	addActionWith[machineNicAttach](a, n, action{
		name: "attach-nic", id: "attach-nic-to-machine",
		summary: "Attach a nic to a machine", about: "Makes a nic and gives it to the machine, also while it runs.",
	})
	addActionWith[machineNicDetach](a, n, action{
		name: "detach-nic", id: "detach-nic-from-machine",
		summary: "Detach a nic from a machine", about: "Takes a nic from the machine and deletes it.",
	})
	addActionWith[machineSnapshot](a, n, action{
		name: "snapshot", id: "snapshot-machine", optional: true,
		summary: "Snapshot a machine", about: "Takes snapshots of all its volumes at one moment.",
	})
}
