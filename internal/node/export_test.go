package node

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/api"
)

// OpenSpool opens a spool of uploads.
func OpenSpool(dir string) (api.Uploads, error) { return newSpool(dir, defaultID) }

// Tidy is what gives memory back while a server is at rest.
func Tidy(ctx context.Context, allocated func() uint64, giveBack func()) {
	tidy(ctx, allocated, giveBack)
}

// Fleet is the drivers of all nodes and agents, as this node's actors reach them.
func (n *Node) Fleet() operations.Drivers {
	return &fleet{
		node: n.config.Name, own: n.drivers, here: n.here, state: n.machine, cluster: n.cluster, agents: n.agents,
		tunnels: n.tunnels,
	}
}
