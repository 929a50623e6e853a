package node

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Attach implements api.Developing.
func (n *Node) Attach(_ context.Context, d *resources.Driver, session, who string) (api.Attachment, error) {
	attachment, err := n.drivers.Attach(d, session, who)
	if err != nil {
		return nil, operations.FromFault(err)
	}
	return attachment, nil
}
