package node

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// Propose has a command agreed on and applied, as the actors do, and returns its
// result. It is for those who measure or test a node with a state that would take
// too long to make through the API.
func (n *Node) Propose(ctx context.Context, cmd persistence.Command) (persistence.Result, error) {
	return n.log.Propose(ctx, cmd)
}
