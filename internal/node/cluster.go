package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// nodes is the cluster as the API shows and changes it.
type nodes struct{ node *Node }

// Nodes implements door.Cluster.
func (c *nodes) Nodes(context.Context) ([]door.NodeView, error) {
	n := c.node
	var owners []persistence.Owner
	known := map[string]persistence.Member{}
	err := n.machine.View(func(v *persistence.View) (err error) {
		if owners, err = v.Owners(); err != nil {
			return err
		}
		members, err := v.Members()
		for _, m := range members {
			if m.Role == string(pki.RoleNode) {
				known[m.Name] = m
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	shards := map[string]int{}
	for _, o := range owners {
		shards[o.Node]++
	}
	var list []door.NodeView
	for _, m := range n.cluster.Members() {
		v := door.NodeView{
			Name: m.ID, Role: roleOf(m), LastHeard: m.Heard, Version: m.Version, Revision: m.Applied,
			Draining: known[m.ID].Draining || m.Leaving, Shards: shards[m.ID],
			Well: time.Since(m.Heard) < wellTime,
		}
		if n.network != nil {
			v.Address = m.Address
			v.Well = v.Well && !n.network.suspects(m.ID)
		}
		if m.ID == n.config.Name {
			v.Well, v.Version, v.Revision = true, n.config.Version, n.cluster.AppliedIndex()
		}
		list = append(list, v)
	}
	if n.agents != nil {
		list = append(list, n.agents.views()...)
	}
	return list, nil
}

// wellTime is how long a node may be silent and be well.
const wellTime = 5 * time.Second

func roleOf(m cluster.Member) door.NodeRole {
	switch {
	case m.Leader:
		return door.NodeLeader
	case m.Voter:
		return door.NodeVoter
	}
	return door.NodeLearner
}

func (c *nodes) find(ctx context.Context, name string) (door.NodeView, error) {
	list, err := c.Nodes(ctx)
	for _, v := range list {
		if v.Name == name {
			return v, nil
		}
	}
	return door.NodeView{}, errors.Join(err, door.NoSuchNode(name))
}

// ChangeNode implements door.Cluster.
func (c *nodes) ChangeNode(
	ctx context.Context, name string, change door.NodeChange, o resources.Origin,
) (door.NodeView, error) {
	n := c.node
	v, err := c.find(ctx, name)
	switch {
	case err != nil && change.Action == door.NodeRemove && n.network != nil:
		return c.forget(ctx, name, o)
	case err != nil:
		return v, err
	case n.network == nil:
		return v, door.NoCluster()
	case v.Role == door.NodeAgent:
		return v, c.changeAgent(ctx, v, change, o)
	case change.Action == door.NodeRemove:
		return v, c.remove(ctx, v, change.Force, o)
	case change.Action == door.NodeLead:
		err = c.changed(n.cluster.Transfer(ctx, name))
	default:
		err = c.drain(ctx, v, change.Action == door.NodeDrain, o)
	}
	if err != nil {
		return v, err
	}
	return c.find(ctx, name)
}

// drain has a node do no work, or work again.
func (c *nodes) drain(ctx context.Context, v door.NodeView, drain bool, o resources.Origin) error {
	n := c.node
	expel := &persistence.Expel{Role: string(pki.RoleNode), Name: v.Name, Drain: &drain, Origin: o}
	if _, err := n.log.Propose(ctx, expel); err != nil {
		return err
	}
	if !drain || v.Role != door.NodeLeader || len(n.cluster.Members()) == 1 {
		return nil
	}
	return c.changed(n.cluster.Transfer(ctx, ""))
}

// remove takes a node out. That it is to be is written down first: afterwards it may
// be this node that can write nothing more.
func (c *nodes) remove(ctx context.Context, v door.NodeView, force bool, o resources.Origin) error {
	n := c.node
	expel := &persistence.Expel{Role: string(pki.RoleNode), Name: v.Name, Origin: o}
	if _, err := n.log.Propose(ctx, expel); err != nil {
		return err
	}
	err := n.cluster.Remove(ctx, v.Name, force)
	if !errors.Is(err, cluster.ErrQuorum) {
		return c.changed(err)
	}
	keep := &persistence.Expel{Role: expel.Role, Name: v.Name, Drain: &v.Draining, Origin: o}
	if _, failed := n.log.Propose(ctx, keep); failed != nil {
		n.config.Log.Warn("that a node stays was not written down", slog.Any("error", failed))
	}
	return c.changed(err)
}

// forget takes back that a node was let in that never came to be of the cluster: its
// name is free again.
func (c *nodes) forget(ctx context.Context, name string, o resources.Origin) (door.NodeView, error) {
	n := c.node
	var m persistence.Member
	var known bool
	err := n.machine.View(func(v *persistence.View) (err error) {
		m, known, err = v.Member(string(pki.RoleNode), name)
		return err
	})
	if err != nil {
		return door.NodeView{}, err
	}
	if !known || m.Expelled {
		return door.NodeView{}, door.NoSuchNode(name)
	}
	_, err = n.log.Propose(ctx, &persistence.Expel{Role: string(pki.RoleNode), Name: name, Origin: o})
	return door.NodeView{Name: name, Address: m.Address, Role: door.NodeLearner}, err
}

// namedUsers is how many of the resources on an agent a refusal names.
const namedUsers = 5

// changeAgent takes an agent out. Nothing else can be asked of one.
func (c *nodes) changeAgent(
	ctx context.Context, v door.NodeView, change door.NodeChange, o resources.Origin,
) error {
	n := c.node
	if change.Action != door.NodeRemove {
		return door.NoNode(v.Name, change.Action)
	}
	users, err := n.on(v.Name)
	if err != nil {
		return err
	}
	if len(users) > 0 && !change.Force {
		if len(users) > namedUsers {
			users = append(users[:namedUsers], "...")
		}
		return door.AgentInUse(v.Name, users)
	}
	_, err = n.log.Propose(ctx, &persistence.Expel{Role: string(pki.RoleHost), Name: v.Name, Origin: o})
	return err
}

// on lists what names a node or agent as its own.
func (n *Node) on(name string) (users []string, err error) {
	err = n.machine.View(func(v *persistence.View) error {
		for _, kind := range resources.Bindable() {
			err := eachOf(v, kind, func(r resources.Resource) error {
				if m := r.Metadata(); operations.PlaceOf(r).Node == name && m.Phase != resources.PhaseDeleted {
					users = append(users, fmt.Sprintf("%s %s", kind, m.Name))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return users, err
}

// changed gives the errors of a change of members their class.
func (c *nodes) changed(err error) error {
	if errors.Is(err, cluster.ErrQuorum) {
		_, why, _ := strings.Cut(err.Error(), cluster.ErrQuorum.Error()+": ") // which of the nodes, and how many
		return door.QuorumLost(why)
	}
	return clusterError(err)
}

// JoinTokens implements door.Cluster.
func (c *nodes) JoinTokens(context.Context) (list []door.JoinToken, err error) {
	err = c.node.machine.View(func(v *persistence.View) error {
		open, err := v.Invitations()
		for _, i := range open {
			list = append(list, joinToken(i))
		}
		return err
	})
	return list, err
}

func joinToken(i persistence.Invitation) door.JoinToken {
	return door.JoinToken{ID: i.ID, Role: door.JoinRole(i.Role), ExpiresAt: i.ExpiresAt, CreatedBy: i.CreatedBy}
}

// CreateJoinToken implements door.Cluster.
func (c *nodes) CreateJoinToken(
	ctx context.Context, role door.JoinRole, lasting time.Duration, o resources.Origin,
) (door.Invitation, error) {
	n := c.node
	if n.network == nil {
		return door.Invitation{}, door.NoCluster()
	}
	if role == door.JoinHost {
		err := n.machine.View(func(v *persistence.View) error { return v.Require(persistence.FeatureHostAgents) })
		if err != nil {
			return door.Invitation{}, err
		}
	}
	id := strings.ToLower(rand.Text()[:12])
	token, err := pki.NewJoinToken(id, pki.Role(role), n.network.pin())
	if err != nil {
		return door.Invitation{}, err
	}
	i := persistence.Invitation{
		ID: id, Role: string(role), Digest: token.Secret.Digest(), CreatedBy: o.Principal,
		ExpiresAt: time.Now().UTC().Add(lasting).Truncate(time.Second),
	}
	if _, err := n.log.Propose(ctx, &persistence.Invite{Invitation: i, Origin: o}); err != nil {
		return door.Invitation{}, err
	}
	made := door.Invitation{JoinToken: joinToken(i), Text: token.Text()}
	for _, m := range n.cluster.Members() {
		made.Addresses = append(made.Addresses, m.Address)
	}
	return made, nil
}

// DeleteJoinToken implements door.Cluster.
func (c *nodes) DeleteJoinToken(ctx context.Context, id string, o resources.Origin) (door.JoinToken, error) {
	var had persistence.Invitation
	err := c.node.machine.View(func(v *persistence.View) error {
		i, known, err := v.Invitation(id)
		if had = i; err == nil && !known {
			err = door.NoSuchJoinToken(id)
		}
		return err
	})
	if err != nil {
		return door.JoinToken{}, err
	}
	revoke := &persistence.Invite{Invitation: persistence.Invitation{ID: id}, Revoke: true, Origin: o}
	_, err = c.node.log.Propose(ctx, revoke)
	return joinToken(had), err
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
