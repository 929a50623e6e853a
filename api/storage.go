package api

import "github.com/bulkhead-cloud/bulkhead/resources"

type poolList struct {
	ListParams
	Driver    string              `query:"driver" maxLength:"65" doc:"Only pools of this driver, vendor/name."`
	HostID    resources.HostID    `query:"hostId" doc:"Only pools that belong to this host."`
	ClusterID resources.ClusterID `query:"clusterId" doc:"Only pools that belong to this cluster."`
}

func (l *poolList) facets() map[string]string {
	return given("driver", l.Driver, "host", string(l.HostID), "cluster", string(l.ClusterID))
}

type poolPatch struct {
	MetaPatch
	Spec *poolSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type poolSpecPatch struct {
	Tags          *[]string `json:"tags,omitempty" maxItems:"32" doc:"What volumes can ask for; replaces all."`
	Overcommit    *float64  `json:"overcommit,omitempty" minimum:"0" maximum:"100" doc:"How many times the pool's space may be promised; 0 means 1."`
	UsedThreshold *float64  `json:"usedThreshold,omitempty" minimum:"0" maximum:"1" doc:"Share of the space in use above which no new volume is placed; 0 means 0.9."`
	Unschedulable *bool     `json:"unschedulable,omitempty" doc:"Whether new volumes stay away."`
	// Properties changes what is given of them.
	Properties map[string]any `json:"properties,omitempty" doc:"Settings to set; null removes one, others stay, secret ones too."`
}

func (p poolPatch) apply(l *resources.Pool) {
	p.meta(&l.Meta)
	if p.Spec == nil {
		return
	}
	set(&l.Spec.Tags, p.Spec.Tags)
	set(&l.Spec.Overcommit, p.Spec.Overcommit)
	set(&l.Spec.UsedThreshold, p.Spec.UsedThreshold)
	set(&l.Spec.Unschedulable, p.Spec.Unschedulable)
	l.Spec.Properties = merged(l.Spec.Properties, p.Spec.Properties)
}

func (a *API) pools() {
	n := noun{resources.KindPool, "pool", "pools", "pool", "pools", "Pools"}
	addList[resources.Pool, poolList](a, n)
	addGet[resources.Pool](a, n)
	addCreate(a, n, func(c *creation[resources.PoolSpec]) resources.Resource {
		return &resources.Pool{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[poolPatch](a, n)
	addDelete(a, n)
	addForget(a, n, "the directory or whatever it is on")
	addSuspend[resources.Pool](a, n)
}

type volumeList struct {
	ListParams
	PoolID     resources.PoolID     `query:"poolId" doc:"Only volumes in this pool."`
	MachineID  resources.MachineID  `query:"machineId" doc:"Only volumes of this machine."`
	TemplateID resources.TemplateID `query:"templateId" doc:"Only volumes that began as a copy of this template."`
}

func (l *volumeList) facets() map[string]string {
	return given("pool", string(l.PoolID), "machine", string(l.MachineID), "template", string(l.TemplateID))
}

type volumePatch struct{ MetaPatch }

func (p volumePatch) apply(v *resources.Volume) { p.meta(&v.Meta) }

type volumeGrow struct {
	OperationProperties
	SizeBytes uint64 `json:"sizeBytes" minimum:"1048576" maximum:"70368744177664" doc:"New size in bytes; larger than the size now."`
}

func (b volumeGrow) arguments() resources.Arguments {
	return resources.Arguments{SizeBytes: b.SizeBytes, Properties: b.Properties}
}

type volumeRevert struct {
	OperationProperties
	SnapshotID resources.SnapshotID `json:"snapshotId" doc:"Snapshot of this volume to put it back to. What was written since is lost."`
}

func (b volumeRevert) arguments() resources.Arguments {
	return resources.Arguments{SnapshotID: b.SnapshotID, Properties: b.Properties}
}

func (a *API) volumes() {
	n := noun{resources.KindVolume, "volume", "volumes", "volume", "volumes", "Volumes"}
	addList[resources.Volume, volumeList](a, n)
	addGet[resources.Volume](a, n)
	addCreate(a, n, func(c *creation[resources.VolumeSpec]) resources.Resource {
		return &resources.Volume{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[volumePatch](a, n)
	addDelete(a, n)
	addForget(a, n, "its content")
	addSuspend[resources.Volume](a, n)
	addActionWith[volumeGrow](a, n, action{
		name: "grow", id: "grow-volume", summary: "Grow a volume",
		about: "Makes the volume larger. A volume of a running machine is grown through the machine.",
	})
	addActionWith[volumeRevert](a, n, action{
		name: "revert", id: "revert-volume", summary: "Put a volume back to a snapshot",
		about: "Makes the volume what it was when the snapshot was taken.",
	})
}

type snapshotList struct {
	ListParams
	VolumeID resources.VolumeID `query:"volumeId" doc:"Only snapshots of this volume."`
	PoolID   resources.PoolID   `query:"poolId" doc:"Only snapshots in this pool."`
	Group    string             `query:"group" maxLength:"63" doc:"Only snapshots of this group."`
}

func (l *snapshotList) facets() map[string]string {
	return given("volume", string(l.VolumeID), "pool", string(l.PoolID), "group", l.Group)
}

type snapshotPatch struct{ MetaPatch }

func (p snapshotPatch) apply(s *resources.Snapshot) { p.meta(&s.Meta) }

func (a *API) snapshots() {
	n := noun{resources.KindSnapshot, "snapshot", "snapshots", "snapshot", "snapshots", "Snapshots"}
	addList[resources.Snapshot, snapshotList](a, n)
	addGet[resources.Snapshot](a, n)
	addCreate(a, n, func(c *creation[resources.SnapshotSpec]) resources.Resource {
		return &resources.Snapshot{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[snapshotPatch](a, n)
	addDelete(a, n)
	addForget(a, n, "its content")
	addSuspend[resources.Snapshot](a, n)
}
