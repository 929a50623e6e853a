package filestorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func snapshotMissing(id string) error {
	return sdk.NotFound("snapshot-missing", "snapshot "+id+" is not in the pool",
		"check that the pool's file system is the right one")
}

func (p *pool) snapshotReply(found snapshot) (*driverpb.SnapshotReply, error) {
	handle, err := writeHandle(snapshotHandle{Pool: p.ID, Volume: found.of, Format: found.format})
	if err != nil {
		return nil, err
	}
	return &driverpb.SnapshotReply{
		Handle: handle, SizeBytes: uint64(found.bytes), AllocatedBytes: uint64(found.allocated),
	}, nil
}

// openFor opens the pool of a call about a snapshot, once it is the turn of the snapshot's volume. Call done in the
// end.
func (s *fileStorage) openFor(ctx context.Context, req *driverpb.SnapshotRequest) (p *pool, done func(), err error) {
	if req.GetVolume().GetId() == "" {
		return nil, nil, sdk.Invalid("volume-required", "/volumeId", "a snapshot needs a volume", "")
	}
	leave, err := s.turns.Take(ctx, req.GetVolume().GetId())
	if err != nil {
		return nil, nil, err
	}
	p, err = openPool(req.GetCall(), req.GetPool())
	if err != nil {
		leave()
		return nil, nil, err
	}
	return p, func() {
		p.Close()
		leave()
	}, nil
}

// CreateSnapshot implements driverpb.StorageServer. Asked again it answers with the snapshot that was taken: it never
// takes a later moment under the same id.
func (s *fileStorage) CreateSnapshot(
	ctx context.Context, req *driverpb.SnapshotRequest,
) (*driverpb.SnapshotReply, error) {
	id, of := req.GetCall().GetResource().GetId(), req.GetVolume().GetId()
	p, done, err := s.openFor(ctx, req)
	if err != nil {
		return nil, err
	}
	defer done()
	existing, err := p.snapshotOf(id, nil)
	if err == nil {
		if existing.of != of {
			return nil, sdk.Conflict("snapshot-exists", fmt.Sprintf("snapshot %s is there already, of volume %s", id,
				existing.of), "delete it first")
		}
		return p.snapshotReply(existing)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, diskdir.Fault(err, "looking for snapshot "+id)
	}
	found, err := p.volumeOf(of, req.GetVolumeHandle())
	if err != nil {
		return nil, volumeFault(err, of)
	}
	taken := snapshot{volume: volume{id: id, format: found.format}, of: of}
	// Another process may have been faster, during a swap.
	if err := p.take(ctx, found, taken); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, diskdir.Fault(err, "taking snapshot "+id)
	}
	if taken, err = p.statSnapshot(taken); err != nil {
		return nil, diskdir.Fault(err, "reading snapshot "+id)
	}
	return p.snapshotReply(taken)
}

func (p *pool) take(ctx context.Context, found volume, taken snapshot) error {
	if err := p.Room(0); err != nil {
		return err
	}
	file, err := p.OpenFile(folderVolumes, fileName(found.id, found.format), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	staged, err := p.Dir.Stage(taken.id)
	if err != nil {
		return err
	}
	defer staged.Discard()
	if err := p.copyStill(ctx, staged.File(), file); err != nil {
		return err
	}
	return staged.Publish(folderSnapshots, taken.name())
}

// copyStill copies a disk that must not change meanwhile. Sharing blocks takes one moment; a copy takes long, and a
// disk that was written to is no longer of one moment.
func (p *pool) copyStill(ctx context.Context, into, from *os.File) error {
	before, err := diskdir.VersionOf(from)
	if err != nil {
		return err
	}
	if shared, err := p.Copy(ctx, into, from, copiedPercent); err != nil || shared {
		return err
	}
	after, err := diskdir.VersionOf(from)
	if err != nil {
		return err
	}
	if after != before {
		return sdk.Transient("volume-changed", "the volume was written to while it was copied; hold its machine's writes")
	}
	return nil
}

// RevertSnapshot implements driverpb.StorageServer. The volume has its old content or the snapshot's, never a mixture.
func (s *fileStorage) RevertSnapshot(
	ctx context.Context, req *driverpb.SnapshotRequest,
) (*driverpb.VolumeReply, error) {
	id, of := req.GetCall().GetResource().GetId(), req.GetVolume().GetId()
	p, done, err := s.openFor(ctx, req)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := p.volumeOf(of, req.GetVolumeHandle())
	if err != nil {
		return nil, volumeFault(err, of)
	}
	from, err := p.snapshotOf(id, req.GetCall().GetHandle())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, snapshotMissing(id)
	}
	if err == nil && (from.of != of || from.format != found.format) {
		err = sdk.Conflict("snapshot-of-another", fmt.Sprintf("snapshot %s is of volume %s as %s", id, from.of,
			from.format), "create a new volume from the snapshot")
	}
	if err != nil {
		return nil, diskdir.Fault(err, "looking for snapshot "+id)
	}
	if err := p.revert(ctx, found, from); err != nil {
		return nil, diskdir.Fault(err, "reverting volume "+of)
	}
	if found, err = p.volumeOf(of, req.GetVolumeHandle()); err != nil {
		return nil, volumeFault(err, of)
	}
	return p.volumeReply(found)
}

func (p *pool) revert(ctx context.Context, found volume, from snapshot) error {
	name := fileName(found.id, found.format)
	current, err := p.OpenFile(folderVolumes, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = current.Close() }()
	if err := refuseInUse(current, "stop the machine that has it"); err != nil {
		return err
	}
	if err := p.Room(0); err != nil {
		return err
	}
	content, err := p.OpenFile(folderSnapshots, from.name(), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	staged, err := p.Dir.Stage(found.id)
	if err != nil {
		return err
	}
	defer staged.Discard()
	if _, err := p.Copy(ctx, staged.File(), content, copiedPercent); err != nil {
		return err
	}
	if err := refuseInUse(current, "stop the machine that has it"); err != nil {
		return err
	}
	return staged.Replace(folderVolumes, name)
}

// DeleteSnapshot implements driverpb.StorageServer. Nothing depends on a snapshot.
func (s *fileStorage) DeleteSnapshot(
	ctx context.Context, req *driverpb.SnapshotRequest,
) (*driverpb.OutcomeReply, error) {
	id := req.GetCall().GetResource().GetId()
	p, done, err := s.openFor(ctx, req)
	if err != nil {
		return nil, err
	}
	defer done()
	named, err := p.findSnapshot(id, req.GetCall().GetHandle())
	if err == nil {
		err = p.Dir.Remove(folderSnapshots, named.name())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, diskdir.Fault(err, "deleting snapshot "+id)
	}
	return &driverpb.OutcomeReply{}, nil
}
