package resources

import "time"

// Cluster groups hosts that share storage and can stand in for each other.
type Cluster struct {
	Meta
	Spec   ClusterSpec   `json:"spec"`
	Status ClusterStatus `json:"status"`
}

// ClusterSpec is what is asked of a cluster.
type ClusterSpec struct {
	Description string `json:"description,omitempty" doc:"For people." maxLength:"256"`
}

// ClusterStatus is what was observed of a cluster.
type ClusterStatus struct{}

// Validate implements Resource.
func (c *Cluster) Validate(p *Problems) {
	ValidateMeta(&c.Meta, p)
	RequireName(&c.Meta, p)
	p.In("spec").MaxLength("description", c.Spec.Description, 256)
}

// References implements Resource.
func (c *Cluster) References() []Ref { return nil }

// Facets implements Resource.
func (c *Cluster) Facets() map[string]string { return nil }

func clusterDefinition() Definition {
	return Definition{
		Kind: KindCluster, Prefix: "clu", Plural: "clusters",
		New:    func() Resource { return &Cluster{Meta: Meta{Kind: KindCluster}} },
		Phases: simpleTable(), Actions: instantActions(),
		Mutable: []string{"description"},
	}
}

// Host is a machine that runs guests.
type Host struct {
	Meta
	Spec   HostSpec   `json:"spec"`
	Status HostStatus `json:"status"`
}

// HostSpec is what is asked of a host.
type HostSpec struct {
	ClusterID ClusterID `json:"clusterId,omitempty" doc:"Cluster it belongs to."`
	// Node whose driver host acts for it; empty = the one that accepts.
	Node string `json:"node,omitempty" doc:"Node or agent that drives it; absent means the one that accepts."`
	// Driver is the hypervisor driver: vendor/name.
	Driver     string         `json:"driver" doc:"Hypervisor driver, vendor/name." example:"bulkhead/qemuhypervisor"`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the driver for this host."`
	Tags       []string       `json:"tags,omitempty" doc:"What machines can ask for." maxItems:"32"`
	// Unschedulable hosts keep their machines and get no new ones.
	Unschedulable bool `json:"unschedulable,omitempty" doc:"Whether new machines stay away."`
	// OutOfBand is how its power is controlled whether or not it runs.
	OutOfBand *OutOfBand `json:"outOfBand,omitempty" doc:"How its power is controlled, whether or not it runs."`
	// What is kept back for the host itself.
	ReservedMemoryBytes uint64 `json:"reservedMemoryBytes,omitempty" doc:"Memory kept for the host itself, in bytes."`
}

// OutOfBand is the controller (BMC) of a host.
type OutOfBand struct {
	Driver string `json:"driver" doc:"Out-of-band driver, vendor/name." example:"bulkhead/redfish"`
	// Node asks the controller: not the host itself, which may be off.
	Node string `json:"node,omitempty" doc:"Node that asks the controller; absent means the one that acts for the host."`
	// Properties with the driver's secrets among them, which are never shown.
	Properties map[string]any `json:"properties,omitempty" doc:"Settings of the driver for this host; secret ones are never shown again."`
}

// Suspicion is a host that does not answer.
type Suspicion struct {
	// Since tells suspicions apart.
	Since  time.Time `json:"since" doc:"When it was first found not to answer."`
	Reason string    `json:"reason" doc:"Why it is suspected, in words."`
}

// Alarm is what somebody who looks after hosts can't do alone.
type Alarm struct {
	Message string    `json:"message" doc:"What is wrong, in words."`
	At      time.Time `json:"at" doc:"When it was raised."`
	By      string    `json:"by" doc:"Who raised it."`
}

// Fence is proof that a host does not run. It is for one suspicion.
type Fence struct {
	Proof string    `json:"proof" doc:"power-off, said by its controller, or attested, said by an operator." enum:"power-off,attested"`
	At    time.Time `json:"at" doc:"When the proof was taken down."`
	// ObservedAt is when the controller was asked.
	ObservedAt time.Time `json:"observedAt,omitzero" doc:"When the controller was asked, by its driver's clock."`
	By         string    `json:"by" doc:"Who asked for it, or attested it."`
	Statement  string    `json:"statement,omitempty" doc:"What was attested, in the operator's words."`
	// Suspicion that it answers, by its Since.
	Suspicion time.Time `json:"suspicion" doc:"Beginning of the suspicion it is for; it says nothing of any other."`
}

// The proofs of a fence.
const (
	ProofPowerOff = "power-off"
	ProofAttested = "attested"
)

// Fenced reports whether there is proof that a host that is suspected now does not run.
func (h *Host) Fenced() bool {
	f, s := h.Status.Fence, h.Status.Suspicion
	return f != nil && s != nil && f.Suspicion.Equal(s.Since)
}

