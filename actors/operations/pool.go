package operations

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func poolOperations() []Definition {
	return []Definition{
		{Kind: resources.KindPool, Action: "create", Check: checkPoolHost, Steps: steps(
			Step{Name: "check", Do: checkPlace},
			Step{Name: "open", Do: openPool, Undo: closePool},
		)},
		{Kind: resources.KindPool, Action: "delete", Steps: forgettable(
			Step{Name: "close", Do: closePool}, (*Context).unbind,
		)},
	}
}

func openPool(ctx context.Context, c *Context) error {
	p, err := Target[*resources.Pool](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, p, p.Ref())
	if err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).OpenPool(ctx, &driverpb.OpenPoolRequest{Call: d.call})
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	now := c.Engine.Now()
	Change(c, func(p *resources.Pool) {
		p.Status.TotalBytes, p.Status.UsedBytes = reply.GetTotalBytes(), reply.GetUsedBytes()
		p.Status.Facts, p.Status.ObservedAt = reply.GetFacts(), now
	})
	return nil
}

func closePool(ctx context.Context, c *Context) error {
	p, err := Target[*resources.Pool](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, p, p.Ref())
	if err != nil {
		return unreached(err)
	}
	_, err = driverpb.NewStorageClient(d.conn).ClosePool(ctx, &driverpb.PoolRequest{Call: d.call})
	c.unbind()
	return gone(err)
}
