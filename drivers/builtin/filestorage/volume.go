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
	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	protocolFile = "file"

	// maxVolumeBytes keeps sizes far from the end of 64-bit arithmetic: 4 PiB.
	maxVolumeBytes = 4 << 50
)

// volume is a volume as it is on disk.
type volume struct {
	id, format string
	// bytes is the size of the disk.
	bytes     int64
	allocated int64
}

func fileName(id, format string) string { return id + "." + format }

// volumeOf gives the volume a call is about; fs.ErrNotExist when there is none.
func (p *pool) volumeOf(id string, handle *driverpb.Handle) (volume, error) {
	var known volumeHandle
	if err := readHandle(handle, &known); err != nil {
		return volume{}, err
	}
	for _, format := range formatsToTry(known.Format) {
		found, err := p.stat(folderVolumes, fileName(id, format), format)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			found.id = id
			return found, err
		}
	}
	return volume{}, fmt.Errorf("volume %s: %w", id, fs.ErrNotExist)
}

// formatsToTry begins with what the handle says, for it saves a look.
func formatsToTry(known string) []string {
	if known == formatQCOW2 {
		return []string{formatQCOW2, formatRaw}
	}
	return []string{formatRaw, formatQCOW2}
}

// stat reads the size of the disk in a file of the pool.
func (p *pool) stat(folder, name, format string) (volume, error) {
	entry, err := p.Stat(folder, name)
	if err != nil {
		return volume{}, err
	}
	found := volume{format: format, bytes: entry.Bytes, allocated: entry.Allocated}
	if format != formatQCOW2 {
		return found, nil
	}
	file, err := p.OpenFile(folder, name, unix.O_RDONLY)
	if err != nil {
		return volume{}, err
	}
	defer func() { _ = file.Close() }()
	found.bytes, err = qcow2Bytes(file)
	return found, err
}

// qcow2Bytes reads the size of the disk in a qcow2 of the pool, and refuses one whose header has come to refer to
// other files: programs are never run on it.
func qcow2Bytes(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, diskdir.Fault(err, "reading volume")
	}
	image, err := imageformat.Inspect(context.Background(), file, info.Size(), imageformat.QCOW2,
		imageformat.Limits{HeaderOnly: true, MaxVirtualBytes: maxVolumeBytes})
	if refusal := imageformat.RefusalOf(err); refusal != nil {
		return 0, sdk.Conflict("volume-damaged", "the volume's file is not what this driver made: "+refusal.Error(),
			"look at the file; restore the volume from a snapshot or a backup")
	}
	if err != nil {
		return 0, diskdir.Fault(err, "reading volume")
	}
	return image.VirtualBytes, nil
}

func volumeMissing(id string) error {
	return sdk.NotFound("volume-missing", "volume "+id+" is not in the pool",
		"check that the pool's file system is the right one")
}

// volumeFault makes a fault of what volumeOf and its like return.
func volumeFault(err error, id string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return volumeMissing(id)
	}
	return diskdir.Fault(err, "reading volume")
}

func (p *pool) volumeReply(found volume) (*driverpb.VolumeReply, error) {
	handle, err := writeHandle(volumeHandle{Pool: p.ID, Format: found.format})
	if err != nil {
		return nil, err
	}
	return &driverpb.VolumeReply{
		Handle: handle, SizeBytes: uint64(found.bytes), AllocatedBytes: uint64(found.allocated),
		Disk: &driverpb.Disk{
			Protocol: protocolFile, Path: p.Dir.Path(folderVolumes, fileName(found.id, found.format)),
			Format: found.format,
		},
	}, nil
}

// StatVolume implements driverpb.StorageServer.
func (s *fileStorage) StatVolume(_ context.Context, req *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	p, found, err := s.find(req.GetCall(), req.GetPool())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.volumeReply(found)
}

// find opens the pool and finds the volume of a call.
func (s *fileStorage) find(call *driverpb.Call, ref *driverpb.PoolRef) (*pool, volume, error) {
	p, err := openPool(call, ref)
	if err != nil {
		return nil, volume{}, err
	}
	id := call.GetResource().GetId()
	found, err := p.volumeOf(id, call.GetHandle())
	if err != nil {
		p.Close()
		return nil, volume{}, volumeFault(err, id)
	}
	return p, found, nil
}

