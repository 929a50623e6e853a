package operations

import (
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/actors/planner"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// nodesOf tells whether the zone has more than one place where drivers run: nodes and
// agents that were let in, and nodes that own shards, since the first one was never let
// in.
func nodesOf(v *persistence.View) (planner.Nodes, error) {
	members, err := v.Members()
	if err != nil {
		return planner.Nodes{}, err
	}
	names := map[string]bool{}
	for _, m := range members {
		if !m.Expelled {
			names[m.Name] = true
		}
	}
	if len(names) == 0 {
		return planner.Nodes{Alone: true}, nil
	}
	owners, err := v.Owners()
	for _, o := range owners {
		names[o.Node] = true
	}
	return planner.Nodes{Alone: len(names) == 1}, err
}

// apart reports whether a and b are different nodes.
func apart(v *persistence.View, a, b string) (bool, error) {
	if !(planner.Nodes{}).Apart(a, b) {
		return false, nil
	}
	nodes, err := nodesOf(v)
	return nodes.Apart(a, b), err
}

// tiesOf lists what keeps a machine to a node: its networks, its volumes, its ISO.
// What is not there keeps it nowhere: it is refused for that.
func tiesOf(v *persistence.View, m *resources.Machine) (ties []planner.Tie, err error) {
	nodes, err := nodesOf(v)
	if err != nil || nodes.Alone {
		return nil, err
	}
	tie := func(one planner.Tie, err error) error {
		if err == nil {
			ties = append(ties, one)
		}
		return unlessGone(err)
	}
	for _, nic := range m.Spec.Nics {
		if err := tie(networkTie(v, nic.NetworkID)); err != nil {
			return nil, err
		}
	}
	for _, id := range m.Spec.Volumes {
		if err := tie(volumeTie(v, id)); err != nil {
			return nil, err
		}
	}
	if m.Spec.ISO == "" {
		return ties, nil
	}
	return ties, tie(templateTie(v, m.Spec.ISO))
}

// unlessGone drops the error of what is not there.
func unlessGone(err error) error {
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	return err
}

func networkTie(v *persistence.View, id resources.NetworkID) (planner.Tie, error) {
	n, err := persistence.Find[*resources.Network](v, resources.KindNetwork, string(id))
	if err != nil {
		return planner.Tie{}, err
	}
	return planner.Tie{What: "network " + n.Name, Node: n.Spec.Node}, nil
}

func volumeTie(v *persistence.View, id resources.VolumeID) (planner.Tie, error) {
	vol, err := persistence.Find[*resources.Volume](v, resources.KindVolume, string(id))
	if err != nil {
		return planner.Tie{}, err
	}
	p, err := persistence.Find[*resources.Pool](v, resources.KindPool, string(vol.Status.PoolID))
	if err != nil {
		return planner.Tie{}, err
	}
	tie := planner.Tie{
		What: fmt.Sprintf("volume %s in pool %s", called(vol), p.Name), Node: p.Spec.Node,
		Host: p.Spec.HostID, Cluster: p.Spec.ClusterID,
	}
	if p.Spec.Shared {
		tie.Node = ""
	}
	return tie, nil
}

func templateTie(v *persistence.View, id resources.TemplateID) (planner.Tie, error) {
	t, s, err := templateStore(v, id)
	if err != nil {
		return planner.Tie{}, err
	}
	return planner.Tie{What: fmt.Sprintf("template %s in image store %s", t.Name, s.Name), Node: s.Spec.Node}, nil
}

func templateStore(
	v *persistence.View, id resources.TemplateID,
) (t *resources.Template, s *resources.ImageStore, err error) {
	t, err = persistence.Find[*resources.Template](v, resources.KindTemplate, string(id))
	if err != nil {
		return nil, nil, err
	}
	s, err = persistence.Find[*resources.ImageStore](v, resources.KindImageStore, string(t.Spec.ImageStoreID))
	return t, s, err
}

// called is what people call a resource by.
func called(r resources.Resource) string {
	m := r.Metadata()
	if m.Name != "" {
		return m.Name
	}
	return m.ID
}

// checkVolumeNear refuses to attach a volume that is on another node than the machine.
func checkVolumeNear(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok {
		return nil
	}
	tie, err := volumeTie(v, op.Arguments.VolumeID)
	if err != nil {
		return unlessGone(err) // the operation says so
	}
	return checkTie(v, m, tie, "/volumeId", "attach a volume that is in a pool on node %s")
}

// checkNicNear refuses a nic in a network on another node.
func checkNicNear(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok || op.Arguments.Nic == nil {
		return nil
	}
	return networkNear(v, m, op.Arguments.Nic.NetworkID)
}

func networkNear(v *persistence.View, m *resources.Machine, id resources.NetworkID) error {
	tie, err := networkTie(v, id)
	if err != nil {
		return unlessGone(err)
	}
	return checkTie(v, m, tie, "/nic/networkId", "choose a network on node %s, or make one there")
}

func checkTie(v *persistence.View, m *resources.Machine, tie planner.Tie, pointer, remedy string) error {
	h, err := persistence.Find[*resources.Host](v, resources.KindHost, string(m.Status.HostID))
	if err != nil {
		return unlessGone(err)
	}
	away, err := apart(v, tie.Node, h.Spec.Node)
	if err != nil || !away {
		return err
	}
	return elsewhere(
		fmt.Sprintf("%s is on node %s, host %s of machine %s on node %s", tie.What, tie.Node, h.Name, m.Name, h.Spec.Node),
		pointer, "is on another node than the machine", fmt.Sprintf(remedy, h.Spec.Node))
}

func elsewhere(message, pointer, field, remedy string) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "on-another-node", Message: message, Remedy: remedy,
		Fields: []resources.FieldError{{Pointer: pointer, Code: "on-another-node", Message: field}},
	}
}

