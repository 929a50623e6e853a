package sim

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// snapshotKeys returns where a snapshot and its volume are.
func snapshotKeys(r *driverpb.SnapshotRequest) (snapshot, volume simworld.Key, err error) {
	if snapshot, err = inPool(r.GetCall(), r.GetPool(), simworld.KindSnapshot); err != nil {
		return snapshot, volume, err
	}
	id, err := wantRef(r.GetVolume(), simworld.KindVolume, "/volume")
	return snapshot, simworld.Key{Kind: simworld.KindVolume, Scope: snapshot.Scope, ID: id}, err
}

// CreateSnapshot implements driverpb.StorageServer.
func (s *storage) CreateSnapshot(
	ctx context.Context, r *driverpb.SnapshotRequest,
) (*driverpb.SnapshotReply, error) {
	key, volume, err := snapshotKeys(r)
	if err != nil {
		return nil, err
	}
	return act(ctx, s.driver, "CreateSnapshot", r.GetCall(), func(tx *simworld.Tx) (*driverpb.SnapshotReply, error) {
		of, volumeFound := tx.Get(volume)
		o, found := tx.Get(key)
		switch {
		case found && o.Detail != nil && o.Detail.Of != volume.ID:
			return nil, sdk.Conflict("snapshot-exists",
				fmt.Sprintf("snapshot %s is of volume %s", key.ID, o.Detail.Of), "take it under another id")
		case found:
			return snapshotReply(o, of), nil
		case !volumeFound:
			return nil, absent(volume)
		}
		o = simworld.Object{
			Key: key, State: simworld.Present, Format: of.Format, Bytes: of.Bytes, Content: of.Content,
			Detail: &simworld.Detail{Of: volume.ID},
		}
		return answer(tx.Create(&o), func() *driverpb.SnapshotReply { return snapshotReply(o, of) })
	})
}

func snapshotReply(o, of simworld.Object) *driverpb.SnapshotReply {
	reply := &driverpb.SnapshotReply{Handle: handleOf(o), SizeBytes: o.Bytes, AllocatedBytes: o.Allocated}
	if of.Seq > 0 {
		reply.VolumeHandle = handleOf(of)
	}
	return reply
}

// RevertSnapshot implements driverpb.StorageServer. A volume that grew since stays as large.
func (s *storage) RevertSnapshot(
	ctx context.Context, r *driverpb.SnapshotRequest,
) (*driverpb.VolumeReply, error) {
	key, volume, err := snapshotKeys(r)
	if err != nil {
		return nil, err
	}
	return act(ctx, s.driver, "RevertSnapshot", r.GetCall(), func(tx *simworld.Tx) (*driverpb.VolumeReply, error) {
		snapshot, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		o, found := tx.Get(volume)
		switch {
		case !found:
			return nil, absent(volume)
		case snapshot.Detail == nil || snapshot.Detail.Of != volume.ID:
			return nil, sdk.Invalid("other-volume", "/volumeId", "the snapshot is of another volume", "")
		case o.ChangedBy(r.GetCall().GetToken()): // reverted already; what was written since stays
			return volumeReply(o, nil), nil
		}
		o.Content = snapshot.Content
		return answer(tx.Change("revert", &o), func() *driverpb.VolumeReply { return volumeReply(o, nil) })
	})
}

// DeleteSnapshot implements driverpb.StorageServer.
func (s *storage) DeleteSnapshot(
	ctx context.Context, r *driverpb.SnapshotRequest,
) (*driverpb.OutcomeReply, error) {
	key, _, err := snapshotKeys(r)
	if err != nil {
		return nil, err
	}
	return removal(ctx, s.driver, "DeleteSnapshot", "delete", r.GetCall(), key)
}
