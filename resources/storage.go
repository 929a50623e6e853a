package resources

import "time"

// Pool is a place that volumes live in.
type Pool struct {
	Meta
	Spec   PoolSpec   `json:"spec"`
	Status PoolStatus `json:"status"`
}

// PoolSpec is what is asked of a pool.
type PoolSpec struct {
	// Node whose driver host acts for it; empty = the one that accepts.
	Node       string         `json:"node,omitempty" doc:"Node or agent that drives it; absent means the one that accepts."`
	Driver     string         `json:"driver" doc:"Storage driver, vendor/name." example:"bulkhead/filestorage"`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the driver for this pool."`
	// HostID for pools that only one host reaches.
	HostID    HostID    `json:"hostId,omitempty" doc:"The one host that reaches the pool; absent if all do."`
	ClusterID ClusterID `json:"clusterId,omitempty" doc:"The one cluster whose hosts reach the pool; absent if all do."`
	// Shared pools tie what is in them to no node. The pool's own driver stays on Node.
	Shared bool     `json:"shared,omitempty" doc:"Whether its directory is the same one on every node and host agent, at the same path: NFS, a clustered file system."`
	Tags   []string `json:"tags,omitempty" doc:"What volumes can ask for." maxItems:"32"`
	// Overcommit is how many times the pool's bytes may be promised; 0 = 1.
	Overcommit float64 `json:"overcommit,omitempty" doc:"How many times the pool's space may be promised; 0 means 1." minimum:"0" maximum:"100"`
	// UsedThreshold stops new volumes once this share is used; 0 = 0.9.
	UsedThreshold float64 `json:"usedThreshold,omitempty" doc:"Share of the space in use above which no new volume is placed; 0 means 0.9." minimum:"0" maximum:"1"`
	Unschedulable bool    `json:"unschedulable,omitempty" doc:"Whether new volumes stay away."`
}

// PoolStatus is what was observed of a pool.
type PoolStatus struct {
	TotalBytes uint64            `json:"totalBytes" doc:"Size in bytes."`
	UsedBytes  uint64            `json:"usedBytes" doc:"Bytes in use."`
	ObservedAt time.Time         `json:"observedAt,omitzero" doc:"When sizes were read."`
	Facts      map[string]string `json:"facts,omitempty" doc:"What else the driver says."`
	// Reserved is what volumes and snapshots were promised. Joined on reading.
	Reserved Quantities `json:"reserved" doc:"What volumes were promised."`
}

const defaultUsedThreshold = 0.9

// Capacity is what can be promised.
func (l *Pool) Capacity() Quantities {
	factor := l.Spec.Overcommit
	if factor == 0 {
		factor = 1
	}
	return Quantities{StorageBytes: uint64(float64(l.Status.TotalBytes) * factor)}
}

// Threshold is the share in use above which no new volume is placed.
func (l *Pool) Threshold() float64 {
	if l.Spec.UsedThreshold == 0 {
		return defaultUsedThreshold
	}
	return l.Spec.UsedThreshold
}

// Validate implements Resource.
func (l *Pool) Validate(p *Problems) {
	ValidateMeta(&l.Meta, p)
	RequireName(&l.Meta, p)
	s := p.In("spec")
	validateDriver(s, l.Spec.Driver)
	validateTags(s.In("tags"), l.Spec.Tags)
	if l.Spec.Shared && l.Spec.HostID != "" {
		s.In("shared").Add("exclusive", "can't be set together with hostId: a shared pool is reached by all hosts")
	}
	if l.Spec.Overcommit < 0 || l.Spec.Overcommit > 100 {
		s.In("overcommit").Add("out-of-range", "must be between 0 and 100")
	}
	if l.Spec.UsedThreshold < 0 || l.Spec.UsedThreshold > 1 {
		s.In("usedThreshold").Add("out-of-range", "must be between 0 and 1")
	}
}

// Level is that of the zones whose programs know all of it.
func (l *Pool) Level() uint32 { return levelIf(l.Spec.Shared) }

// References implements Resource.
func (l *Pool) References() []Ref {
	return add(add(nil, KindHost, string(l.Spec.HostID)), KindCluster, string(l.Spec.ClusterID))
}

