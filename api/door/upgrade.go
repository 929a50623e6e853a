package door

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Upgrades knows which programs the nodes run, and raises the level of the zone. Both
// methods ask every node; errors are those of Cluster.
type Upgrades interface {
	// Upgrade says how far an upgrade is. It answers also while nobody leads, from what
	// this node knows and the others say.
	Upgrade(ctx context.Context) (UpgradeView, error)
	// Finalize raises the zone to a level, for good, and says how it is then. It is
	// refused with the code nodes-behind if the program of a node could not go on, and
	// does nothing if the zone is of that level. Level 0 is the target of UpgradeView.
	Finalize(ctx context.Context, level uint32, o resources.Origin) (UpgradeView, error)
}

// UpgradeView is how far an upgrade is.
type UpgradeView struct {
	Level    uint32        `json:"level" doc:"Level of the zone: how its log is written and what it can. It rises by finalizing, and never sinks."`
	Target   uint32        `json:"target" doc:"Newest level that the program of a node knows; the zone's own if there is nothing to finalize."`
	Ready    bool          `json:"ready" doc:"Whether the zone can be raised to the target now."`
	Blockers []string      `json:"blockers" doc:"What keeps the zone from the target, in words."`
	Formats  Formats       `json:"formats" doc:"How things are written at the zone's level."`
	Nodes    []NodeProgram `json:"nodes" doc:"The nodes and what they run, in the order to upgrade them: the one that leads comes last."`
	Features []FeatureView `json:"features" doc:"What the levels bring that the program knows which was asked."`
}

// Formats are versions of how things are written.
type Formats struct {
	Entry    uint32 `json:"entry" doc:"Entries of the log."`
	Snapshot uint32 `json:"snapshot" doc:"Snapshots and backups."`
	Wire     uint32 `json:"wire" doc:"What nodes say to each other."`
}

// NodeProgram is what a node runs.
type NodeProgram struct {
	Name        string   `json:"name" doc:"Name of the node." example:"node-1"`
	Role        NodeRole `json:"role" enum:"leader,voter,learner" doc:"Its part in what the nodes agree on."`
	Version     string   `json:"version,omitempty" doc:"Version of its program; absent if nobody knows."`
	OldestLevel uint32   `json:"oldestLevel,omitempty" doc:"Oldest level of a zone that its program can work with; absent if it did not say."`
	NewestLevel uint32   `json:"newestLevel,omitempty" doc:"Newest level of a zone that its program can work with; absent if it did not say."`
	Problem     string   `json:"problem,omitempty" doc:"Why it did not say what it runs."`
}

// FeatureView is something that a level brings.
type FeatureView struct {
	Name    string `json:"name" doc:"Name of the feature." example:"known-programs"`
	Level   uint32 `json:"level" doc:"Level that brings it."`
	Enabled bool   `json:"enabled" doc:"Whether the zone has it."`
	About   string `json:"about" doc:"What it is, for people."`
}

// Upgrade says how far an upgrade is.
func (d *Door) Upgrade(ctx context.Context, g Grant) (UpgradeView, error) {
	if !g.covers(KindUpgrade, VerbGet) {
		return UpgradeView{}, ungranted(g)
	}
	return d.cluster.Upgrade(ctx)
}

// VerbFinalize is the permission to raise the level of the zone.
const VerbFinalize = "finalize"

// Finalize raises the zone to a level; 0 = the target.
func (d *Door) Finalize(ctx context.Context, g Grant, level uint32, o resources.Origin) (UpgradeView, error) {
	if !g.covers(KindUpgrade, VerbFinalize) {
		return UpgradeView{}, ungranted(g)
	}
	o.Principal = g.principal.String()
	return d.cluster.Finalize(ctx, level, o)
}
