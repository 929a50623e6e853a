package door

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Cluster knows the nodes that the zone is managed by and the agents of its hosts, and changes them. Whatever
// changes something writes the audit line of it into the same entry, with the
// origin it is given; the kinds of targets are KindNode and KindJoinToken. Errors
// are or wrap a *resources.Error: see NoSuchNode, NoSuchJoinToken, QuorumLost and
// NoCluster, and class unavailable while nobody leads. All methods may be called
// concurrently and on any node.
type Cluster interface {
	Upgrades
	Rotations
	Invitations
	// Nodes returns nodes and agents, in any order: at least this node. It answers also while
	// nobody leads, from what this node knows.
	Nodes(ctx context.Context) ([]NodeView, error)
	// ChangeNode has a node drain, resume or lead, or removes it, and returns it as it
	// is then; as it was last, if it was removed. It returns once the change is agreed
	// on: a drained node may still hold shards. What is so already is no error.
	ChangeNode(ctx context.Context, name string, c NodeChange, o resources.Origin) (NodeView, error)
}

// Invitations are the join tokens.
type Invitations interface {
	// JoinTokens returns those that were not used yet, in the order of their ids.
	JoinTokens(ctx context.Context) ([]JoinToken, error)
	// CreateJoinToken makes a token for one node or host, which is good for as long as
	// is said.
	CreateJoinToken(
		ctx context.Context, role JoinRole, lasting time.Duration, o resources.Origin,
	) (Invitation, error)
	// DeleteJoinToken takes a token back that was not used yet, and returns it.
	DeleteJoinToken(ctx context.Context, id string, o resources.Origin) (JoinToken, error)
}

// Rotations replaces secrets that all nodes have, while all go on.
type Rotations interface {
	// Rotation returns the one that goes on, or else the last one.
	Rotation(ctx context.Context) (RotationView, error)
	// Rotate begins one and returns it. It is refused with class conflict while another
	// goes on, and with NoCluster.
	Rotate(ctx context.Context, secret RotatedSecret, o resources.Origin) (RotationView, error)
}

// RotatedSecret is what a rotation replaces.
type RotatedSecret string

// What can be replaced.
const (
	// SecretAuthority is what signs the certificates of nodes.
	SecretAuthority RotatedSecret = "authority"
	// SecretGossipKey is what the gossip is encrypted with.
	SecretGossipKey RotatedSecret = "gossip-key"
	// SecretKeys is what secrets of resources are sealed with.
	SecretKeys RotatedSecret = "secret-keys"
)

// RotationPhase is how far a rotation is.
type RotationPhase string

// RotationNone is the phase while there was none yet.
const RotationNone RotationPhase = "none"

// RotationView is a rotation, as the node knows it that was asked.
type RotationView struct {
	Secret  RotatedSecret `json:"secret,omitempty" enum:"authority,gossip-key,secret-keys" doc:"What is replaced; absent if nothing ever was."`
	Phase   RotationPhase `json:"phase" enum:"none,adding,using,dropping,done" doc:"How far it is. adding: all nodes get to know the new one. using: all use it. dropping: all give the old one up. Each begins when all have reached the one before."`
	BegunAt time.Time     `json:"begunAt,omitzero" doc:"When it began."`
	Since   time.Time     `json:"since,omitzero" doc:"When its phase began."`
	Lagging []string      `json:"lagging" doc:"Who has not reached the phase, as role and name. All wait for them: bring them back, or remove them."`
}

// VersionsDiffer says that a change has to wait until all nodes run one program.
func VersionsDiffer(own, node, other string) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "versions-differ",
		Message: "node " + node + " runs version " + other + ", not " + own + " as this one, and may not know how",
		Remedy:  "finish the upgrade first, then try again",
	}
}

// NodeRole is a node's part in what the nodes agree on.
type NodeRole string

// The roles of nodes.
const (
	// NodeLeader leads: it is a voter too.
	NodeLeader NodeRole = "leader"
	// NodeVoter counts for the majority.
	NodeVoter NodeRole = "voter"
	// NodeLearner does not count yet: it becomes a voter once it has caught up.
	NodeLearner NodeRole = "learner"
	// NodeAgent is no node: it is the agent of a host, which runs drivers there.
	NodeAgent NodeRole = "agent"
)

