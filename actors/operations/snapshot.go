package operations

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func snapshotOperations() []Definition {
	return []Definition{
		{Kind: resources.KindSnapshot, Action: "create", Steps: steps(
			Step{Name: "reserve", Do: reserveSnapshot, Undo: unreserveSnapshot},
			Step{Name: "hold", Do: holdVolume, Undo: letVolumeGo},
			Step{Name: "take", Do: takeSnapshot, Undo: dropSnapshot, Timeout: copyTimeout},
			Step{Name: "let-go", Do: letVolumeGo},
		)},
		{Kind: resources.KindSnapshot, Action: "delete", Steps: steps(
			Step{Name: "drop", Do: dropSnapshot},
		)},
	}
}

// reserveSnapshot sets the space of a full copy aside: that is what the snapshot
// grows to once everything in the volume was overwritten.
func reserveSnapshot(_ context.Context, c *Context) error {
	s, err := Target[*resources.Snapshot](c)
	if err != nil {
		return err
	}
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(s.Spec.VolumeID))
	if err != nil {
		return err
	}
	if vol.Phase != resources.PhaseReady {
		return notReady(vol)
	}
	c.Outcome.Reserve = append(c.Outcome.Reserve, persistence.Reservation{
		Holder: resources.Ref{Kind: resources.KindPool, ID: string(vol.Status.PoolID)}, Owner: s.Ref(),
		Amount: resources.Quantities{StorageBytes: vol.Status.SizeBytes},
	})
	Change(c, func(s *resources.Snapshot) { s.Status.PoolID = vol.Status.PoolID })
	return nil
}

func unreserveSnapshot(_ context.Context, c *Context) error {
	s, err := Target[*resources.Snapshot](c)
	if err != nil || s.Status.PoolID == "" {
		return err
	}
	c.Outcome.Release = append(c.Outcome.Release, persistence.Reservation{
		Holder: resources.Ref{Kind: resources.KindPool, ID: string(s.Status.PoolID)}, Owner: s.Ref(),
	})
	Change(c, func(s *resources.Snapshot) { s.Status.PoolID = "" })
	return nil
}

func takeSnapshot(ctx context.Context, c *Context) error {
	s, err := Target[*resources.Snapshot](c)
	if err != nil {
		return err
	}
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(s.Spec.VolumeID))
	if err != nil {
		return err
	}
	if err := c.checkQuiet(vol); err != nil {
		return err
	}
	d, request, err := c.snapshotRequest(ctx, s, vol)
	if err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).CreateSnapshot(ctx, request)
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	now := c.Engine.Now()
	Change(c, func(s *resources.Snapshot) {
		s.Status.SizeBytes, s.Status.AllocatedBytes = reply.GetSizeBytes(), reply.GetAllocatedBytes()
		s.Status.TakenAt = now
	})
	return nil
}

// checkQuiet refuses a snapshot of a volume that a running machine writes to,
// unless that machine itself asked for it: it holds its writes meanwhile.
func (c *Context) checkQuiet(vol *resources.Volume) error {
	running, err := c.inRunningMachine(vol)
	if err != nil || !running {
		return err
	}
	if c.Operation.ParentID != "" {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "volume-in-running-machine",
		Message: fmt.Sprintf("volume %s is in running machine %s", vol.ID, vol.Status.MachineID),
		Remedy:  "ask the machine: snapshot; or stop it first",
	}
}

func (c *Context) snapshotRequest(
	ctx context.Context, s *resources.Snapshot, vol *resources.Volume,
) (driver, *driverpb.SnapshotRequest, error) {
	d, pool, err := c.inPool(ctx, vol.Status.PoolID, s.Ref(), vol.Spec.Properties)
	if err != nil {
		return driver{}, nil, err
	}
	handle, err := c.handle(vol.Ref())
	return d, &driverpb.SnapshotRequest{
		Call: d.call, Pool: pool, Volume: protoRef(vol.Ref()), VolumeHandle: handle,
	}, err
}

func dropSnapshot(ctx context.Context, c *Context) error {
	s, err := Target[*resources.Snapshot](c)
	if err != nil || s.Status.PoolID == "" {
		return err
	}
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(s.Spec.VolumeID))
	if err != nil {
		return err
	}
	d, request, err := c.snapshotRequest(ctx, s, vol)
	if err != nil {
		return err
	}
	_, err = driverpb.NewStorageClient(d.conn).DeleteSnapshot(ctx, request)
	c.unbind()
	return gone(err)
}
