package filestorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// CreateVolume implements driverpb.StorageServer. The volume has its name only when it is complete.
func (s *fileStorage) CreateVolume(
	ctx context.Context, req *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
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
	format, err := formatAsked(req)
	if err != nil {
		return nil, err
	}
	existing, err := p.volumeOf(id, nil)
	if err == nil {
		return p.sameVolume(existing, format, req.GetSizeBytes())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, diskdir.Fault(err, "looking for volume "+id)
	}
	// Another process may have been faster, during a swap.
	if err := s.create(ctx, p, req, format); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, diskdir.Fault(err, "creating volume "+id)
	}
	made, err := p.volumeOf(id, nil)
	if err != nil {
		return nil, volumeFault(err, id)
	}
	return p.sameVolume(made, format, req.GetSizeBytes())
}

func formatAsked(req *driverpb.CreateVolumeRequest) (string, error) {
	switch req.GetFormat() {
	case "":
		return formatOf(req.GetCall())
	case formatRaw, formatQCOW2:
		return req.GetFormat(), nil
	}
	return "", sdk.Invalid("format-unknown", "/format", "the format must be raw or qcow2", "")
}

// sameVolume answers a creation of what is there already. It is complete, for only complete volumes have a name.
func (p *pool) sameVolume(existing volume, format string, bytes uint64) (*driverpb.VolumeReply, error) {
	size := existing.bytes
	if bytes != 0 {
		asked, err := diskSize(bytes)
		if err != nil {
			return nil, err
		}
		size = asked
	}
	if existing.format != format || existing.bytes != size {
		return nil, sdk.Conflict("volume-exists", fmt.Sprintf("volume %s is there already as %s of %d bytes",
			existing.id, existing.format, existing.bytes), "delete it first, or create another one")
	}
	return p.volumeReply(existing)
}

func (s *fileStorage) create(ctx context.Context, p *pool, req *driverpb.CreateVolumeRequest, format string) error {
	from, err := p.sourceOf(ctx, req)
	if err != nil {
		return err
	}
	defer from.close()
	size, err := sizeOf(req.GetSizeBytes(), from)
	if err != nil {
		return err
	}
	ahead, err := preallocationOf(req.GetCall())
	if err != nil {
		return err
	}
	if err := ahead.room(p, size); err != nil {
		return err
	}
	id := req.GetCall().GetResource().GetId()
	staged, err := p.Dir.Stage(id)
	if err != nil {
		return err
	}
	defer staged.Discard()
	if err := s.fill(ctx, p, staged.File(), from, shape{format, size, ahead}); err != nil {
		return err
	}
	sdk.Progress(ctx, 99, "writing the rest to disk")
	return staged.Publish(folderVolumes, fileName(id, format))
}

// sizeOf gives the size of a new volume: what is asked for, or its source's.
func sizeOf(asked uint64, from *source) (int64, error) {
	if asked == 0 && from != nil {
		return from.bytes, nil
	}
	size, err := diskSize(asked)
	if err != nil {
		return 0, err
	}
	if from != nil && asked < uint64(from.bytes) {
		return 0, sdk.Invalid("size-too-small", "/sizeBytes",
			fmt.Sprintf("the source has a disk of %d bytes, the volume would have %d", from.bytes, asked),
			fmt.Sprintf("ask for at least %d bytes", from.bytes))
	}
	return size, nil
}

// shape is what a new volume is to be.
type shape struct {
	format string
	size   int64
	ahead  preallocation
}

// fill makes the content of a staged volume.
func (s *fileStorage) fill(ctx context.Context, p *pool, into *os.File, from *source, want shape) error {
	if err := s.begin(ctx, p, into, from, want); err != nil {
		return err
	}
	have, err := diskBytes(into, want.format)
	if err != nil {
		return err
	}
	if have < want.size {
		if err := s.resize(ctx, into, want); err != nil {
			return err
		}
	}
	if want.format == formatRaw && want.ahead == preallocateAll {
		return reserve(ctx, into, want.size)
	}
	return nil
}

// begin makes what a volume begins with: nothing, or a copy.
func (s *fileStorage) begin(ctx context.Context, p *pool, into *os.File, from *source, want shape) error {
	// Tables are written by qemu-img alone, while it makes a disk.
	tables := want.format == formatQCOW2 && want.ahead != preallocateNothing
	switch {
	case from == nil && want.format == formatRaw:
		return nil
	case from == nil:
		return s.qemuImgCreate(ctx, into, want)
	case from.format == want.format && !tables:
		_, err := p.Copy(ctx, into, from.file, copiedPercent)
		return err
	}
	return s.convert(ctx, p, into, from, want)
}

// convert copies between formats.
func (s *fileStorage) convert(ctx context.Context, p *pool, into *os.File, from *source, want shape) error {
	needed, err := s.qemuImgMeasure(ctx, from)
	if err != nil {
		return err
	}
	if err := p.Room(needed); err != nil {
		return err
	}
	return s.qemuImgConvert(ctx, into, from, want)
}

// resize makes a disk that is not in use larger.
func (s *fileStorage) resize(ctx context.Context, file *os.File, want shape) error {
	if want.format == formatQCOW2 {
		return s.qemuImgResize(ctx, file, want)
	}
	if err := file.Truncate(want.size); err != nil {
		return fmt.Errorf("setting size: %w", err)
	}
	return nil
}

func diskBytes(file *os.File, format string) (int64, error) {
	if format == formatQCOW2 {
		return qcow2Bytes(file)
	}
	info, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("reading size: %w", err)
	}
	return info.Size(), nil
}
