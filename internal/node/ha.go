package node

import (
	"context"
	"log/slog"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
	"github.com/bulkhead-cloud/bulkhead/services/automation/ha"
)

// haZone is the zone as the automation sees it that recovers machines of lost hosts: what
// the API would show and take.
type haZone struct{ node *Node }

// recoverRegularly looks after lost hosts while this node leads. Where two take themselves
// for the leader for a moment, what both ask for is done once.
func (n *Node) recoverRegularly(ctx context.Context) {
	ha.New(ha.Config{
		Zone: haZone{n}, Active: func() bool { return n.cluster.Status().Leading },
		Log: n.config.Log.With(slog.String("component", "ha")),
	}).Run(ctx)
}

// List implements ha.Zone.
func (z haZone) List(_ context.Context, q resources.Query) (all []resources.Resource, err error) {
	err = z.node.machine.View(func(v *persistence.View) error {
		for {
			page, err := v.List(q)
			if err != nil {
				return err
			}
			all = append(all, page.Items...)
			if q.After = page.Next; q.After == "" {
				return nil
			}
		}
	})
	return all, err
}

// Submit implements ha.Zone.
func (z haZone) Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error) {
	return z.node.system.Engine().Submit(ctx, s)
}
