package door

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Nodes returns the nodes that manage the zone, in the order of their names.
func (d *Door) Nodes(ctx context.Context, g Grant) ([]NodeView, error) {
	if !g.covers(KindNode, VerbList, VerbGet) {
		return nil, ungranted(g)
	}
	all, err := d.cluster.Nodes(ctx)
	slices.SortFunc(all, func(a, b NodeView) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// Node returns one of Nodes.
func (d *Door) Node(ctx context.Context, g Grant, name string) (NodeView, error) {
	all, err := d.Nodes(ctx, g)
	if err != nil {
		return NodeView{}, err
	}
	for _, n := range all {
		if n.Name == name {
			return n, nil
		}
	}
	return NodeView{}, NoSuchNode(name)
}

// ChangeNode asks of a node what the grant is for.
func (d *Door) ChangeNode(
	ctx context.Context, g Grant, name string, force bool, o resources.Origin,
) (NodeView, error) {
	verb := g.permission.Verb
	if !g.covers(KindNode, string(NodeDrain), string(NodeResume), string(NodeLead), string(NodeRemove)) {
		return NodeView{}, ungranted(g)
	}
	o.Principal = g.principal.String()
	return d.cluster.ChangeNode(ctx, name, NodeChange{Action: NodeAction(verb), Force: force}, o)
}

// Rotation returns the rotation that goes on, or else the last one.
func (d *Door) Rotation(ctx context.Context, g Grant) (RotationView, error) {
	if !g.covers(KindRotation, VerbGet) {
		return RotationView{}, ungranted(g)
	}
	return d.cluster.Rotation(ctx)
}

// Rotate begins to replace a secret that all nodes have.
func (d *Door) Rotate(ctx context.Context, g Grant, secret RotatedSecret, o resources.Origin) (RotationView, error) {
	if !g.covers(KindRotation, "create") {
		return RotationView{}, ungranted(g)
	}
	o.Principal = g.principal.String()
	return d.cluster.Rotate(ctx, secret, o)
}

// JoinTokens returns those that were not used yet, in the order of their ids.
func (d *Door) JoinTokens(ctx context.Context, g Grant) ([]JoinToken, error) {
	if !g.covers(KindJoinToken, VerbList) {
		return nil, ungranted(g)
	}
	return d.cluster.JoinTokens(ctx)
}

// CreateJoinToken makes a token for one node or host.
func (d *Door) CreateJoinToken(
	ctx context.Context, g Grant, role JoinRole, lasting time.Duration, o resources.Origin,
) (Invitation, error) {
	if !g.covers(KindJoinToken, "create") {
		return Invitation{}, ungranted(g)
	}
	o.Principal = g.principal.String()
	return d.cluster.CreateJoinToken(ctx, role, lasting, o)
}

// DeleteJoinToken takes back a token that was not used yet.
func (d *Door) DeleteJoinToken(ctx context.Context, g Grant, id string, o resources.Origin) (JoinToken, error) {
	if !g.covers(KindJoinToken, "delete") {
		return JoinToken{}, ungranted(g)
	}
	o.Principal = g.principal.String()
	return d.cluster.DeleteJoinToken(ctx, id, o)
}
