package actors

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// nodeOf is the field that says which node drives a resource; nil for kinds that have none.
func nodeOf(r resources.Resource) *string {
	switch x := r.(type) {
	case *resources.Host:
		return &x.Spec.Node
	case *resources.Pool:
		return &x.Spec.Node
	case *resources.ImageStore:
		return &x.Spec.Node
	case *resources.Network:
		return &x.Spec.Node
	}
	return nil
}

// chooseNode fills in which node drives a new resource that names none: that of the
// one host that a pool is for, else this one. A node that nobody knows is refused.
func (e *Engine) chooseNode(r resources.Resource) error {
	node := nodeOf(r)
	if node == nil {
		return nil
	}
	names := e.drivers.Nodes()
	if *node == "" {
		*node = e.drivers.Node()
		host, err := e.nodeOfHost(r)
		if slices.Contains(names, host) {
			*node = host
		}
		return err
	}
	if slices.Contains(names, *node) {
		return nil
	}
	known := strings.Join(names, ", ")
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "unknown-node",
		Message: fmt.Sprintf("the zone has no node or agent %q; there are %s", *node, known),
		Remedy:  "name one of them, or none for the one that is asked",
		Fields: []resources.FieldError{{
			Pointer: "/spec/node", Code: "unknown-node", Message: "is not among the zone's nodes and agents: " + known,
		}},
	}
}

// checkAsker refuses a node that can't ask the controller of a host when the host is lost: one that nobody knows, and
// the host's own. What a host had before is not looked at again.
func (e *Engine) checkAsker(before, after resources.Resource) error {
	h, ok := after.(*resources.Host)
	if !ok || h.Spec.OutOfBand == nil || h.Spec.OutOfBand.Node == "" {
		return nil
	}
	node := h.Spec.OutOfBand.Node
	if was, ok := before.(*resources.Host); ok && was.Spec.OutOfBand != nil && was.Spec.OutOfBand.Node == node {
		return nil
	}
	names, why := e.drivers.Nodes(), ""
	switch {
	case !slices.Contains(names, node):
		why = "is not among the zone's nodes and agents: " + strings.Join(names, ", ")
	case node == h.Spec.Node && len(names) > 1:
		why = "is the host's own, which can't be asked when the host is lost"
	default:
		return nil
	}
	const pointer = "/spec/outOfBand/node"
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "bad-asker", Message: "node " + node + " can't ask the controller of the host",
		Remedy: "name another node, or none for whichever acts for the host",
		Fields: []resources.FieldError{{Pointer: pointer, Code: "bad-asker", Message: why}},
	}
}

// nodeOfHost is the node of the one host that reaches a pool; "" if all do.
func (e *Engine) nodeOfHost(r resources.Resource) (string, error) {
	p, ok := r.(*resources.Pool)
	if !ok || p.Spec.HostID == "" {
		return "", nil
	}
	found, err := e.current(resources.Ref{Kind: resources.KindHost, ID: string(p.Spec.HostID)})
	if resources.ClassOf(err) == resources.ClassNotFound {
		return "", nil // the state refuses it
	}
	if h, ok := found.(*resources.Host); ok {
		return h.Spec.Node, err
	}
	return "", err
}

// checkUpload refuses what was uploaded to this node for a store whose driver is on
// another: it can't read it there.
func (e *Engine) checkUpload(op *resources.Operation) error {
	if op.Arguments.Upload == "" {
		return nil
	}
	return e.state.View(func(v *persistence.View) error {
		apart, node, err := operations.UploadApart(v, op.Target, e.drivers.Node())
		if err != nil || !apart {
			return err
		}
		remedy := "upload it to node " + node + ": point the client at that node's API"
		m, known, err := v.Member(persistence.RoleHost, node)
		if err != nil {
			return err
		}
		if known && !m.Expelled {
			remedy = "that is the agent of a host, which takes no uploads: give the template a URL, or a file of that host " +
				"that the store may read"
		}
		return &resources.Error{
			Class: resources.ClassConflict, Code: "on-another-node",
			Message: "the image store of this template is on node " + node +
				", and this was uploaded to node " + e.drivers.Node(),
			Remedy: remedy,
		}
	})
}
