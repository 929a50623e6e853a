package apitest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Cluster is the nodes of a zone in memory. It is safe for concurrent use.
type Cluster struct {
	// Hold, if set before the cluster is used, leaves a drained node its shards until
	// Set takes them away.
	Hold bool

	now func() time.Time

	mu       sync.Mutex
	nodes    []door.NodeView
	tokens   []door.JoinToken
	made     int
	asked    []NodeChange
	levels   map[string]uint32 // newest that the program of a node knows
	level    uint32
	rotation door.RotationView
}

// NodeChange is what somebody asked of a node.
type NodeChange struct {
	Name string
	door.NodeChange
	Origin resources.Origin
}

// NewCluster makes one that knows the time from a clock; nil = time.Now. The first
// node leads; one alone can't be reached by others.
func NewCluster(now func() time.Time, names ...string) *Cluster {
	if now == nil {
		now = time.Now
	}
	c := &Cluster{
		now: now, levels: map[string]uint32{}, level: 1, rotation: door.RotationView{Phase: door.RotationNone},
	}
	for _, name := range names {
		c.Join(name)
	}
	if len(names) == 1 {
		c.nodes[0].Address = ""
	}
	c.Set(names[0], func(n *door.NodeView) { n.Role = door.NodeLeader })
	return c
}

// Join adds a node, if there is none of the name.
func (c *Cluster) Join(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index(name) >= 0 {
		return
	}
	c.nodes = append(c.nodes, door.NodeView{
		Name: name, Address: name + ".example:8740", Role: door.NodeVoter, Well: true, LastHeard: c.now().UTC(),
		Shards: 16, Revision: 42, Version: "test",
	})
}

// Set changes what is known of a node.
func (c *Cluster) Set(name string, change func(*door.NodeView)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.index(name); i >= 0 {
		change(&c.nodes[i])
	}
}

// Asked returns what was asked of nodes, in order.
func (c *Cluster) Asked() []NodeChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

func (c *Cluster) index(name string) int {
	return slices.IndexFunc(c.nodes, func(n door.NodeView) bool { return n.Name == name })
}

// alone reports whether there is nobody to change anything with.
func (c *Cluster) alone() bool { return len(c.nodes) == 1 && c.nodes[0].Address == "" }

// Nodes implements door.Cluster.
func (c *Cluster) Nodes(context.Context) ([]door.NodeView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes), nil
}

// ChangeNode implements door.Cluster.
func (c *Cluster) ChangeNode(
	_ context.Context, name string, change door.NodeChange, o resources.Origin,
) (door.NodeView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.index(name)
	switch {
	case i < 0:
		return door.NodeView{}, door.NoSuchNode(name)
	case c.alone():
		return door.NodeView{}, door.NoCluster()
	}
	n := &c.nodes[i]
	switch change.Action {
	case door.NodeDrain:
		n.Draining = true
		if !c.Hold {
			n.Shards = 0
		}
	case door.NodeResume:
		n.Draining = false
	case door.NodeLead:
		c.lead(n)
	case door.NodeRemove:
		if silent := c.silentWithout(name); len(silent)*2 >= len(c.nodes)-1 && !change.Force {
			return door.NodeView{}, door.QuorumLost(strings.Join(silent, ", ") + " would not answer")
		}
		last := *n
		c.nodes = slices.Delete(c.nodes, i, i+1)
		n = &last
	}
	c.asked = append(c.asked, NodeChange{name, change, o})
	return *n, nil
}

func (c *Cluster) lead(next *door.NodeView) {
	for i := range c.nodes {
		if c.nodes[i].Role == door.NodeLeader {
			c.nodes[i].Role = door.NodeVoter
		}
	}
	next.Role = door.NodeLeader
}

func (c *Cluster) silentWithout(name string) (silent []string) {
	for _, n := range c.nodes {
		if n.Name != name && !n.Well {
			silent = append(silent, n.Name)
		}
	}
	return silent
}

// Rotation implements door.Cluster.
func (c *Cluster) Rotation(context.Context) (door.RotationView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rotation, nil
}

// Rotate implements door.Cluster: one that begins has a node lag that is not well, and
// is done if there is none.
func (c *Cluster) Rotate(
	_ context.Context, secret door.RotatedSecret, _ resources.Origin,
) (door.RotationView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone() {
		return door.RotationView{}, door.NoCluster()
	}
	c.rotation = door.RotationView{Secret: secret, Phase: "done", BegunAt: c.now().UTC(), Since: c.now().UTC()}
	for _, name := range c.silentWithout("") {
		c.rotation.Phase, c.rotation.Lagging = "adding", append(c.rotation.Lagging, "node "+name)
	}
	return c.rotation, nil
}

// JoinTokens implements door.Cluster.
func (c *Cluster) JoinTokens(context.Context) ([]door.JoinToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.tokens), nil
}

// CreateJoinToken implements door.Cluster.
func (c *Cluster) CreateJoinToken(
	_ context.Context, role door.JoinRole, lasting time.Duration, o resources.Origin,
) (door.Invitation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone() {
		return door.Invitation{}, door.NoCluster()
	}
	c.made++
	t := door.JoinToken{
		ID: fmt.Sprintf("join%d", c.made), Role: role, ExpiresAt: c.now().UTC().Add(lasting).Truncate(time.Second),
		CreatedBy: o.Principal,
	}
	c.tokens = append(c.tokens, t)
	i := door.Invitation{JoinToken: t, Text: "bulkhead-join-v1." + string(role) + "." + t.ID + ".secret.pin.sum"}
	for _, n := range c.nodes {
		i.Addresses = append(i.Addresses, n.Address)
	}
	return i, nil
}

// DeleteJoinToken implements door.Cluster.
func (c *Cluster) DeleteJoinToken(_ context.Context, id string, _ resources.Origin) (door.JoinToken, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.tokens, func(t door.JoinToken) bool { return t.ID == id })
	if i < 0 {
		return door.JoinToken{}, door.NoSuchJoinToken(id)
	}
	t := c.tokens[i]
	c.tokens = slices.Delete(c.tokens, i, i+1)
	return t, nil
}
