package api

import (
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

type clusterList struct{ ListParams }

func (l *clusterList) facets() map[string]string { return nil }

type clusterPatch struct {
	MetaPatch
	Spec *clusterSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type clusterSpecPatch struct {
	Description *string `json:"description,omitempty" maxLength:"256" doc:"For people."`
}

func (p clusterPatch) apply(c *resources.Cluster) {
	p.meta(&c.Meta)
	if p.Spec != nil {
		set(&c.Spec.Description, p.Spec.Description)
	}
}

func (a *API) clusters() {
	n := noun{resources.KindCluster, "cluster", "clusters", "cluster", "clusters", "Clusters"}
	addList[resources.Cluster, clusterList](a, n)
	addGet[resources.Cluster](a, n)
	addCreate(a, n, func(c *creation[resources.ClusterSpec]) resources.Resource {
		return &resources.Cluster{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[clusterPatch](a, n)
	addDelete(a, n)
	addSuspend[resources.Cluster](a, n)
}

type hostList struct {
	ListParams
	ClusterID resources.ClusterID `query:"clusterId" doc:"Only hosts of this cluster."`
	Driver    string              `query:"driver" maxLength:"65" doc:"Only hosts of this driver, vendor/name."`
	Node      string              `query:"node" maxLength:"64" doc:"Only hosts driven by this node."`
}

func (l *hostList) facets() map[string]string {
	return given("cluster", string(l.ClusterID), "driver", l.Driver, "node", l.Node)
}

type hostPatch struct {
	MetaPatch
	Spec *hostSpecPatch `json:"spec,omitempty" doc:"Changes of what is asked for."`
}

type hostSpecPatch struct {
	Tags                *[]string `json:"tags,omitempty" maxItems:"32" doc:"What machines can ask for; replaces all."`
	Unschedulable       *bool     `json:"unschedulable,omitempty" doc:"Whether new machines stay away."`
	ReservedMemoryBytes *uint64   `json:"reservedMemoryBytes,omitempty" doc:"Memory kept for the host itself, in bytes."`
	// OutOfBand changes what is given of it.
	OutOfBand *outOfBandPatch `json:"outOfBand,omitempty" doc:"How its power is controlled."`
	// Properties changes what is given of them.
	Properties map[string]any `json:"properties,omitempty" doc:"Settings to set; null removes one, others stay, secret ones too."`
}

type outOfBandPatch struct {
	Driver     *string        `json:"driver,omitempty" maxLength:"65" doc:"Out-of-band driver, vendor/name; empty takes the controller away."`
	Node       *string        `json:"node,omitempty" maxLength:"64" doc:"Node that asks the controller; empty means the one that acts for the host."`
	Properties map[string]any `json:"properties,omitempty" doc:"Settings to set; null removes one, others stay, secret ones too."`
}

// on is a controller after the patch; nil = there is none any more.
func (p *outOfBandPatch) on(b *resources.OutOfBand) *resources.OutOfBand {
	if p == nil {
		return b
	}
	next := resources.OutOfBand{}
	if b != nil {
		next = *b
	}
	set(&next.Driver, p.Driver)
	set(&next.Node, p.Node)
	next.Properties = merged(next.Properties, p.Properties)
	if p.Driver != nil && *p.Driver == "" {
		return nil
	}
	return &next
}

func (p hostPatch) apply(h *resources.Host) {
	p.meta(&h.Meta)
	if p.Spec == nil {
		return
	}
	set(&h.Spec.Tags, p.Spec.Tags)
	set(&h.Spec.Unschedulable, p.Spec.Unschedulable)
	set(&h.Spec.ReservedMemoryBytes, p.Spec.ReservedMemoryBytes)
	h.Spec.OutOfBand = p.Spec.OutOfBand.on(h.Spec.OutOfBand)
	h.Spec.Properties = merged(h.Spec.Properties, p.Spec.Properties)
}

func (a *API) hosts() {
	n := noun{resources.KindHost, "host", "hosts", "host", "hosts", "Hosts"}
	addList[resources.Host, hostList](a, n)
	addGet[resources.Host](a, n)
	addCreate(a, n, func(c *creation[resources.HostSpec]) resources.Resource {
		return &resources.Host{Meta: c.meta(n.kind), Spec: c.Spec}
	})
	addPatch[hostPatch](a, n)
	addDelete(a, n)
	addSuspend[resources.Host](a, n)
	a.hostPower(n)
	addActionWith[maintenance](a, n, action{
		name: "maintain", id: "maintain-host", summary: "Empty a host for maintenance", optional: true,
		about: "Takes no more machines, and moves those it has to other hosts, while they run if they are running. If some " +
			"must stay, the operation fails and says why for each; what has gone stays gone, and the host is as before. " +
			"It can be cancelled and asked for again.",
	})
	addAction(a, n, action{
		name: "activate", id: "activate-host", summary: "Use a host again after maintenance",
		about: "Lets the host take machines again, if it answers. Machines that went do not come back by themselves.",
	})
}

// maintenance is how a host is emptied.
type maintenance struct {
	AllowRestart bool   `json:"allowRestart,omitempty" doc:"Whether machines that can't be moved while they run may be restarted elsewhere."`
	GraceSeconds uint32 `json:"graceSeconds,omitempty" maximum:"600" doc:"How long a guest that is restarted has to shut down by itself, in seconds; 0 means the zone's default."`
	AtOnce       uint32 `json:"atOnce,omitempty" maximum:"16" doc:"How many machines are moved at the same time; 0 means 2."`
}

func (b maintenance) arguments() resources.Arguments {
	return resources.Arguments{AllowRestart: b.AllowRestart, GraceSeconds: b.GraceSeconds, AtOnce: b.AtOnce}
}

// powerCut is how the power of a host is turned off.
type powerCut struct {
	Force bool `json:"force,omitempty" doc:"Whether to turn it off although machines run on it."`
}

func (b powerCut) arguments() resources.Arguments { return resources.Arguments{Force: b.Force} }

// attestation is what an administrator says of a host, who is answerable for it.
type attestation struct {
	Statement string `json:"statement" minLength:"10" maxLength:"1000" doc:"How you know that the host does not run; kept in the audit log."`
}

func (b attestation) arguments() resources.Arguments {
	return resources.Arguments{Statement: b.Statement}
}

// hostAlarm is what somebody should know of a host.
type hostAlarm struct {
	Statement string `json:"statement" maxLength:"1000" doc:"What is wrong, in words; empty takes the alarm back."`
}

func (b hostAlarm) arguments() resources.Arguments {
	return resources.Arguments{Statement: b.Statement}
}

func (a *API) hostPower(n noun) {
	addAction(a, n, action{
		name: "power-status", id: "get-host-power", summary: "Ask whether the power of a host is on",
		about: "Asks the host's controller; status.power says what it said.",
	})
	addAction(a, n, action{
		name: "power-on", id: "turn-host-on", summary: "Turn the power of a host on",
		about: "Has the host's controller turn its power on, and confirm it.",
	})
	addActionWith[powerCut](a, n, action{
		name: "power-off", id: "turn-host-off", summary: "Turn the power of a host off", optional: true,
		about: "Has the host's controller cut its power, and confirm it. Refused while machines run on it, unless forced.",
	})
	addAction(a, n, action{
		name: "fence", id: "fence-host", summary: "Fence a host that does not answer",
		about: "Has the controller of a host that is suspected cut its power. What the controller confirms is proof " +
			"that the host does not run: its machines can be recovered. The proof is void once the host is seen again.",
	})
	addActionWith[hostAlarm](a, n, action{
		name: "alarm", id: "raise-host-alarm", summary: "Raise an alarm about a host",
		about: "Says on a host that is suspected what keeps its machines from being recovered. " +
			"It goes when the host is seen, or with an empty statement.",
	})
	addActionWith[attestation](a, n, action{
		name: door.VerbAttest, id: "attest-host-off", summary: "Attest that a host does not run",
		about: "Takes your word for it that a host that is suspected does not run, where no controller can say so. If it " +
			"does run after all, its machines run twice and their disks are lost. For administrators.",
	})
}