// Facets implements Resource.
func (l *Pool) Facets() map[string]string {
	m := map[string]string{}
	facet(m, "driver", l.Spec.Driver)
	facet(m, "node", l.Spec.Node)
	facet(m, "host", string(l.Spec.HostID))
	facet(m, "cluster", string(l.Spec.ClusterID))
	return m
}

func poolDefinition() Definition {
	return Definition{
		Kind: KindPool, Prefix: "pool", Plural: "pools", New: func() Resource { return &Pool{Meta: Meta{Kind: KindPool}} },
		Phases:  simpleTable(),
		Actions: actions(createAction(5*time.Minute), updateAction(), deleteAction(5*time.Minute), rebindIn(simpleTable())),
		Mutable: []string{"tags", "overcommit", "usedThreshold", "unschedulable", "properties"},
	}
}

// MaxVolumeBytes bounds a volume: 64 TiB.
const MaxVolumeBytes = 64 << 40

// MinVolumeBytes is the smallest volume: 1 MiB.
const MinVolumeBytes = 1 << 20

// Volume is a disk.
type Volume struct {
	Meta
	Spec   VolumeSpec   `json:"spec"`
	Status VolumeStatus `json:"status"`
}

// VolumeSpec is what is asked of a volume.
type VolumeSpec struct {
	SizeBytes uint64 `json:"sizeBytes,omitempty" doc:"Size in bytes; at least that of the source. 0 means the source's size." maximum:"70368744177664"`
	// PoolID places the volume; empty = the planner chooses.
	PoolID PoolID `json:"poolId,omitempty" doc:"Pool; absent means the planner chooses."`
	// PoolTags must all be among the pool's tags.
	PoolTags   []string       `json:"poolTags,omitempty" doc:"Tags the pool must have." maxItems:"32"`
	Format     string         `json:"format,omitempty" doc:"raw or qcow2; absent means the driver chooses."`
	TemplateID TemplateID     `json:"templateId,omitempty" doc:"Template it begins as a copy of."`
	SnapshotID SnapshotID     `json:"snapshotId,omitempty" doc:"Snapshot it begins as a copy of."`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the pool's driver for this volume."`
	// HostID asks for a pool that this host reaches.
	HostID HostID `json:"hostId,omitempty" doc:"Host that must reach the volume."`
}

// VolumeStatus is what was observed of a volume.
type VolumeStatus struct {
	PoolID         PoolID    `json:"poolId,omitempty" doc:"Pool it lives in."`
	SizeBytes      uint64    `json:"sizeBytes,omitempty" doc:"Size in bytes."`
	AllocatedBytes uint64    `json:"allocatedBytes,omitempty" doc:"Space it takes in the pool."`
	Disk           *Disk     `json:"disk,omitempty" doc:"How a hypervisor opens it."`
	MachineID      MachineID `json:"machineId,omitempty" doc:"Machine that has it."`
}

// Disk says how a volume is opened on a host.
type Disk struct {
	Protocol string `json:"protocol" doc:"file, block, rbd or nbd."`
	Path     string `json:"path" doc:"Path or URI."`
	Format   string `json:"format" doc:"raw or qcow2."`
	ReadOnly bool   `json:"readOnly,omitempty" doc:"Whether it can't be written."`
}

// Validate implements Resource.
func (v *Volume) Validate(p *Problems) {
	ValidateMeta(&v.Meta, p)
	s := p.In("spec")
	if v.Spec.SizeBytes == 0 && v.Spec.TemplateID == "" && v.Spec.SnapshotID == "" {
		s.In("sizeBytes").Add("required", "is required for a volume without a source")
	}
	if v.Spec.SizeBytes != 0 {
		s.Between("sizeBytes", v.Spec.SizeBytes, MinVolumeBytes, MaxVolumeBytes)
	}
	if v.Spec.TemplateID != "" && v.Spec.SnapshotID != "" {
		s.In("snapshotId").Add("exclusive", "can't be given together with templateId")
	}
	if v.Spec.Format != "" {
		s.OneOf("format", v.Spec.Format, "raw", "qcow2")
	}
	validateTags(s.In("poolTags"), v.Spec.PoolTags)
}