// GrowVolume implements driverpb.StorageServer. A raw volume grows under a running guest, which is told by its
// hypervisor; a qcow2 that a guest has open can only be grown by that hypervisor.
func (s *fileStorage) GrowVolume(ctx context.Context, req *driverpb.GrowVolumeRequest) (*driverpb.VolumeReply, error) {
	id := req.GetCall().GetResource().GetId()
	size, err := diskSize(req.GetSizeBytes())
	if err != nil {
		return nil, err
	}
	done, err := s.turns.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer done()
	p, found, err := s.find(req.GetCall(), req.GetPool())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if found.bytes < size {
		if err := s.grow(ctx, p, found, size); err != nil {
			return nil, diskdir.Fault(err, "growing volume "+id)
		}
		if found, err = p.volumeOf(id, req.GetCall().GetHandle()); err != nil {
			return nil, volumeFault(err, id)
		}
	}
	return p.volumeReply(found)
}

func (s *fileStorage) grow(ctx context.Context, p *pool, found volume, size int64) error {
	file, err := p.OpenFile(folderVolumes, fileName(found.id, found.format), unix.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if found.format == formatQCOW2 {
		if err := refuseInUse(file, "the volume's machine runs; grow the volume through the machine"); err != nil {
			return err
		}
	}
	if err := s.resize(ctx, file, shape{found.format, size, preallocateNothing}); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("syncing volume: %w", err)
	}
	return nil
}

// diskSize checks a size asked for and makes it whole sectors.
func diskSize(bytes uint64) (int64, error) {
	if bytes == 0 {
		return 0, sdk.Invalid("size-required", "/sizeBytes", "a volume without a source needs a size", "")
	}
	if bytes > maxVolumeBytes {
		return 0, sdk.Invalid("size-too-large", "/sizeBytes",
			fmt.Sprintf("%d bytes are more than the largest volume, %d", bytes, int64(maxVolumeBytes)), "")
	}
	return (int64(bytes) + imageformat.SectorBytes - 1) / imageformat.SectorBytes * imageformat.SectorBytes, nil
}

// refuseInUse refuses what would pull a disk from under a process that has it open.
func refuseInUse(file *os.File, remedy string) error {
	used, err := diskdir.InUse(file)
	if err != nil {
		return err
	}
	if used {
		return sdk.Conflict("volume-in-use", "a running process has the volume open", remedy)
	}
	return nil
}

// DeleteVolume implements driverpb.StorageServer. Snapshots of the volume stay.
func (s *fileStorage) DeleteVolume(
	ctx context.Context, req *driverpb.VolumeRequest,
) (*driverpb.OutcomeReply, error) {
	call, id := req.GetCall(), req.GetCall().GetResource().GetId()
	done, err := s.turns.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer done()
	p, err := openPool(call, req.GetPool())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	for _, format := range formatsToTry("") {
		if err := p.remove(folderVolumes, fileName(id, format)); err != nil {
			return nil, diskdir.Fault(err, "deleting volume "+id)
		}
	}
	return &driverpb.OutcomeReply{}, nil
}

// remove removes a disk that nobody has open. One that is gone is no error.
func (p *pool) remove(folder, name string) error {
	file, err := p.OpenFile(folder, name, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := refuseInUse(file, "stop the machine that has it, or detach it"); err != nil {
		return err
	}
	return p.Dir.Remove(folder, name)
}

// AttachVolume implements driverpb.StorageServer. The file is there for every process of the host; nothing is
// recorded.
func (s *fileStorage) AttachVolume(
	_ context.Context, req *driverpb.AttachVolumeRequest,
) (*driverpb.VolumeReply, error) {
	p, found, err := s.find(req.GetCall(), req.GetPool())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	reply, err := p.volumeReply(found)
	if err != nil {
		return nil, err
	}
	reply.GetDisk().ReadOnly = req.GetReadOnly()
	return reply, nil
}

// DetachVolume implements driverpb.StorageServer. There is nothing to undo, so it works without the pool too.
func (s *fileStorage) DetachVolume(
	_ context.Context, req *driverpb.AttachVolumeRequest,
) (*driverpb.OutcomeReply, error) {
	call := req.GetCall()
	if len(call.GetHandle().GetData()) > 0 {
		return &driverpb.OutcomeReply{Handle: call.GetHandle()}, nil
	}
	p, found, err := s.find(call, req.GetPool())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	reply, err := p.volumeReply(found)
	return &driverpb.OutcomeReply{Handle: reply.GetHandle()}, err
}
