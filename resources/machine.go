package resources

import "time"

// Machine is a guest.
type Machine struct {
	Meta
	Spec   MachineSpec   `json:"spec"`
	Status MachineStatus `json:"status"`
}

// MachineSpec is what is asked of a machine.
type MachineSpec struct {
	CPUs        uint32 `json:"cpus" doc:"Virtual CPUs." minimum:"1" maximum:"512"`
	MemoryBytes uint64 `json:"memoryBytes" doc:"Memory in bytes."`
	Firmware    string `json:"firmware,omitempty" doc:"bios or uefi; absent means bios."`
	// Root is made with the machine and deleted with it.
	Root *RootDisk `json:"root,omitempty" doc:"Disk made and deleted with the machine, the first to boot from."`
	// Volumes exist before the machine and outlive it.
	Volumes   []VolumeID   `json:"volumes,omitempty" doc:"Further volumes; they outlive the machine." maxItems:"16"`
	Nics      []MachineNic `json:"nics,omitempty" doc:"Nics, made and deleted with the machine." maxItems:"8"`
	ISO       TemplateID   `json:"isoId,omitempty" doc:"ISO template in its drive."`
	CloudInit *CloudInit   `json:"cloudInit,omitempty" doc:"First-boot data for cloud-init (NoCloud)."`
	Placement Placement    `json:"placement,omitzero" doc:"Where it may run."`
	// Recovery, if set, has it started elsewhere when its host is lost.
	Recovery *Recovery `json:"recovery,omitempty" doc:"What is done when its host is lost; absent means nothing."`
	// Off leaves it stopped once created.
	Off        bool           `json:"off,omitempty" doc:"Whether it stays off once created."`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the hypervisor driver for this machine."`
}

// Recovery says what is done for a machine whose host is lost.
type Recovery struct {
	Policy   string `json:"policy" doc:"restart: it is started on another host once there is proof that its own does not run." enum:"restart"`
	Priority int    `json:"priority,omitempty" doc:"Higher ones come first." minimum:"-100" maximum:"100"`
}

// RecoverRestart is the one policy there is.
const RecoverRestart = "restart"

// RootDisk asks for a machine's own disk.
type RootDisk struct {
	TemplateID TemplateID `json:"templateId,omitempty" doc:"Template to copy."`
	SnapshotID SnapshotID `json:"snapshotId,omitempty" doc:"Snapshot to copy."`
	SizeBytes  uint64     `json:"sizeBytes,omitempty" doc:"Size in bytes; 0 means the source's."`
	PoolID     PoolID     `json:"poolId,omitempty" doc:"Pool; absent means the planner chooses."`
	PoolTags   []string   `json:"poolTags,omitempty" doc:"Tags the pool must have." maxItems:"32"`
	Format     string     `json:"format,omitempty" doc:"raw or qcow2; absent means the driver chooses."`
}

// MachineNic asks for a nic.
type MachineNic struct {
	NetworkID NetworkID `json:"networkId" doc:"Network."`
	AddressID AddressID `json:"addressId,omitempty" doc:"Address reserved before."`
	Address   string    `json:"address,omitempty" doc:"The address asked for."`
}

// CloudInit is what a machine's first boot is told.
type CloudInit struct {
	// UserData is write-only in the API: it may hold secrets.
	UserData string `json:"userData,omitempty" doc:"User data; never shown again." maxLength:"262144"`
	// NetworkConfig in cloud-init's own format, version 2.
	NetworkConfig string `json:"networkConfig,omitempty" doc:"Network configuration; absent means DHCP on all nics." maxLength:"65536"`
}

// Placement limits where a machine may run.
type Placement struct {
	HostID    HostID    `json:"hostId,omitempty" doc:"The one host."`
	ClusterID ClusterID `json:"clusterId,omitempty" doc:"The one cluster."`
	HostTags  []string  `json:"hostTags,omitempty" doc:"Tags the host must have." maxItems:"32"`
	// Affinity and AntiAffinity name groups: machines of one group together or
	// apart.
	Affinity     string `json:"affinity,omitempty" doc:"Group whose machines share a host." maxLength:"63"`
	AntiAffinity string `json:"antiAffinity,omitempty" doc:"Group whose machines never share a host." maxLength:"63"`
}