// checkTemplateNear refuses a copy of a template in a pool on another node than the
// template's store: a driver reads the files of its own node.
func checkTemplateNear(v *persistence.View, _ *resources.Operation, r resources.Resource) error {
	vol, ok := r.(*resources.Volume)
	if !ok || vol.Spec.TemplateID == "" || vol.Spec.PoolID == "" {
		return nil
	}
	p, err := persistence.Find[*resources.Pool](v, resources.KindPool, string(vol.Spec.PoolID))
	if err != nil {
		return unlessGone(err)
	}
	t, s, err := templateStore(v, vol.Spec.TemplateID)
	if err != nil {
		return unlessGone(err)
	}
	away, err := apart(v, s.Spec.Node, p.Spec.Node)
	if err != nil || !away {
		return err
	}
	return elsewhere(
		fmt.Sprintf("template %s is in image store %s on node %s, pool %s on node %s",
			t.Name, s.Name, s.Spec.Node, p.Name, p.Spec.Node),
		"/spec/templateId", "is on another node than the pool",
		fmt.Sprintf("give the template to an image store on node %s, or choose a pool on node %s", p.Spec.Node, s.Spec.Node))
}

// checkPoolHost refuses a pool on another node than the one host that is to reach it.
func checkPoolHost(v *persistence.View, _ *resources.Operation, r resources.Resource) error {
	p, ok := r.(*resources.Pool)
	if !ok || p.Spec.HostID == "" {
		return nil
	}
	h, err := persistence.Find[*resources.Host](v, resources.KindHost, string(p.Spec.HostID))
	if err != nil {
		return unlessGone(err)
	}
	away, err := apart(v, p.Spec.Node, h.Spec.Node)
	if err != nil || !away {
		return err
	}
	return elsewhere(fmt.Sprintf("host %s is on node %s, the pool on node %s", h.Name, h.Spec.Node, p.Spec.Node),
		"/spec/node", "is another node than that of the host", "name node "+h.Spec.Node+", or none")
}

// nodeOfNic is the node that a nic is on: that of its machine's host.
func (c *Context) nodeOfNic(nic *resources.Nic, n *resources.Network) (node string, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		m, err := persistence.Find[*resources.Machine](v, resources.KindMachine, string(nic.Spec.MachineID))
		if err != nil {
			return err
		}
		h, err := persistence.Find[*resources.Host](v, resources.KindHost, string(m.Status.HostID))
		if err != nil {
			return err
		}
		node = h.Spec.Node
		return nil
	})
	if node == "" {
		node = n.Spec.Node
	}
	return node, unlessGone(err)
}

// UploadApart reports whether the image store of a template is on another node than the one that an upload came to, and
// on which.
func UploadApart(v *persistence.View, template resources.Ref, node string) (is bool, on string, err error) {
	_, s, err := templateStore(v, resources.TemplateID(template.ID))
	if err != nil {
		return false, "", unlessGone(err) // the step says what is missing
	}
	is, err = apart(v, s.Spec.Node, node)
	return is, s.Spec.Node, err
}
