package operations

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Adopt has the driver take responsibility for a resource again after one of its
// processes was started: it finds or repairs what the handle names.
func Adopt(ctx context.Context, c *Context) error {
	d, err := c.server(ctx)
	if err != nil {
		return err
	}
	return c.adopt(ctx, d)
}

func (c *Context) adopt(ctx context.Context, d driver) error {
	d.call.Token = c.Token() + "/adopt"
	reply, err := driverpb.NewBaseClient(d.conn).Adopt(ctx, &driverpb.AdoptRequest{Call: d.call})
	if err != nil {
		return FromFault(err)
	}
	if h := reply.GetHandle(); h != nil && string(h.GetData()) != string(d.call.GetHandle().GetData()) {
		c.bind(d, h)
		d.call.Handle = h
	}
	return nil
}

// server connects to the driver that serves the target: its own or, for what lives
// in or on another resource, that one's.
func (c *Context) server(ctx context.Context) (d driver, err error) {
	switch r := c.Resource.(type) {
	case *resources.Volume:
		d, _, err = c.inPool(ctx, r.Status.PoolID, r.Ref(), r)
	case *resources.Nic:
		d, _, err = c.nicCall(ctx)
	case *resources.Machine:
		_, _, d, _, err = c.hypervisor(ctx)
	default:
		d, err = c.driver(ctx, r, r.Metadata().Ref())
	}
	return d, err
}

// Observe looks at a resource as it is in the world and notes what differs from
// what the state says. It is for resources nobody works on.
func Observe(ctx context.Context, c *Context) error {
	switch c.Resource.(type) {
	case *resources.Pool:
		return observePool(ctx, c)
	case *resources.Machine:
		return observeMachine(ctx, c)
	}
	return nil
}

func observePool(ctx context.Context, c *Context) error {
	p, err := Target[*resources.Pool](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, p, p.Ref())
	if err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).StatPool(ctx, &driverpb.PoolRequest{Call: d.call})
	if err != nil {
		return FromFault(err)
	}
	if reply.GetTotalBytes() == p.Status.TotalBytes && reply.GetUsedBytes() == p.Status.UsedBytes {
		return nil
	}
	now := c.Engine.Now()
	Change(c, func(p *resources.Pool) {
		p.Status.TotalBytes, p.Status.UsedBytes, p.Status.ObservedAt = reply.GetTotalBytes(), reply.GetUsedBytes(), now
	})
	return nil
}

// observeMachine notes that a guest ended unasked, was paused or is running
// again. It starts and stops nothing.
func observeMachine(ctx context.Context, c *Context) error {
	if m, ok := c.Resource.(*resources.Machine); ok && m.Status.Moving != nil {
		return nil
	}
	phase, reason, err := c.statMachine(ctx)
	if err != nil || phase == "" || phase == c.Resource.Metadata().Phase {
		return err
	}
	now := c.Engine.Now()
	Change(c, func(m *resources.Machine) {
		m.Phase, m.Status.Ended, m.Reason = phase, "", ""
		switch {
		case phase == resources.PhaseStopped:
			m.Status.Ended, m.Status.StartedAt, m.Reason = reason, time.Time{}, "the guest ended: "+reason
		case !isOn(m):
			m.Status.StartedAt = now
		}
	})
	return nil
}

// statMachine asks the driver how the machine is: running, paused, or stopped and why; "" is neither.
func (c *Context) statMachine(ctx context.Context) (phase resources.Phase, reason string, err error) {
	_, client, d, host, err := c.hypervisor(ctx)
	if err != nil {
		return "", "", err
	}
	reply, err := client.StatMachine(ctx, &driverpb.MachineRequest{Call: d.call, Host: host})
	err = FromFault(err)
	if resources.ClassOf(err) == resources.ClassNotFound {
		return resources.PhaseStopped, "gone", nil
	}
	if err != nil {
		return "", "", err
	}
	switch reply.GetState() {
	case "running":
		phase = resources.PhaseRunning
	case "paused":
		phase = resources.PhasePaused
	case "stopped", "absent":
		phase = resources.PhaseStopped
	}
	return phase, reply.GetReason(), nil
}
