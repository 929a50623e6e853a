package operations

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const copyTimeout = 50 * time.Minute

func volumeOperations() []Definition {
	exclusive := Step{Name: "hold", Do: holdVolume, Undo: letVolumeGo, Local: true}
	release := Step{Name: "let-go", Do: letVolumeGo}
	return []Definition{
		{Kind: resources.KindVolume, Action: "create", Check: checkTemplateNear, Steps: steps(
			Step{Name: "place", Do: placeVolume, Undo: unplaceVolume, Local: true},
			Step{Name: "create", Do: createVolume, Undo: removeVolume, Timeout: copyTimeout},
		)},
		{Kind: resources.KindVolume, Action: "delete", Steps: forgettable(
			Step{Name: "delete", Do: removeVolume}, (*Context).unbind,
		)},
		{Kind: resources.KindVolume, Action: "reserve", Steps: steps(
			Step{Name: "reserve", Do: reserveGrowth, Undo: unreserveGrowth},
		)},
		{Kind: resources.KindVolume, Action: "grow", Check: checkGrow, Steps: steps(
			exclusive,
			Step{Name: "reserve", Do: reserveGrowth, Undo: unreserveGrowth},
			Step{Name: "grow", Do: growVolume, Undo: measureVolume},
			release,
		)},
		{Kind: resources.KindVolume, Action: "claim", Steps: steps(
			Step{Name: "attach", Do: claimVolume, Undo: unclaimVolume},
		)},
		{Kind: resources.KindVolume, Action: "attach", Steps: steps(
			Step{Name: "attach", Do: attachVolume, Undo: detachVolume},
		)},
		{Kind: resources.KindVolume, Action: "detach", Steps: steps(
			Step{Name: "detach", Do: detachVolume},
		)},
		{Kind: resources.KindVolume, Action: "unclaim", Steps: forgettable(
			Step{Name: "detach", Do: unclaimVolume}, leaveMachine,
		)},
		{Kind: resources.KindVolume, Action: "revert", Check: checkRevert, Steps: steps(
			Step{Name: "hold", Do: holdToRevert, Undo: letRevertedGo, Local: true},
			Step{Name: "revert", Do: revertVolume, Undo: measureVolume, Timeout: copyTimeout},
			release,
		)},
	}
}

// scopeVolumeHold keeps work on the content of a volume apart that different
// actors do: growing and reverting it, taking a snapshot of it.
const scopeVolumeHold = "volume-hold"

func holdVolume(_ context.Context, c *Context) error {
	c.Outcome.Claim = append(c.Outcome.Claim,
		persistence.Claim{Scope: scopeVolumeHold, Value: volumeOf(c.Resource), Owner: c.Operation.Target})
	return nil
}

// holdToRevert reserves what it is to have besides: a volume that was put back to a small snapshot can be put back to a
// large one.
func holdToRevert(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	snapshot, err := Find[*resources.Snapshot](c, resources.KindSnapshot, string(c.Operation.Arguments.SnapshotID))
	if err != nil {
		return err
	}
	if snapshot.Status.SizeBytes > vol.Status.SizeBytes {
		c.reservePool(vol, snapshot.Status.SizeBytes)
	}
	return holdVolume(ctx, c)
}

func letRevertedGo(ctx context.Context, c *Context) error {
	if err := unreserveGrowth(ctx, c); err != nil {
		return err
	}
	return letVolumeGo(ctx, c)
}

func letVolumeGo(_ context.Context, c *Context) error {
	c.Outcome.Unclaim = append(c.Outcome.Unclaim, LetGo(c.Operation.Target, c.Resource).Unclaim...)
	return nil
}

// LetGo lets go of what an operation on a resource may hold that ends without
// letting go of it itself.
func LetGo(ref resources.Ref, r resources.Resource) Outcome {
	if r == nil || ref.Kind != resources.KindVolume && ref.Kind != resources.KindSnapshot {
		return Outcome{}
	}
	return Outcome{Unclaim: []persistence.Claim{{Scope: scopeVolumeHold, Value: volumeOf(r), Owner: ref}}}
}

func volumeOf(r resources.Resource) string {
	if s, ok := r.(*resources.Snapshot); ok {
		return string(s.Spec.VolumeID)
	}
	return r.Metadata().ID
}

// inPool connects to the driver of the pool a volume or snapshot is in.
func (c *Context) inPool(
	ctx context.Context, pool resources.PoolID, ref resources.Ref, own *resources.Volume,
) (driver, *driverpb.PoolRef, error) {
	p, err := Find[*resources.Pool](c, resources.KindPool, string(pool))
	if err != nil {
		return driver{}, nil, err
	}
	handle, err := c.handle(p.Ref())
	if err != nil {
		return driver{}, nil, err
	}
	d, err := c.driver(ctx, p, ref, own)
	return d, &driverpb.PoolRef{Resource: protoRef(p.Ref()), Handle: handle}, err
}

func createVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	d, pool, err := c.inPool(ctx, vol.Status.PoolID, vol.Ref(), vol)
	if err != nil {
		return err
	}
	request := &driverpb.CreateVolumeRequest{
		Call: d.call, Pool: pool, SizeBytes: vol.Status.SizeBytes, Format: vol.Spec.Format,
	}
	if err := c.source(vol, request); err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).CreateVolume(ctx, request)
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	c.observed(reply)
	return nil
}

func (c *Context) source(vol *resources.Volume, request *driverpb.CreateVolumeRequest) error {
	if vol.Spec.TemplateID != "" {
		t, err := Find[*resources.Template](c, resources.KindTemplate, string(vol.Spec.TemplateID))
		if err != nil {
			return err
		}
		request.Source = &driverpb.CreateVolumeRequest_Image{Image: &driverpb.Image{
			Path: t.Status.Path, Format: t.Spec.Format, VirtualBytes: t.Status.VirtualBytes,
		}}
	}
	if vol.Spec.SnapshotID != "" {
		ref := resources.Ref{Kind: resources.KindSnapshot, ID: string(vol.Spec.SnapshotID)}
		handle, err := c.handle(ref)
		if err != nil {
			return err
		}
		request.Source = &driverpb.CreateVolumeRequest_Snapshot{Snapshot: &driverpb.SnapshotSource{
			Resource: protoRef(ref), Handle: handle,
		}}
	}
	return nil
}

// observed notes what the driver says of the volume.
func (c *Context) observed(reply *driverpb.VolumeReply) {
	Change(c, func(vol *resources.Volume) {
		vol.Status.SizeBytes, vol.Status.AllocatedBytes = reply.GetSizeBytes(), reply.GetAllocatedBytes()
		if d := reply.GetDisk(); d != nil {
			vol.Status.Disk = &resources.Disk{
				Protocol: d.GetProtocol(), Path: d.GetPath(), Format: d.GetFormat(), ReadOnly: d.GetReadOnly(),
			}
		}
	})
}

func removeVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil || vol.Status.PoolID == "" {
		return err
	}
	if vol.Status.MachineID != "" && !c.Undoing {
		return inUseBy(vol, vol.Status.MachineID)
	}
	d, pool, err := c.inPool(ctx, vol.Status.PoolID, vol.Ref(), vol)
	if err != nil {
		return err
	}
	_, err = driverpb.NewStorageClient(d.conn).DeleteVolume(ctx, &driverpb.VolumeRequest{Call: d.call, Pool: pool})
	c.unbind()
	return gone(err)
}

func inUseBy(vol *resources.Volume, machine resources.MachineID) *resources.Error {
	return persistence.InUse(vol.Ref(), []resources.Ref{{Kind: resources.KindMachine, ID: string(machine)}})
}

// reserveGrowth reserves what the volume is to grow to. What is to grow to what it has may have grown behind its back,
// in vain: that is what unreserveForDisk asks for.
func reserveGrowth(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	if c.Operation.Action == "reserve" && c.Operation.Arguments.SizeBytes == vol.Status.SizeBytes {
		return measureVolume(ctx, c)
	}
	if size := c.Operation.Arguments.SizeBytes; size < vol.Status.SizeBytes || size > resources.MaxVolumeBytes {
		return &resources.Error{
			Class: resources.ClassInvalid, Code: "bad-size",
			Message: fmt.Sprintf("the volume has %d bytes and can only grow, to at most %d",
				vol.Status.SizeBytes, uint64(resources.MaxVolumeBytes)),
			Fields: []resources.FieldError{{Pointer: "/sizeBytes", Code: "out-of-range", Message: "can only grow"}},
			Remedy: "ask for a larger size",
		}
	}
	c.reservePool(vol, c.Operation.Arguments.SizeBytes)
	return nil
}

func unreserveGrowth(_ context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	c.reservePool(vol, vol.Status.SizeBytes)
	return nil
}

// measureVolume notes what size the volume has after it was tried in vain to change that: the attempt may have had its
// effect, and what the pool gives it is what it takes there.
func measureVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil || vol.Status.PoolID == "" {
		return err
	}
	d, pool, err := c.inPool(ctx, vol.Status.PoolID, vol.Ref(), vol)
	if err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).StatVolume(ctx, &driverpb.VolumeRequest{Call: d.call, Pool: pool})
	if lost(err) {
		return nil
	}
	if err != nil {
		return FromFault(err)
	}
	c.measured(d, vol, reply)
	return nil
}

// measured notes what the driver says of a volume that may be smaller than before, or larger.
func (c *Context) measured(d driver, vol *resources.Volume, reply *driverpb.VolumeReply) {
	if reply.GetHandle() != nil {
		c.bind(d, reply.GetHandle())
	}
	c.observed(reply)
	c.reservePool(vol, reply.GetSizeBytes())
}

