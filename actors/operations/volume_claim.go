package operations

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// claimVolume gives the volume to a machine and makes it reachable on its host.
func claimVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	machine := c.Operation.Arguments.MachineID
	if vol.Status.MachineID != "" && vol.Status.MachineID != machine {
		return inUseBy(vol, vol.Status.MachineID)
	}
	host, err := c.hostOf(machine)
	if err != nil {
		return err
	}
	if err := c.reach(ctx, vol, host); err != nil {
		return err
	}
	Change(c, func(vol *resources.Volume) { vol.Status.MachineID = machine })
	return nil
}

// attachVolume makes the volume reachable on one more host.
func attachVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	return c.reach(ctx, vol, c.Operation.Arguments.HostID)
}

// detachVolume takes it from a host, and from none that its machine is on.
func detachVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	if vol.Status.MachineID != "" {
		host, err := c.hostOf(vol.Status.MachineID)
		if err != nil || host == c.Operation.Arguments.HostID {
			return err
		}
	}
	return c.unreach(ctx, vol, c.Operation.Arguments.HostID)
}

func (c *Context) reach(ctx context.Context, vol *resources.Volume, host resources.HostID) error {
	d, request, err := c.attachRequest(ctx, vol, host)
	if err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).AttachVolume(ctx, request)
	if err != nil {
		return FromFault(err)
	}
	if reply.GetHandle() != nil {
		c.bind(d, reply.GetHandle())
	}
	c.observed(reply)
	return nil
}

// unreach takes the volume from a host. From one that does not run there is nothing to take where a pool is everywhere.
func (c *Context) unreach(ctx context.Context, vol *resources.Volume, host resources.HostID) error {
	p, err := Find[*resources.Pool](c, resources.KindPool, string(vol.Status.PoolID))
	if err != nil || p.Spec.Shared && c.fenced(host) {
		return err
	}
	d, request, err := c.attachRequest(ctx, vol, host)
	if err != nil {
		return err
	}
	_, err = driverpb.NewStorageClient(d.conn).DetachVolume(ctx, request)
	return gone(err)
}

func unclaimVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	machine := c.Operation.Arguments.MachineID
	if vol.Status.MachineID != "" && vol.Status.MachineID != machine {
		return nil // somebody else's by now, or before
	}
	host, err := c.hostOf(machine)
	if err != nil {
		return err
	}
	leaveMachine(c)
	return c.unreach(ctx, vol, host)
}

func leaveMachine(c *Context) {
	Change(c, func(vol *resources.Volume) { vol.Status.MachineID = "" })
}

// hostOf is the host that a machine is on.
func (c *Context) hostOf(machine resources.MachineID) (resources.HostID, error) {
	m, err := Find[*resources.Machine](c, resources.KindMachine, string(machine))
	if err != nil {
		return "", err
	}
	return m.Status.HostID, nil
}

// attachRequest asks where the host is, if the pool is there too: then the pool's own node need not be.
func (c *Context) attachRequest(
	ctx context.Context, vol *resources.Volume, host resources.HostID,
) (driver, *driverpb.AttachVolumeRequest, error) {
	p, err := Find[*resources.Pool](c, resources.KindPool, string(vol.Status.PoolID))
	if err != nil {
		return driver{}, nil, err
	}
	handle, err := c.handle(p.Ref())
	if err != nil {
		return driver{}, nil, err
	}
	place := PlaceOf(p)
	if p.Spec.Shared {
		h, err := Find[*resources.Host](c, resources.KindHost, string(host))
		if err != nil {
			return driver{}, nil, err
		}
		place.Node = h.Spec.Node
	}
	d, err := c.driverAt(ctx, place, p.Ref(), vol.Ref(), vol)
	return d, &driverpb.AttachVolumeRequest{
		Call: d.call, Pool: &driverpb.PoolRef{Resource: protoRef(p.Ref()), Handle: handle},
		Host: &driverpb.Ref{Kind: string(resources.KindHost), Id: string(host)},
	}, err
}
