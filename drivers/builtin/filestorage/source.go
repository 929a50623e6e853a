package filestorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// source is the content a volume begins as a copy of: an open file, so that what was inspected is what is copied.
type source struct {
	file   *os.File
	format string
	bytes  int64
}

func (s *source) close() {
	if s != nil {
		_ = s.file.Close()
	}
}

// sourceOf opens the source of a new volume; nil when it begins empty.
func (p *pool) sourceOf(ctx context.Context, req *driverpb.CreateVolumeRequest) (*source, error) {
	switch from := req.GetSource().(type) {
	case *driverpb.CreateVolumeRequest_Image:
		return imageSource(ctx, from.Image)
	case *driverpb.CreateVolumeRequest_Snapshot:
		return p.snapshotSource(from.Snapshot.GetResource().GetId(), from.Snapshot.GetHandle())
	}
	return nil, nil //nolint:nilnil // no source and no error is what an empty volume has
}

func imageSource(ctx context.Context, image *driverpb.Image) (*source, error) {
	format, ok := map[string]imageformat.Format{
		formatRaw: imageformat.Raw, formatQCOW2: imageformat.QCOW2, formatISO: imageformat.ISO,
	}[image.GetFormat()]
	if !ok {
		return nil, sdk.Invalid("source-invalid", "/templateId", "the image's format must be raw, qcow2 or iso", "")
	}
	file, err := openRegular(image.GetPath())
	if err != nil {
		return nil, err
	}
	opened, err := inspectSource(ctx, file, format)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return opened, nil
}

// inspectSource inspects what will be given to programs. Raw content means what it was declared to be, whatever it
// looks like.
func inspectSource(ctx context.Context, file *os.File, format imageformat.Format) (*source, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, diskdir.Fault(err, "reading image")
	}
	if format != imageformat.QCOW2 {
		bytes, err := diskSize(uint64(info.Size()))
		if err != nil {
			return nil, sdk.Invalid("source-invalid", "/templateId", "the image is empty or far too large", "")
		}
		return &source{file: file, format: formatRaw, bytes: bytes}, nil
	}
	image, err := imageformat.Inspect(ctx, file, info.Size(), format,
		imageformat.Limits{MaxVirtualBytes: maxVolumeBytes})
	if refusal := imageformat.RefusalOf(err); refusal != nil {
		return nil, sdk.Invalid(refusal.Code, "/templateId", refusal.Reason, refusal.Remedy)
	}
	if err != nil {
		return nil, diskdir.Fault(err, "reading image")
	}
	return &source{file: file, format: formatQCOW2, bytes: image.VirtualBytes}, nil
}

func (p *pool) snapshotSource(id string, handle *driverpb.Handle) (*source, error) {
	found, err := p.snapshotOf(id, handle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, snapshotMissing(id)
	}
	if err != nil {
		return nil, diskdir.Fault(err, "reading snapshot")
	}
	file, err := p.OpenFile(folderSnapshots, found.name(), unix.O_RDONLY)
	if err != nil {
		return nil, diskdir.Fault(err, "opening snapshot")
	}
	return &source{file: file, format: found.format, bytes: found.bytes}, nil
}

// snapshot is a snapshot as it is on disk: the file names both its own id and its volume's.
type snapshot struct {
	volume
	of string
}

func (s *snapshot) name() string { return fileName(s.id+"@"+s.of, s.format) }

// parseSnapshot takes the name of a snapshot's file apart.
func parseSnapshot(name string) (snapshot, bool) {
	base, format, ok := cutFormat(name)
	if !ok {
		return snapshot{}, false
	}
	id, of, ok := strings.Cut(base, "@")
	if !ok || !sdk.IsID(id) || !sdk.IsID(of) {
		return snapshot{}, false
	}
	return snapshot{volume: volume{id: id, format: format}, of: of}, true
}

func cutFormat(name string) (base, format string, ok bool) {
	for _, format := range formatsToTry("") {
		if base, ok := strings.CutSuffix(name, "."+format); ok {
			return base, format, true
		}
	}
	return "", "", false
}

// findSnapshot finds the file of a snapshot by its handle or, without one, by its id; fs.ErrNotExist when there is
// none.
func (p *pool) findSnapshot(id string, handle *driverpb.Handle) (snapshot, error) {
	var known snapshotHandle
	if err := readHandle(handle, &known); err != nil {
		return snapshot{}, err
	}
	if sdk.IsID(known.Volume) && (known.Format == formatRaw || known.Format == formatQCOW2) {
		named := snapshot{volume: volume{id: id, format: known.Format}, of: known.Volume}
		if _, err := p.Dir.Stat(folderSnapshots, named.name()); !errors.Is(err, fs.ErrNotExist) {
			return named, err
		}
	}
	entries, err := p.Dir.List(folderSnapshots)
	if err != nil {
		return snapshot{}, err
	}
	for _, entry := range entries {
		if named, ok := parseSnapshot(entry.Name); ok && named.id == id {
			return named, nil
		}
	}
	return snapshot{}, fmt.Errorf("snapshot %s: %w", id, fs.ErrNotExist)
}

// snapshotOf finds a snapshot and reads its size.
func (p *pool) snapshotOf(id string, handle *driverpb.Handle) (snapshot, error) {
	named, err := p.findSnapshot(id, handle)
	if err != nil {
		return snapshot{}, err
	}
	return p.statSnapshot(named)
}

func (p *pool) statSnapshot(named snapshot) (snapshot, error) {
	found, err := p.stat(folderSnapshots, named.name(), named.format)
	found.id = named.id
	return snapshot{volume: found, of: named.of}, err
}
