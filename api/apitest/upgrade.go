package apitest

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Run has a node run a program that knows levels up to one. At first all know level 2,
// and the zone is of level 1.
func (c *Cluster) Run(node, version string, newest uint32) {
	c.Set(node, func(n *door.NodeView) { n.Version = version })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.levels[node] = newest
}

// Upgrade implements door.Upgrades.
func (c *Cluster) Upgrade(context.Context) (door.UpgradeView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.upgrade(), nil
}

func (c *Cluster) upgrade() door.UpgradeView {
	v := door.UpgradeView{Level: c.level, Target: c.level, Formats: door.Formats{Entry: 2, Snapshot: 1, Wire: 1}}
	for _, n := range c.nodes {
		if n.Role == door.NodeAgent {
			continue
		}
		newest := uint32(2)
		if known, ok := c.levels[n.Name]; ok {
			newest = known
		}
		p := door.NodeProgram{Name: n.Name, Role: n.Role, Version: n.Version, OldestLevel: 1, NewestLevel: newest}
		if !n.Well {
			p.OldestLevel, p.NewestLevel, p.Problem = 0, 0, "it does not answer"
		}
		v.Target = max(v.Target, p.NewestLevel)
		v.Nodes = append(v.Nodes, p)
	}
	slices.SortStableFunc(v.Nodes, func(a, b door.NodeProgram) int { return last(a) - last(b) })
	for _, p := range v.Nodes {
		if v.Target > c.level && p.NewestLevel < v.Target {
			v.Blockers = append(v.Blockers, fmt.Sprintf("%s knows levels up to %d", p.Name, p.NewestLevel))
		}
	}
	v.Ready = v.Target > c.level && len(v.Blockers) == 0
	v.Features = []door.FeatureView{{Name: "known-programs", Level: 2, Enabled: c.level > 1, About: "who runs what"}}
	return v
}

func last(p door.NodeProgram) int {
	if p.Role == door.NodeLeader {
		return 1
	}
	return 0
}

// Finalize implements door.Upgrades.
func (c *Cluster) Finalize(_ context.Context, level uint32, o resources.Origin) (door.UpgradeView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.upgrade()
	if level == 0 {
		level = v.Target
	}
	if level > v.Target || len(v.Blockers) > 0 {
		return v, &resources.Error{
			Class: resources.ClassConflict, Code: "nodes-behind", Message: fmt.Sprint(v.Blockers),
			Remedy: "upgrade these nodes",
		}
	}
	c.level = level
	c.asked = append(c.asked, NodeChange{NodeChange: door.NodeChange{Action: door.VerbFinalize}, Origin: o})
	return c.upgrade(), nil
}