// References implements Resource.
func (v *Volume) References() []Ref {
	pool := v.Status.PoolID
	if pool == "" {
		pool = v.Spec.PoolID
	}
	refs := add(nil, KindPool, string(pool))
	if v.Phase == PhasePending || v.Phase == PhaseCreating {
		refs = add(refs, KindTemplate, string(v.Spec.TemplateID))
		refs = add(refs, KindSnapshot, string(v.Spec.SnapshotID))
	}
	return refs
}

// Facets implements Resource.
func (v *Volume) Facets() map[string]string {
	m := map[string]string{}
	facet(m, "pool", string(v.Status.PoolID))
	facet(m, "machine", string(v.Status.MachineID))
	facet(m, "template", string(v.Spec.TemplateID))
	return m
}

func volumeDefinition() Definition {
	return Definition{
		Kind: KindVolume, Prefix: "vol", Plural: "volumes",
		New:    func() Resource { return &Volume{Meta: Meta{Kind: KindVolume}} },
		Phases: simpleTable(),
		Actions: actions(
			settable(createAction(time.Hour)), updateAction(), deleteAction(30*time.Minute),
			settable(Action{
				Name: "grow", From: made(), During: PhaseUpdating, After: PhaseReady, Undone: PhaseReady,
				Deadline: 10 * time.Minute, Summary: "Grow",
			}),
			Action{Name: "reserve", From: made(), Deadline: 10 * time.Minute, Summary: "Reserve space", Internal: true},
			Action{Name: "claim", From: made(), Deadline: 10 * time.Minute, Summary: "Give to a machine", Internal: true},
			Action{
				Name: "attach", Level: 2, From: made(), Deadline: 10 * time.Minute, Summary: "Attach to a host", Internal: true,
			},
			Action{
				Name: "detach", Level: 2, From: append(made(), PhaseFailed), Deadline: 10 * time.Minute,
				Summary: "Detach from a host", Internal: true,
			},
			Action{
				Name: "unclaim", From: append(made(), PhaseFailed), Deadline: 10 * time.Minute,
				Summary: "Take from its machine", Internal: true,
			},
			settable(Action{
				Name: "revert", From: made(), During: PhaseUpdating, After: PhaseReady, Undone: PhaseReady,
				Deadline: time.Hour, Summary: "Put back to a snapshot",
			}),
			rebindIn(simpleTable()),
		),
	}
}

// Snapshot is a volume as it was at one moment.
type Snapshot struct {
	Meta
	Spec   SnapshotSpec   `json:"spec"`
	Status SnapshotStatus `json:"status"`
}

// SnapshotSpec is what is asked of a snapshot.
type SnapshotSpec struct {
	VolumeID VolumeID `json:"volumeId" doc:"Volume it is of."`
	// Group ties snapshots of one machine taken at the same moment together.
	Group string `json:"group,omitempty" doc:"Name shared by snapshots taken at the same moment."`
}

// SnapshotStatus is what was observed of a snapshot.
type SnapshotStatus struct {
	PoolID         PoolID    `json:"poolId,omitempty" doc:"Pool it lives in."`
	SizeBytes      uint64    `json:"sizeBytes,omitempty" doc:"Size of the volume at that moment, in bytes."`
	AllocatedBytes uint64    `json:"allocatedBytes,omitempty" doc:"Space it takes in the pool."`
	TakenAt        time.Time `json:"takenAt,omitzero" doc:"The moment."`
}

// Validate implements Resource.
func (n *Snapshot) Validate(p *Problems) {
	ValidateMeta(&n.Meta, p)
	p.In("spec").Required("volumeId", string(n.Spec.VolumeID))
}

// References implements Resource.
func (n *Snapshot) References() []Ref { return add(nil, KindVolume, string(n.Spec.VolumeID)) }

// Facets implements Resource.
func (n *Snapshot) Facets() map[string]string {
	m := map[string]string{"volume": string(n.Spec.VolumeID)}
	facet(m, "pool", string(n.Status.PoolID))
	facet(m, "group", n.Spec.Group)
	return m
}

func snapshotDefinition() Definition {
	return Definition{
		Kind: KindSnapshot, Prefix: "snap", Plural: "snapshots",
		New:    func() Resource { return &Snapshot{Meta: Meta{Kind: KindSnapshot}} },
		Phases: simpleTable(),
		Actions: actions(
			settable(createAction(time.Hour)), updateAction(), deleteAction(30*time.Minute), rebindIn(simpleTable()),
		),
	}
}
