package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Upgrade implements door.Upgrades.
func (c *nodes) Upgrade(ctx context.Context) (door.UpgradeView, error) {
	programs, err := c.programs(ctx)
	if err != nil {
		return door.UpgradeView{}, err
	}
	return upgradeView(c.node.machine.Level(), programs), nil
}

// nodeProgram is a node and what it runs.
type nodeProgram struct {
	cluster.Program
	role door.NodeRole
}

// programs asks all nodes what they run, in the order to upgrade them: those that do
// not count yet, those that do, and at last the one that leads.
func (c *nodes) programs(ctx context.Context) ([]nodeProgram, error) {
	n := c.node
	list := make([]nodeProgram, 0, len(n.cluster.Members()))
	heard := map[string]string{}
	for _, m := range n.cluster.Members() {
		heard[m.ID] = m.Version
		list = append(list, nodeProgram{role: roleOf(m), Program: cluster.Program{Node: m.ID}})
	}
	err := n.machine.View(func(v *persistence.View) error {
		programs, err := v.Programs()
		for _, p := range programs {
			heard[p.Node] = cmp.Or(heard[p.Node], p.Version)
		}
		if err != nil {
			return err
		}
		coming, err := admittedOnly(v, list)
		list = append(list, coming...)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b nodeProgram) int {
		return cmp.Or(cmp.Compare(turnOf(a.role), turnOf(b.role)), cmp.Compare(a.Node, b.Node))
	})
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Node
	}
	for i, p := range n.cluster.Programs(ctx, names) {
		p.Version = cmp.Or(p.Version, heard[p.Node])
		list[i].Program = p
	}
	return list, nil
}

// admittedOnly lists the nodes that were let in and are none of the cluster yet.
func admittedOnly(v *persistence.View, there []nodeProgram) (list []nodeProgram, err error) {
	members, err := v.Members()
	for _, m := range members {
		known := slices.ContainsFunc(there, func(p nodeProgram) bool { return p.Node == m.Name })
		if m.Role == persistence.RoleNode && !m.Expelled && !m.Since.IsZero() && !known {
			list = append(list, nodeProgram{role: door.NodeLearner, Program: cluster.Program{Node: m.Name}})
		}
	}
	return list, err
}

// turnOf orders the roles as nodes are upgraded.
func turnOf(r door.NodeRole) int {
	return slices.Index([]door.NodeRole{door.NodeLearner, door.NodeVoter, door.NodeLeader}, r)
}

// upgradeView says what programs mean for a zone of a level.
func upgradeView(level uint32, programs []nodeProgram) door.UpgradeView {
	v := door.UpgradeView{Level: level, Target: level, Formats: door.Formats(cluster.FormatsOf(level))}
	for _, p := range programs {
		shown := door.NodeProgram{
			Name: p.Node, Role: p.role, Version: p.Version, OldestLevel: p.Levels.Oldest, NewestLevel: p.Levels.Newest,
		}
		if p.Err != nil {
			shown.Problem = p.Err.Error()
		}
		v.Nodes = append(v.Nodes, shown)
		v.Target = max(v.Target, p.Levels.Newest)
	}
	if v.Target > level {
		v.Blockers = behind(v.Target, programs)
		v.Ready = len(v.Blockers) == 0
	}
	for _, f := range persistence.Features() {
		v.Features = append(v.Features, door.FeatureView{
			Name: string(f.Name), Level: f.Level, Enabled: level >= f.Level, About: f.About,
		})
	}
	return v
}

// behind tells which nodes keep a zone from a level, and why.
func behind(level uint32, programs []nodeProgram) (list []string) {
	for _, p := range programs {
		switch {
		case p.Err != nil:
			list = append(list, fmt.Sprintf("%s does not say what it runs: %v", p.Node, p.Err))
		case p.Levels.Newest < level:
			list = append(list, fmt.Sprintf("%s runs %s, which knows levels up to %d",
				p.Node, cmp.Or(p.Version, "an older version"), p.Levels.Newest))
		}
	}
	return list
}

// Finalize implements door.Upgrades.
func (c *nodes) Finalize(ctx context.Context, level uint32, o resources.Origin) (door.UpgradeView, error) {
	n := c.node
	if err := n.fresh(ctx); err != nil {
		return door.UpgradeView{}, err
	}
	programs, err := c.programs(ctx)
	if err != nil {
		return door.UpgradeView{}, err
	}
	view := upgradeView(n.machine.Level(), programs)
	if level == 0 {
		level = view.Target
	}
	if level == view.Level {
		return view, nil
	}
	if late := behind(level, programs); len(late) > 0 {
		return view, persistence.NodesBehind(level, late)
	}
	cmd := &persistence.Finalize{Level: level, Origin: o}
	for _, p := range programs {
		cmd.Nodes = append(cmd.Nodes, persistence.Program{
			Node: p.Node, Version: p.Version, Levels: persistence.Levels(p.Levels),
		})
	}
	if _, err := n.log.Propose(ctx, cmd); err != nil {
		return view, err
	}
	n.config.Log.Info("the zone was raised", slog.Uint64("level", uint64(n.machine.Level())))
	return upgradeView(n.machine.Level(), programs), nil
}

// declareEvery is how often a node looks whether the zone knows what it runs.
const declareEvery = time.Second

// declareRegularly has the zone know which program this node runs, once it can.
func (n *Node) declareRegularly(ctx context.Context) {
	tick := time.NewTicker(declareEvery)
	defer tick.Stop()
	for {
		if err := n.declare(ctx); err != nil && ctx.Err() == nil {
			n.config.Log.Debug("the zone was not told what this node runs", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Node) declare(ctx context.Context) error {
	own := persistence.Program{Node: n.config.Name, Version: n.config.Version, Levels: n.config.Levels}
	cmd := &persistence.Declare{Program: own}
	var told persistence.Program
	var can bool // it comes with a level that the zone may not have yet
	err := n.machine.View(func(v *persistence.View) (err error) {
		if can, err = v.Enabled(persistence.FeatureKnownPrograms); err == nil {
			told, _, err = v.Program(own.Node)
		}
		return err
	})
	told.Since = time.Time{}
	if err != nil || !can || told == own {
		return err
	}
	_, err = n.log.Propose(ctx, cmd)
	return err
}