// NodeView is a node, as the node knows it that was asked.
type NodeView struct {
	Name      string    `json:"name" doc:"Name, unique among the nodes of the zone." example:"node-1"`
	Address   string    `json:"address,omitempty" doc:"Where other nodes reach it, host and port; absent if the zone has only this node and no address was given to it." example:"192.0.2.1:8740"`
	Role      NodeRole  `json:"role" enum:"leader,voter,learner,agent" doc:"Its part in what the nodes agree on. leader: a voter that leads now. learner: does not count yet, until it has caught up. agent: takes no part, it is the agent of a host and runs drivers there."`
	Well      bool      `json:"well" doc:"Whether it was heard from lately."`
	LastHeard time.Time `json:"lastHeard,omitzero" doc:"When it was last heard from; absent if that is not known here."`
	Draining  bool      `json:"draining" doc:"Whether it is to do no work: its shards go to other nodes."`
	Shards    int       `json:"shards" minimum:"0" doc:"Number of shards whose resources it works for."`
	Revision  uint64    `json:"revision,omitempty" doc:"Revision its state had when it was last heard from; absent if that is not known here."`
	Version   string    `json:"version,omitempty" doc:"Version of the program it runs; absent if that is not known here."`
}

// NodeAction is what can be asked of a node.
type NodeAction string

// The actions on nodes, which are the verbs of their permissions too.
const (
	// NodeDrain gives the node's shards and the lead to others, and none to it.
	NodeDrain NodeAction = "drain"
	// NodeResume ends NodeDrain.
	NodeResume NodeAction = "resume"
	// NodeLead has the node lead.
	NodeLead NodeAction = "lead"
	// NodeRemove takes the node out of the zone for good.
	NodeRemove NodeAction = "remove"
)

// NodeChange asks for something of a node.
type NodeChange struct {
	Action NodeAction
	// Force removes a node also if those that remain may be too few to agree, and an agent
	// also if there are resources on it.
	Force bool
}

// JoinRole is what a join token lets in.
type JoinRole string

// What can join.
const (
	JoinNode JoinRole = "node"
	JoinHost JoinRole = "host"
)

// JoinToken lets one node or host in, once. Its secret is not part of it.
type JoinToken struct {
	ID        string    `json:"id" doc:"Id of the join token." example:"k3v8x5m9q2r7"`
	Role      JoinRole  `json:"role" enum:"node,host" doc:"What it lets in."`
	ExpiresAt time.Time `json:"expiresAt" doc:"When it ends if it was not used."`
	CreatedBy string    `json:"createdBy,omitempty" doc:"Who made it: name and id of a token of the API." example:"ci/tok-01jd3v8x5m9k2q7r4t6w8y0z1a"`
}

// Invitation is a join token that was made just now, with what is shown this once.
type Invitation struct {
	JoinToken JoinToken `json:"joinToken" doc:"The join token."`
	Text      string    `json:"text" doc:"What to give to who joins. It holds the secret and is shown this once." example:"bulkhead-join-v1.node.k3v8x5m9q2r7.c2VjcmV0.70696e.c3Vt"`
	Addresses []string  `json:"addresses" doc:"Where to join: addresses of nodes, host and port."`
}

// NoSuchNode says that the zone has no node of a name.
func NoSuchNode(name string) error {
	return resources.NotFound(resources.Ref{Kind: KindNode, ID: name})
}

// NoNode says that something can't be asked of an agent.
func NoNode(name string, action NodeAction) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "not-a-node",
		Message:  fmt.Sprintf("%s is the agent of a host: it has no shards and never leads, so it can't %s", name, action),
		Remedy:   "to empty a host, move its machines away",
		Resource: &resources.Ref{Kind: KindNode, ID: name},
	}
}

// AgentInUse says that resources name an agent that is to be removed.
func AgentInUse(name string, users []string) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "agent-in-use",
		Message: fmt.Sprintf("there are resources on agent %s: %s", name, strings.Join(users, ", ")),
		Remedy: "delete them first; force removes the agent all the same: what is on it runs on, and nobody can do " +
			"anything for it until an agent of that name joins",
		Resource: &resources.Ref{Kind: KindNode, ID: name},
	}
}

// NoSuchJoinToken says that there is no join token of an id, any more or at all.
func NoSuchJoinToken(id string) error {
	return &resources.Error{
		Class: resources.ClassNotFound, Code: "no-such-join-token",
		Message:  "there is no join token " + id + ": it was used or taken back, or never was",
		Remedy:   "list the join tokens to see what there is",
		Resource: &resources.Ref{Kind: KindJoinToken, ID: id},
	}
}

// QuorumLost says that a change would leave too few nodes that are well to agree on
// anything. Why tells which, in words.
func QuorumLost(why string) error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "quorum-lost",
		Message: "too few nodes would be left to agree on anything: " + why,
		Remedy: "bring silent nodes back or add another first; force removes it all the same, and nothing may work " +
			"afterwards",
	}
}

// NoCluster says that the zone has one node, which others can't reach.
func NoCluster() error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "no-cluster",
		Message: "the zone has only this node, and no address where others could reach it",
		Remedy:  "give it one with 'bulkhead server init', then try again",
	}
}