// MachineStatus is what was observed of a machine.
type MachineStatus struct {
	HostID       HostID   `json:"hostId,omitempty" doc:"Host it is placed on."`
	RootVolumeID VolumeID `json:"rootVolumeId,omitempty" doc:"Its own disk."`
	NicIDs       []NicID  `json:"nicIds,omitempty" doc:"Its nics."`
	Addresses    []string `json:"addresses,omitempty" doc:"Its IP addresses."`
	// Ended says why it stopped without being asked.
	Ended     string    `json:"ended,omitempty" doc:"Why it stopped without being asked."`
	StartedAt time.Time `json:"startedAt,omitzero" doc:"When it last started."`
	// Moving is kept while the machine is on its way to another host.
	Moving *Move `json:"moving,omitempty" doc:"Where it is on its way to."`
	// Detaching is kept while an operation detaches a nic.
	Detaching *DetachingNic `json:"-" cbor:"detaching,omitempty"`
}

// Move is a machine on its way from one host to another.
type Move struct {
	OperationID OperationID `json:"operationId" doc:"Operation that moves it."`
	FromHostID  HostID      `json:"fromHostId" doc:"Host it was on."`
	ToHostID    HostID      `json:"toHostId" doc:"Host it goes to."`
	// Live is set when it runs meanwhile.
	Live bool `json:"live,omitempty" doc:"Whether it runs on the way."`
	// Moved is set once it has come: what is left is to be taken away where it was.
	Moved bool `json:"moved,omitempty" doc:"Whether it has come."`
	// Handle is what the driver of the host where it is not remembers of it.
	Handle        []byte `json:"-" cbor:"handle,omitempty"`
	HandleVersion uint32 `json:"-" cbor:"handleVersion,omitempty"`
}

// OtherHost is that of the two which the machine is not on.
func (m *Move) OtherHost() HostID {
	if m.Moved {
		return m.FromHostID
	}
	return m.ToHostID
}

// DetachingNic is what a nic was to its machine before it was to be detached, for
// the case that this has to be undone.
type DetachingNic struct {
	// Place is where it is among the machine's nics.
	Place int `json:"p,omitempty"`
	// Forwards lead to it.
	Forwards []Rule `json:"f,omitempty"`
}

const (
	minMachineMemory = 16 << 20
	maxMachineMemory = 16 << 40
	maxCPUs          = 512
	maxUserData      = 256 << 10
)

// Needs is what the machine takes of a host.
func (m *Machine) Needs() Quantities {
	return Quantities{CPUs: uint64(m.Spec.CPUs), MemoryBytes: m.Spec.MemoryBytes}
}

// Validate implements Resource.
func (m *Machine) Validate(p *Problems) {
	ValidateMeta(&m.Meta, p)
	RequireName(&m.Meta, p)
	s := p.In("spec")
	s.Between("cpus", uint64(m.Spec.CPUs), 1, maxCPUs)
	s.Between("memoryBytes", m.Spec.MemoryBytes, minMachineMemory, maxMachineMemory)
	if m.Spec.Firmware != "" {
		s.OneOf("firmware", m.Spec.Firmware, "bios", "uefi")
	}
	m.validateDisks(s)
	for i, n := range m.Spec.Nics {
		s.In("nics").At(i).Required("networkId", string(n.NetworkID))
	}
	if c := m.Spec.CloudInit; c != nil {
		s.In("cloudInit").MaxLength("userData", c.UserData, maxUserData)
	}
	validateTags(s.In("placement/hostTags"), m.Spec.Placement.HostTags)
	if r := m.Spec.Recovery; r != nil {
		s.In("recovery").OneOf("policy", r.Policy, RecoverRestart)
	}
}

