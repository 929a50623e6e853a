package operations

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func hostOperations() []Definition {
	return append([]Definition{
		{Kind: resources.KindHost, Action: "create", Steps: steps(
			Step{Name: "open", Do: openHost, Undo: closeHost},
		)},
		{Kind: resources.KindHost, Action: "delete", Steps: steps(
			Step{Name: "close", Do: closeHost},
		)},
	}, append(hostPowerOperations(), maintenanceOperations()...)...)
}

func openHost(ctx context.Context, c *Context) error {
	h, err := Target[*resources.Host](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, h, h.Ref())
	if err != nil {
		return err
	}
	reply, err := driverpb.NewHypervisorClient(d.conn).OpenHost(ctx, &driverpb.HostCallRequest{Call: d.call})
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(h *resources.Host) {
		h.Status.CPUs, h.Status.MemoryBytes = uint64(reply.GetCpus()), reply.GetMemoryBytes()
		h.Status.Accelerator, h.Status.Architecture = reply.GetAccelerator(), reply.GetArchitecture()
		h.Status.Hypervisor, h.Status.Facts = reply.GetHypervisorVersion(), reply.GetFacts()
	})
	return nil
}

func closeHost(ctx context.Context, c *Context) error {
	h, err := Target[*resources.Host](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, h, h.Ref())
	if err != nil {
		return unreached(err)
	}
	_, err = driverpb.NewHypervisorClient(d.conn).CloseHost(ctx, &driverpb.HostCallRequest{Call: d.call})
	c.unbind()
	return gone(err)
}