func (c *Context) reservePool(vol *resources.Volume, bytes uint64) {
	c.Outcome.Reserve = append(c.Outcome.Reserve, persistence.Reservation{
		Holder: resources.Ref{Kind: resources.KindPool, ID: string(vol.Status.PoolID)}, Owner: vol.Ref(),
		Amount: resources.Quantities{StorageBytes: bytes},
	})
}

// growVolume grows it, or, when a running machine has it, looks that the
// hypervisor has grown it: two programs must not change one file.
func growVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	d, pool, err := c.inPool(ctx, vol.Status.PoolID, vol.Ref(), vol)
	if err != nil {
		return err
	}
	var running bool
	err = c.Engine.View(func(v *persistence.View) (err error) {
		if err = checkGrow(v, c.Operation, vol); err == nil {
			running, err = inRunningMachine(v, vol)
		}
		return err
	})
	if err != nil {
		return err
	}
	client := driverpb.NewStorageClient(d.conn)
	var reply *driverpb.VolumeReply
	if running {
		reply, err = client.StatVolume(ctx, &driverpb.VolumeRequest{Call: d.call, Pool: pool})
	} else {
		reply, err = client.GrowVolume(ctx, &driverpb.GrowVolumeRequest{
			Call: d.call, Pool: pool, SizeBytes: c.Operation.Arguments.SizeBytes,
		})
	}
	if err != nil {
		return FromFault(err)
	}
	if reply.GetSizeBytes() < c.Operation.Arguments.SizeBytes {
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: "not-grown",
			Message: fmt.Sprintf("the volume has %d bytes after growing", reply.GetSizeBytes()),
		}
	}
	if reply.GetHandle() != nil {
		c.bind(d, reply.GetHandle())
	}
	c.observed(reply)
	return nil
}

// checkGrow refuses to grow a volume behind the back of the machine that uses it.
func checkGrow(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	vol, ok := r.(*resources.Volume)
	if !ok || op.Arguments.MachineID != "" && op.Arguments.MachineID == vol.Status.MachineID {
		return nil
	}
	return checkQuiet(v, vol, "ask the machine to grow its volume, or stop it first")
}

// inRunningMachine reports whether a machine that may write to the volume has it.
func inRunningMachine(v *persistence.View, vol *resources.Volume) (bool, error) {
	if vol.Status.MachineID == "" {
		return false, nil
	}
	m, err := persistence.Find[*resources.Machine](v, resources.KindMachine, string(vol.Status.MachineID))
	if resources.ClassOf(err) == resources.ClassNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if m.Phase != resources.PhaseUpdating {
		return m.Phase != resources.PhaseStopped && m.Phase != resources.PhaseFailed, nil
	}
	return !m.Status.StartedAt.IsZero(), nil
}

func revertVolume(ctx context.Context, c *Context) error {
	vol, err := Target[*resources.Volume](c)
	if err != nil {
		return err
	}
	var snapshot *resources.Snapshot
	err = c.Engine.View(func(v *persistence.View) (err error) {
		snapshot, err = toRevertTo(v, vol, c.Operation.Arguments.SnapshotID)
		return err
	})
	if err != nil {
		return err
	}
	return c.revert(ctx, vol, snapshot)
}

func checkRevert(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	vol, ok := r.(*resources.Volume)
	if !ok {
		return nil
	}
	_, err := toRevertTo(v, vol, op.Arguments.SnapshotID)
	return err
}

// toRevertTo returns the snapshot that a volume can be put back to now.
func toRevertTo(v *persistence.View, vol *resources.Volume, id resources.SnapshotID) (*resources.Snapshot, error) {
	if err := checkQuiet(v, vol, "stop the machine first"); err != nil {
		return nil, err
	}
	snapshot, err := persistence.Find[*resources.Snapshot](v, resources.KindSnapshot, string(id))
	if err != nil {
		return nil, err
	}
	if string(snapshot.Spec.VolumeID) != vol.ID {
		return nil, &resources.Error{
			Class: resources.ClassInvalid, Code: "snapshot-of-another-volume",
			Message: fmt.Sprintf("snapshot %s is of volume %s", snapshot.ID, snapshot.Spec.VolumeID),
			Fields:  []resources.FieldError{{Pointer: "/snapshotId", Code: "not-of-volume", Message: "is of another volume"}},
			Remedy:  "choose a snapshot of this volume",
		}
	}
	if snapshot.Phase != resources.PhaseReady {
		return nil, notReady(snapshot)
	}
	return snapshot, nil
}

func (c *Context) revert(ctx context.Context, vol *resources.Volume, snapshot *resources.Snapshot) error {
	d, request, err := c.snapshotRequest(ctx, snapshot, vol)
	if err != nil {
		return err
	}
	reply, err := driverpb.NewStorageClient(d.conn).RevertSnapshot(ctx, request)
	if err != nil {
		return FromFault(err)
	}
	c.measured(d, vol, reply)
	return nil
}