// HostStatus is what was observed of a host.
type HostStatus struct {
	CPUs         uint64            `json:"cpus" doc:"Processors."`
	MemoryBytes  uint64            `json:"memoryBytes" doc:"Memory in bytes."`
	Accelerator  string            `json:"accelerator,omitempty" doc:"kvm or tcg, found by starting a guest."`
	Architecture string            `json:"architecture,omitempty" doc:"Processor architecture."`
	Hypervisor   string            `json:"hypervisor,omitempty" doc:"Hypervisor and its version."`
	Facts        map[string]string `json:"facts,omitempty" doc:"What else the driver says."`
	// Power is what the controller said last; Suspicion and Fence are there while the host does not answer.
	Power     string     `json:"power,omitempty" doc:"on, off or unknown: what its controller said last."`
	PowerAt   time.Time  `json:"powerAt,omitzero" doc:"When the controller was asked."`
	Suspicion *Suspicion `json:"suspicion,omitempty" doc:"Why it is suspected not to run; absent while it answers."`
	Fence     *Fence     `json:"fence,omitempty" doc:"Proof that it does not run; gone once it is seen again."`
	// Alarm says what an operator should know of a lost host.
	Alarm *Alarm `json:"alarm,omitempty" doc:"What keeps its machines from being recovered; gone once that is over."`
	// Reserved is what machines placed here were promised. Joined on reading.
	Reserved Quantities `json:"reserved" doc:"What machines placed here were promised."`
}

// Capacity is what can be given out, with over-commit.
func (h *Host) Capacity(cpuFactor, memoryFactor float64) Quantities {
	return Quantities{
		CPUs:        uint64(float64(h.Status.CPUs) * cpuFactor),
		MemoryBytes: uint64(float64(monus(h.Status.MemoryBytes, h.Spec.ReservedMemoryBytes)) * memoryFactor),
	}
}

// Validate implements Resource.
func (h *Host) Validate(p *Problems) {
	ValidateMeta(&h.Meta, p)
	RequireName(&h.Meta, p)
	s := p.In("spec")
	validateDriver(s, h.Spec.Driver)
	validateTags(s.In("tags"), h.Spec.Tags)
	if b := h.Spec.OutOfBand; b != nil {
		validateDriver(s.In("outOfBand"), b.Driver)
	}
}

// Level is that of the zones whose programs know all of it.
func (h *Host) Level() uint32 { return levelIf(h.Spec.OutOfBand != nil) }

// levelIf is 2 if a resource has what zones of level 1 would lose.
func levelIf(newer bool) uint32 {
	if newer {
		return 2
	}
	return 1
}

// References implements Resource.
func (h *Host) References() []Ref { return add(nil, KindCluster, string(h.Spec.ClusterID)) }

// Facets implements Resource.
func (h *Host) Facets() map[string]string {
	m := map[string]string{}
	facet(m, "cluster", string(h.Spec.ClusterID))
	facet(m, "driver", h.Spec.Driver)
	facet(m, "node", h.Spec.Node)
	return m
}

func hostDefinition() Definition {
	return Definition{
		Kind: KindHost, Prefix: "host", Plural: "hosts", New: func() Resource { return &Host{Meta: Meta{Kind: KindHost}} },
		Phases:  hostTable(),
		Actions: hostActions(),
		Mutable: []string{"tags", "unschedulable", "reservedMemoryBytes", "outOfBand", "properties"},
	}
}

// hostTable is a simple table with maintenance.
func hostTable() Table {
	t := simpleTable()
	t[PhaseMaintaining] = []Phase{PhaseMaintenance, PhaseReady, PhaseDegraded}
	t[PhaseMaintenance] = []Phase{PhaseMaintaining, PhaseUpdating, PhaseReady, PhaseDegraded, PhaseDeleting, PhaseDeleted}
	for _, from := range []Phase{PhaseReady, PhaseDegraded} {
		t[from] = append(t[from], PhaseMaintaining)
	}
	for _, from := range []Phase{PhaseUpdating, PhaseDeleting} {
		t[from] = append(t[from], PhaseMaintenance)
	}
	return t
}

func hostActions() map[string]Action {
	also := func(a Action) Action {
		a.From = append(a.From, PhaseMaintenance)
		return a
	}
	// Who asks a controller is to hear soon what it says, and that it says nothing: somebody else
	// may know, and waits behind. One attempt can take much longer, and is not cut short.
	power := func(name, summary string) Action {
		return also(Action{Name: name, Level: 2, From: made(), Deadline: 10 * time.Second, Summary: summary})
	}
	return actions(
		createAction(5*time.Minute), also(updateAction()), also(deleteAction(5*time.Minute)),
		also(Action{
			Name: "maintain", Level: 2, From: made(), During: PhaseMaintaining, After: PhaseMaintenance,
			Deadline: 12 * time.Hour, Summary: "Have its machines moved, and take no others",
		}),
		Action{
			Name: "activate", Level: 2, From: []Phase{PhaseMaintenance}, During: PhaseUpdating, After: PhaseReady,
			Undone: PhaseMaintenance, Deadline: 5 * time.Minute, Summary: "Take machines again after maintenance",
		},
		rebindIn(hostTable()),
		power("power-status", "Ask whether its power is on"),
		power("power-on", "Turn its power on"),
		power("power-off", "Turn its power off"),
		power("fence", "Turn its power off, as proof that it does not run"),
		also(Action{Name: "alarm", Level: 2, From: made(), Deadline: time.Minute, Summary: "Raise an alarm"}),
		also(Action{
			Name: "attest-off", Level: 2, From: made(), Deadline: 15 * time.Minute, Summary: "Attest that it does not run",
		}),
	)
}