func (m *Machine) validateDisks(s *Problems) {
	if r := m.Spec.Root; r != nil {
		root := s.In("root")
		if r.TemplateID != "" && r.SnapshotID != "" {
			root.In("snapshotId").Add("exclusive", "can't be given together with templateId")
		}
		if r.TemplateID == "" && r.SnapshotID == "" && r.SizeBytes == 0 {
			root.In("sizeBytes").Add("required", "is required for a disk without a source")
		}
		if r.SizeBytes != 0 {
			root.Between("sizeBytes", r.SizeBytes, MinVolumeBytes, MaxVolumeBytes)
		}
		validateTags(root.In("poolTags"), r.PoolTags)
	}
	seen := map[VolumeID]bool{}
	for i, v := range m.Spec.Volumes {
		if seen[v] {
			s.In("volumes").At(i).Add("duplicate", "is listed twice")
		}
		seen[v] = true
	}
}

// Level is that of the zones whose programs know all of it.
func (m *Machine) Level() uint32 { return levelIf(m.Spec.Recovery != nil) }

// References implements Resource.
func (m *Machine) References() []Ref {
	refs := add(nil, KindHost, string(m.Status.HostID))
	if move := m.Status.Moving; move != nil {
		refs = add(refs, KindHost, string(move.OtherHost()))
	}
	for _, v := range m.Spec.Volumes {
		refs = add(refs, KindVolume, string(v))
	}
	if m.Phase != PhaseDeleting && m.Phase != PhaseFailed { // what is its own goes before it
		refs = add(refs, KindVolume, string(m.Status.RootVolumeID))
		for _, n := range m.Status.NicIDs {
			refs = add(refs, KindNic, string(n))
		}
	}
	refs = add(refs, KindTemplate, string(m.Spec.ISO))
	if m.Status.HostID == "" {
		refs = add(refs, KindHost, string(m.Spec.Placement.HostID))
	}
	if m.Phase != PhasePending && m.Phase != PhaseCreating {
		return refs
	}
	for _, n := range m.Spec.Nics {
		refs = add(refs, KindNetwork, string(n.NetworkID))
		refs = add(refs, KindAddress, string(n.AddressID))
	}
	if m.Spec.Root != nil {
		refs = add(refs, KindTemplate, string(m.Spec.Root.TemplateID))
		refs = add(refs, KindSnapshot, string(m.Spec.Root.SnapshotID))
		refs = add(refs, KindPool, string(m.Spec.Root.PoolID))
	}
	return refs
}

// Facets implements Resource.
func (m *Machine) Facets() map[string]string {
	f := map[string]string{}
	facet(f, "host", string(m.Status.HostID))
	facet(f, "affinity", m.Spec.Placement.Affinity)
	facet(f, "anti-affinity", m.Spec.Placement.AntiAffinity)
	if m.Spec.Root != nil {
		facet(f, "template", string(m.Spec.Root.TemplateID))
	}
	return f
}

func machineDefinition() Definition {
	return Definition{
		Kind: KindMachine, Prefix: "mach", Plural: "machines",
		New:     func() Resource { return &Machine{Meta: Meta{Kind: KindMachine}} },
		Phases:  machineTable(),
		Actions: machineActions(),
		Mutable: []string{"recovery"},
	}
}

