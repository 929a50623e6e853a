package operations

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// maxFreeze bounds how long a guest's writes are held: it thaws by itself then.
const maxFreeze = 10 * time.Minute

// snapshotMachineSteps hold the guest's writes, take a snapshot of each volume,
// and let the guest go on.
func snapshotMachineSteps(_ *resources.Operation, m *resources.Machine) []Step {
	list := []Step{{Name: "freeze", Do: freezeDisks, Undo: thawDisks}}
	for i := range volumesOf(m) {
		n := i
		list = append(list, Step{
			Name:    fmt.Sprintf("snapshot-%d", n),
			Do:      func(ctx context.Context, c *Context) error { return snapshotVolumeAt(ctx, c, n) },
			Undo:    func(ctx context.Context, c *Context) error { return c.unmake(ctx) },
			Timeout: time.Hour,
		})
	}
	return append(list, Step{Name: "thaw", Do: thawDisks})
}

func freezeDisks(ctx context.Context, c *Context) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	reply, err := client.FreezeDisks(ctx, &driverpb.FreezeRequest{
		Call: d.call, Host: host, MaxMs: uint32(maxFreeze.Milliseconds()),
	})
	return c.replied(d, reply, err)
}

func thawDisks(ctx context.Context, c *Context) error {
	m, client, d, host, err := c.hypervisor(ctx)
	if err != nil || !isOn(m) {
		return err
	}
	reply, err := client.ThawDisks(ctx, &driverpb.MachineRequest{Call: d.call, Host: host})
	return gone(c.replied(d, reply, err))
}

func snapshotVolumeAt(ctx context.Context, c *Context, n int) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	volumes := volumesOf(m)
	if n >= len(volumes) {
		return fmt.Errorf("taking snapshot %d of machine %s: it has %d volumes", n, m.ID, len(volumes))
	}
	name := ""
	if c.Operation.Arguments.Name != "" {
		name = fmt.Sprintf("%s-%d", c.Operation.Arguments.Name, n)
	}
	if err := c.unmakeFailed(ctx); err != nil { // they have the name
		return err
	}
	_, err = c.ask(ctx, "", Ask{Action: "create", Resource: &resources.Snapshot{
		Meta: resources.Meta{Kind: resources.KindSnapshot, Name: name, Labels: map[string]string{"machine": m.Name}},
		Spec: resources.SnapshotSpec{VolumeID: volumes[n], Group: c.Operation.ID},
	}})
	return err
}
