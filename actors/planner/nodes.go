package planner

import (
	"fmt"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// The checks that what works together is on one node, as reasons name them.
const (
	CheckNode         = "node"
	CheckTemplateNode = "template-node"
)

// Nodes compares the nodes that drive resources.
type Nodes struct {
	// Alone says that the zone has one node only. It answers to all names: the zone may
	// have been restored under another one.
	Alone bool
}

// Apart reports whether a and b are different nodes. A resource of an older version
// names none: it is taken to be everywhere.
func (n Nodes) Apart(a, b string) bool {
	return !n.Alone && a != "" && b != "" && a != b
}

// Tie keeps a machine to a node: something on it that the machine is to have.
type Tie struct {
	// What it is, such as "network lan".
	What string
	// Node it is on; "" if it is on all of them.
	Node string
	// Host and Cluster are the only ones that reach it; "" if all do.
	Host    resources.HostID
	Cluster resources.ClusterID
}

// hostNode refuses a host that is on another node than what its machine is to have.
func hostNode(ties []Tie, h Host) *resources.Reason {
	var words, needed []string
	for _, t := range ties {
		if (Nodes{}).Apart(t.Node, h.Spec.Node) {
			words, needed = append(words, t.What+" is on node "+t.Node), append(needed, t.Node)
		}
	}
	if len(words) == 0 {
		return nil
	}
	return &resources.Reason{
		Needed: strings.Join(needed, ", "), Available: h.Spec.Node,
		Message: fmt.Sprintf("%s, the host on node %s", strings.Join(words, "; "), h.Spec.Node),
	}
}

// hostReach refuses a host that does not reach what its machine has.
func hostReach(ties []Tie, h Host) *resources.Reason {
	for _, t := range ties {
		if t.Host != "" && string(t.Host) != h.ID {
			return &resources.Reason{
				Needed: string(t.Host), Available: h.ID, Message: t.What + " is reached by another host only",
			}
		}
		if t.Cluster != "" && t.Cluster != h.Spec.ClusterID {
			return &resources.Reason{
				Needed: string(t.Cluster), Available: string(h.Spec.ClusterID),
				Message: t.What + " is reached by the hosts of another cluster only",
			}
		}
	}
	return nil
}

// poolNode refuses a pool on another node than the host that is to open the volume,
// or than the store that has the template: a driver reads the files of its own node.
func poolNode(w Want, p *resources.Pool) *resources.Reason {
	if w.Host != nil && !p.Spec.Shared && w.Nodes.Apart(w.Host.Spec.Node, p.Spec.Node) {
		return &resources.Reason{
			Check: CheckNode, Needed: w.Host.Spec.Node, Available: p.Spec.Node,
			Message: fmt.Sprintf("host %s is on node %s, the pool on node %s", w.Host.Name, w.Host.Spec.Node, p.Spec.Node),
		}
	}
	if w.Store != nil && w.Nodes.Apart(w.Store.Spec.Node, p.Spec.Node) {
		return &resources.Reason{
			Check: CheckTemplateNode, Needed: w.Store.Spec.Node, Available: p.Spec.Node,
			Message: fmt.Sprintf("the template is in image store %s on node %s, the pool on node %s",
				w.Store.Name, w.Store.Spec.Node, p.Spec.Node),
		}
	}
	return nil
}
