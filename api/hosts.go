package api

import "github.com/bulkhead-cloud/bulkhead/resources"

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
}

func (p hostPatch) apply(h *resources.Host) {
	p.meta(&h.Meta)
	if p.Spec == nil {
		return
	}
	set(&h.Spec.Tags, p.Spec.Tags)
	set(&h.Spec.Unschedulable, p.Spec.Unschedulable)
	set(&h.Spec.ReservedMemoryBytes, p.Spec.ReservedMemoryBytes)
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
}
