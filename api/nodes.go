package api

import (
	"context"
	"net/http"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
)

// NodeParams name the node that a request is about.
type NodeParams struct {
	Name string `path:"name" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" patternDescription:"the name of a node, such as node-1" example:"node-1" doc:"Name of the node."`
}

type removal struct {
	NodeParams
	Force bool `query:"force" doc:"Remove a node also if too few nodes that are well would be left to agree on anything: the zone may not work afterwards. Remove an agent also if there are resources on it: they run on, and nothing can be done for them until an agent of that name joins."`
}

type nodeList struct {
	Items []door.NodeView `json:"items" doc:"Nodes and agents, in the order of their names."`
}

type (
	nodeAnswer  struct{ Body *door.NodeView }
	nodesAnswer struct{ Body nodeList }
)

const nodesPath = "/v1/nodes"

func (a *API) nodes() {
	register(a, route{
		id: "list-nodes", method: http.MethodGet, path: nodesPath, tag: "Nodes", summary: "List nodes",
		about: "Lists the nodes that manage the zone and the agents of its hosts, all of them, as the node that is asked " +
			"knows them: what a resource can name as its node. While no " +
			"majority of them answers, ask with consistency=stale.",
		permission: door.To(door.VerbList, door.KindNode),
	}, func(ctx context.Context, g door.Grant, _ *struct{}) (*nodesAnswer, error) {
		all, err := a.door.Nodes(ctx, g)
		return &nodesAnswer{nodeList{append([]door.NodeView{}, all...)}}, err
	})
	register(a, route{
		id: "get-node", method: http.MethodGet, path: nodesPath + "/{name}", tag: "Nodes", summary: "Get one node",
		about: "Reads one node by its name.", permission: door.To(door.VerbGet, door.KindNode),
	}, func(ctx context.Context, g door.Grant, in *NodeParams) (*nodeAnswer, error) {
		n, err := a.door.Node(ctx, g, in.Name)
		return &nodeAnswer{&n}, err
	})
	register(a, route{
		id: "remove-node", method: http.MethodDelete, path: nodesPath + "/{name}", tag: "Nodes",
		summary: "Remove a node", permission: door.To(string(door.NodeRemove), door.KindNode),
		about: "Takes a node or an agent out of the zone for good, and answers with it as it was last. Drain a node first, " +
			"if it runs. Refused if too few nodes that are well would be left to agree on anything, or if there are " +
			"resources on an agent, unless it is forced.",
	}, func(ctx context.Context, g door.Grant, in *removal) (*nodeAnswer, error) {
		return a.changeNode(ctx, g, in.Name, in.Force)
	})
	for _, x := range []struct {
		action         door.NodeAction
		id             string
		summary, about string
	}{
		{
			door.NodeDrain, "drain-node", "Drain a node",
			"Has other nodes take over the shards of a node, and the lead. It goes on serving requests and counting " +
				"for the majority. Answers at once: it is done when the node has no shards.",
		},
		{door.NodeResume, "resume-node", "Resume a node", "Lets a node that was drained have shards again."},
		{door.NodeLead, "lead-with-node", "Have a node lead", "Gives the lead to a node. Nothing that was accepted is lost."},
	} {
		register(a, route{
			id: x.id, method: http.MethodPost, path: nodesPath + "/{name}/actions/" + string(x.action), tag: "Nodes",
			summary: x.summary, about: x.about, permission: door.To(string(x.action), door.KindNode),
		}, func(ctx context.Context, g door.Grant, in *NodeParams) (*nodeAnswer, error) {
			return a.changeNode(ctx, g, in.Name, false)
		})
	}
}

func (a *API) changeNode(ctx context.Context, g door.Grant, name string, force bool) (*nodeAnswer, error) {
	n, err := a.door.ChangeNode(ctx, g, name, force, callFrom(ctx).origin())
	return &nodeAnswer{&n}, err
}

// newRotation is the body that begins a rotation.
type newRotation struct {
	Secret door.RotatedSecret `json:"secret" enum:"authority,gossip-key,secret-keys" doc:"What is to be replaced."`
}

type rotationAnswer struct{ Body *door.RotationView }

func answerRotation(v door.RotationView, err error) (*rotationAnswer, error) {
	v.Lagging = append([]string{}, v.Lagging...)
	return &rotationAnswer{&v}, err
}

