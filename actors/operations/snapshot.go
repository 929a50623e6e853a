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
		{Kind: resources.KindSnapshot, Action: "create", Check: checkSnapshot, Steps: steps(
			Step{Name: "reserve", Do: reserveSnapshot, Undo: unreserveSnapshot, Local: true},
			Step{Name: "hold", Do: holdVolume, Undo: letVolumeGo},
			Step{Name: "take", Do: takeSnapshot, Undo: dropSnapshot, Timeout: copyTimeout},
			Step{Name: "let-go", Do: letVolumeGo},
		)},
		{Kind: resources.KindSnapshot, Action: "delete", Steps: forgettable(
			Step{Name: "drop", Do: dropSnapshot}, (*Context).unbind,
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
	if c.Operation.ParentID == "" { // a machine that asks holds its writes meanwhile
		err := c.Engine.View(func(v *persistence.View) error {
			return checkQuiet(v, vol, "ask the machine for a snapshot, or stop it first")
		})
		if err != nil {
			return err
		}
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

func checkSnapshot(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	s, ok := r.(*resources.Snapshot)
	if !ok || op.ParentID != "" {
		return nil
	}
	vol, err := persistence.Find[*resources.Volume](v, resources.KindVolume, string(s.Spec.VolumeID))
	if err != nil {
		return err
	}
	return checkQuiet(v, vol, "ask the machine for a snapshot, or stop it first")
}

// checkQuiet refuses what needs that no running machine writes to a volume.
func checkQuiet(v *persistence.View, vol *resources.Volume, remedy string) error {
	running, err := inRunningMachine(v, vol)
	if err != nil || !running {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "volume-in-running-machine",
		Message:  fmt.Sprintf("volume %s is in running machine %s", vol.ID, vol.Status.MachineID),
		Remedy:   remedy,
		Resource: &resources.Ref{Kind: resources.KindMachine, ID: string(vol.Status.MachineID)},
	}
}

func (c *Context) snapshotRequest(
	ctx context.Context, s *resources.Snapshot, vol *resources.Volume,
) (driver, *driverpb.SnapshotRequest, error) {
	by := *c
	if err := c.Engine.View(func(v *persistence.View) (err error) {
		by.acting, err = versionOfVolume(v, s, vol)
		return err
	}); err != nil {
		return driver{}, nil, err
	}
	d, pool, err := by.inPool(ctx, vol.Status.PoolID, s.Ref(), vol)
	if err != nil {
		return driver{}, nil, err
	}
	handle, err := c.handle(vol.Ref())
	return d, &driverpb.SnapshotRequest{
		Call: d.call, Pool: pool, Volume: protoRef(vol.Ref()), VolumeHandle: handle,
	}, err
}

// versionOfVolume is the version that has a volume, if during a swap another one has its snapshot and that is no
// hindrance: the volume would be worked on by a version that does not have it. "" = the one that has the snapshot.
func versionOfVolume(v *persistence.View, s *resources.Snapshot, vol *resources.Volume) (string, error) {
	of, bound, err := v.Binding(vol.Ref())
	if err != nil || !bound {
		return "", err
	}
	own, bound, err := v.Binding(s.Ref())
	if err != nil || !bound || own.Product != of.Product || own.Version == of.Version {
		return "", err
	}
	versions, err := v.Versions(of.Product)
	if err != nil {
		return "", err
	}
	if has := resources.DriverOf(versions, of.Version); has == nil || !reads(has, own.HandleVersion) {
		return "", nil
	}
	return of.Version, nil
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
