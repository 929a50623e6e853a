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
	// What is kept back for the host itself.
	ReservedMemoryBytes uint64 `json:"reservedMemoryBytes,omitempty" doc:"Memory kept for the host itself, in bytes."`
}

// HostStatus is what was observed of a host.
type HostStatus struct {
	CPUs         uint64            `json:"cpus" doc:"Processors."`
	MemoryBytes  uint64            `json:"memoryBytes" doc:"Memory in bytes."`
	Accelerator  string            `json:"accelerator,omitempty" doc:"kvm or tcg, found by starting a guest."`
	Architecture string            `json:"architecture,omitempty" doc:"Processor architecture."`
	Hypervisor   string            `json:"hypervisor,omitempty" doc:"Hypervisor and its version."`
	Facts        map[string]string `json:"facts,omitempty" doc:"What else the driver says."`
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
		Phases:  simpleTable(),
		Actions: actions(createAction(5*time.Minute), updateAction(), deleteAction(5*time.Minute)),
		Mutable: []string{"tags", "unschedulable", "reservedMemoryBytes"},
	}
}