const rotationPath = "/v1/rotation"

func (a *API) rotation() {
	register(a, route{
		id: "get-rotation", method: http.MethodGet, path: rotationPath, tag: "Nodes", summary: "Get the rotation",
		about:      "Reads how far the replacing of a secret is that all nodes have: what goes on, or else was the last.",
		permission: door.To(door.VerbGet, door.KindRotation),
	}, func(ctx context.Context, g door.Grant, _ *struct{}) (*rotationAnswer, error) {
		return answerRotation(a.door.Rotation(ctx, g))
	})
	registerBody(a, route{
		id: "begin-rotation", method: http.MethodPost, path: rotationPath, tag: "Nodes", status: http.StatusCreated,
		summary: "Begin a rotation", permission: door.To("create", door.KindRotation),
		about: "Begins to replace a secret that all nodes have, in phases that each wait for all nodes. Nothing is " +
			"restarted, no connection refused. Answers at once: it is over when its phase is done.",
	}, func(ctx context.Context, g door.Grant, _ *struct{}, b *newRotation) (*rotationAnswer, error) {
		return answerRotation(a.door.Rotate(ctx, g, b.Secret, callFrom(ctx).origin()))
	})
}

// newJoinToken is the body that makes a join token.
type newJoinToken struct {
	Role             door.JoinRole `json:"role" enum:"node,host" doc:"What it lets in, once."`
	ExpiresInSeconds int           `json:"expiresInSeconds,omitempty" minimum:"60" maximum:"86400" doc:"How long it is good for, in seconds; absent means 15 minutes."`
}

// lasting is how long a join token is good for unless it is said.
const lasting = 15 * time.Minute

func (n newJoinToken) lasting() time.Duration {
	if n.ExpiresInSeconds == 0 {
		return lasting
	}
	return time.Duration(n.ExpiresInSeconds) * time.Second
}

// JoinTokenParams name the join token that a request is about.
type JoinTokenParams struct {
	ID string `path:"id" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" patternDescription:"the id of a join token" doc:"Id of the join token."`
}

type joinTokenList struct {
	Items []door.JoinToken `json:"items" doc:"Those that were not used yet, in the order of their ids."`
}

type (
	joinTokenAnswer  struct{ Body *door.JoinToken }
	joinTokensAnswer struct{ Body joinTokenList }
	invitationAnswer struct{ Body *door.Invitation }
)

const joinTokensPath = "/v1/join-tokens"

func (a *API) joinTokens() {
	register(a, route{
		id: "list-join-tokens", method: http.MethodGet, path: joinTokensPath, tag: "Join tokens",
		summary:    "List join tokens",
		about:      "Lists the join tokens that were not used yet, all of them, without their secrets.",
		permission: door.To(door.VerbList, door.KindJoinToken),
	}, func(ctx context.Context, g door.Grant, _ *struct{}) (*joinTokensAnswer, error) {
		all, err := a.door.JoinTokens(ctx, g)
		return &joinTokensAnswer{joinTokenList{append([]door.JoinToken{}, all...)}}, err
	})
	registerBody(a, route{
		id: "create-join-token", method: http.MethodPost, path: joinTokensPath, tag: "Join tokens",
		status: http.StatusCreated, summary: "Create a join token", permission: door.To("create", door.KindJoinToken),
		about: "Makes a token that lets one node or host join the zone, once, and answers with its text, this once: " +
			"only a digest is kept.",
	}, func(ctx context.Context, g door.Grant, _ *struct{}, b *newJoinToken) (*invitationAnswer, error) {
		i, err := a.door.CreateJoinToken(ctx, g, b.Role, b.lasting(), callFrom(ctx).origin())
		i.Addresses = append([]string{}, i.Addresses...)
		return &invitationAnswer{&i}, err
	})
	register(a, route{
		id: "delete-join-token", method: http.MethodDelete, path: joinTokensPath + "/{id}", tag: "Join tokens",
		summary: "Delete a join token", permission: door.To("delete", door.KindJoinToken),
		about: "Takes back a join token that was not used yet, and answers with it.",
	}, func(ctx context.Context, g door.Grant, in *JoinTokenParams) (*joinTokenAnswer, error) {
		t, err := a.door.DeleteJoinToken(ctx, g, in.ID, callFrom(ctx).origin())
		return &joinTokenAnswer{&t}, err
	})
}