func machineTable() Table {
	return Table{
		PhasePending:  {PhaseCreating, PhaseFailed, PhaseDeleting, PhaseDeleted},
		PhaseCreating: {PhaseRunning, PhaseStopped, PhaseFailed},
		PhaseRunning: {
			PhaseStopping, PhaseRebooting, PhasePausing, PhaseUpdating, PhaseMigrating, PhaseRecovering, PhaseStopped,
			PhasePaused, PhaseDeleting,
		},
		PhaseStopped:    {PhaseStarting, PhaseUpdating, PhaseMigrating, PhaseDeleting, PhaseRunning},
		PhasePaused:     {PhaseResuming, PhaseRecovering, PhaseStopping, PhaseDeleting, PhaseRunning, PhaseStopped},
		PhaseStarting:   {PhaseRunning, PhaseStopped},
		PhaseStopping:   {PhaseStopped, PhaseRunning, PhasePaused},
		PhaseRebooting:  {PhaseRunning, PhaseStopped},
		PhasePausing:    {PhasePaused, PhaseRunning},
		PhaseResuming:   {PhaseRunning, PhasePaused},
		PhaseUpdating:   {PhaseRunning, PhaseStopped},
		PhaseMigrating:  {PhaseRunning, PhaseStopped},
		PhaseRecovering: {PhaseRunning, PhasePaused},
		PhaseFailed:     {PhaseDeleting, PhaseDeleted},
		PhaseDeleting:   {PhaseDeleted, PhaseRunning, PhaseStopped, PhasePaused, PhaseFailed, PhasePending},
		PhaseDeleted:    {},
	}
}

func machineActions() map[string]Action {
	running, stopped, paused := PhaseRunning, PhaseStopped, PhasePaused
	settled := []Phase{running, stopped, paused}
	change := func(name, summary string, deadline time.Duration) Action {
		return Action{
			Name: name, From: []Phase{running, stopped}, During: PhaseUpdating, Deadline: deadline, Summary: summary,
		}
	}
	return actions(
		settable(Action{
			Name: "create", From: []Phase{PhasePending}, During: PhaseCreating, After: running,
			Undone: PhaseFailed, Deadline: 2 * time.Hour, Summary: "Deploy",
		}),
		Action{
			Name: "update", From: append([]Phase{PhasePending, PhaseFailed}, settled...),
			Deadline: time.Minute, Summary: "Change name or labels",
		},
		settable(Action{
			Name: "start", From: []Phase{stopped}, During: PhaseStarting, After: running,
			Undone: stopped, Deadline: 10 * time.Minute, Summary: "Start",
		}),
		settable(Action{
			Name: "stop", From: []Phase{running, paused}, During: PhaseStopping, After: stopped,
			Deadline: 15 * time.Minute, Summary: "Stop",
		}),
		settable(Action{
			Name: "reboot", From: []Phase{running}, During: PhaseRebooting, After: running,
			Undone: running, Deadline: 15 * time.Minute, Summary: "Reboot",
		}),
		settable(Action{
			Name: "pause", From: []Phase{running}, During: PhasePausing, After: paused,
			Undone: running, Deadline: 5 * time.Minute, Summary: "Pause",
		}),
		settable(Action{
			Name: "resume", From: []Phase{paused}, During: PhaseResuming, After: running,
			Undone: paused, Deadline: 5 * time.Minute, Summary: "Resume",
		}),
		settable(Action{
			Name: "migrate", Level: 2, From: []Phase{running, stopped}, During: PhaseMigrating, Deadline: 2 * time.Hour,
			Summary: "Move to another host", Final: "send",
		}),
		settable(Action{
			Name: "recover", Level: 2, From: []Phase{running, paused}, During: PhaseRecovering, Deadline: time.Hour,
			Summary: "Start again elsewhere, since its host is lost", Final: "start",
		}),
		rebindIn(machineTable()),
		change("attach-volume", "Attach a volume", 10*time.Minute),
		change("detach-volume", "Detach a volume", 10*time.Minute),
		change("grow-volume", "Grow one of its volumes", 10*time.Minute),
		change("attach-nic", "Attach a nic", 10*time.Minute),
		change("detach-nic", "Detach a nic", 10*time.Minute),
		change("snapshot", "Snapshot its volumes at one moment", 2*time.Hour),
		Action{
			Name: "delete", From: append([]Phase{PhasePending, PhaseFailed}, settled...), During: PhaseDeleting,
			After: PhaseDeleted, Deadline: time.Hour, Summary: "Delete", Deletes: true,
		},
	)
}
