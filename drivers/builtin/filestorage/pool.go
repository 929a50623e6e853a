package filestorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	folderVolumes   = "volumes"
	folderSnapshots = "snapshots"
)

// pool is a pool for the time of one call.
type pool struct {
	settings
	id    string
	known poolHandle
	dir   *diskdir.Dir
}

// openPool opens the pool a call is about. Every call checks the mark, so that a file system that is not mounted is
// noticed before anything is written below its mount point. A pool that has no handle and no mark was never open.
func openPool(call *driverpb.Call, id string, handle *driverpb.Handle) (*pool, error) {
	var known poolHandle
	if err := readHandle(handle, &known); err != nil {
		return nil, err
	}
	owner := diskdir.Owner{Kind: kindPool, ID: id}
	if known.Path == "" && pathOf(call) == "" {
		return nil, diskdir.NotOpenFault(owner)
	}
	found, err := settingsOf(call, known)
	if err != nil {
		return nil, err
	}
	dir, err := diskdir.Open(found.path, owner, folderVolumes, folderSnapshots)
	if err != nil && known.Inode == 0 && sdk.FaultOf(err).GetCode() == diskdir.CodeNotMounted {
		return nil, diskdir.NotOpenFault(owner)
	}
	if err != nil {
		return nil, err
	}
	return &pool{settings: found, id: id, known: known, dir: dir}, nil
}

func (p *pool) close() { p.dir.Close() }

// OpenPool implements driverpb.StorageServer. A pool that was open before is never claimed anew: a directory without
// its mark is then a file system that is not mounted.
func (s *fileStorage) OpenPool(_ context.Context, req *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error) {
	call := req.GetCall()
	if len(call.GetHandle().GetData()) > 0 {
		p, err := openPool(call, call.GetResource().GetId(), call.GetHandle())
		if err != nil {
			return nil, err
		}
		defer p.close()
		return s.opened(p)
	}
	found, err := settingsOf(call, poolHandle{})
	if err != nil {
		return nil, err
	}
	owner := diskdir.Owner{Kind: kindPool, ID: call.GetResource().GetId()}
	dir, err := diskdir.Claim(found.path, owner, pointer(propertyPath), folderVolumes, folderSnapshots)
	if err != nil {
		return nil, err
	}
	p := &pool{settings: found, id: owner.ID, dir: dir}
	defer p.close()
	return s.opened(p)
}

// opened clears away what killed processes left, and answers.
func (s *fileStorage) opened(p *pool) (*driverpb.PoolReply, error) {
	swept, err := p.dir.Sweep()
	if err != nil {
		return nil, diskdir.Fault(err, "sweeping pool")
	}
	for _, name := range swept {
		s.log.Info("removed a file that was never finished", slog.String("pool_id", p.id), slog.String("file", name))
	}
	shares, err := p.dir.CanShare()
	if err != nil && !diskdir.NoSpace(err) {
		return nil, diskdir.Fault(err, "trying whether copies share blocks")
	}
	return p.reply(shares)
}

func (p *pool) reply(shares bool) (*driverpb.PoolReply, error) {
	space, err := p.dir.Space()
	if err != nil {
		return nil, diskdir.Fault(err, "reading pool")
	}
	inode, err := p.dir.Inode()
	if err != nil {
		return nil, diskdir.Fault(err, "reading pool")
	}
	volumes, err := p.dir.List(folderVolumes)
	if err != nil {
		return nil, diskdir.Fault(err, "listing volumes")
	}
	snapshots, err := p.dir.List(folderSnapshots)
	if err != nil {
		return nil, diskdir.Fault(err, "listing snapshots")
	}
	handle, err := writeHandle(poolHandle{Path: p.path, Inode: inode, Shares: shares})
	if err != nil {
		return nil, err
	}
	return &driverpb.PoolReply{
		Handle: handle, TotalBytes: space.Total, UsedBytes: space.Used(),
		Facts: map[string]string{
			"path": p.path, "fileSystem": space.FileSystem, "sharesBlocks": strconv.FormatBool(shares),
			"volumes": strconv.Itoa(len(volumes)), "snapshots": strconv.Itoa(len(snapshots)),
			"allocatedBytes": strconv.FormatInt(allocated(volumes)+allocated(snapshots), 10),
		},
	}, nil
}

func allocated(entries []diskdir.Entry) int64 {
	var sum int64
	for _, entry := range entries {
		sum += entry.Allocated
	}
	return sum
}

// StatPool implements driverpb.StorageServer.
func (s *fileStorage) StatPool(_ context.Context, req *driverpb.PoolRequest) (*driverpb.PoolReply, error) {
	call := req.GetCall()
	p, err := openPool(call, call.GetResource().GetId(), call.GetHandle())
	if err != nil {
		return nil, err
	}
	defer p.close()
	return p.reply(p.known.Shares)
}

// ClosePool implements driverpb.StorageServer. The directory is nobody's after it and may be used again.
func (s *fileStorage) ClosePool(_ context.Context, req *driverpb.PoolRequest) (*driverpb.OutcomeReply, error) {
	call := req.GetCall()
	var known poolHandle
	if err := readHandle(call.GetHandle(), &known); err != nil {
		return nil, err
	}
	path, owner := pathOf(call), diskdir.Owner{Kind: kindPool, ID: call.GetResource().GetId()}
	if path == "" {
		path = known.Path
	}
	// A pool that could not be opened is closed to undo that, with the same wrong properties.
	absent, err := diskdir.Absent(path, owner, known.Inode)
	if err != nil {
		return nil, diskdir.Fault(err, "looking at the pool's directory")
	}
	if absent {
		return &driverpb.OutcomeReply{}, nil
	}
	p, err := openPool(call, owner.ID, call.GetHandle())
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := p.dir.Unclaim(); err != nil {
		return nil, diskdir.Fault(err, "closing pool")
	}
	return &driverpb.OutcomeReply{}, nil
}

// room refuses to use more of the file system than the pool's settings allow.
func (p *pool) room(needed int64) error {
	space, err := p.dir.Space()
	if err != nil {
		return diskdir.Fault(err, "reading the pool's space")
	}
	if space.Available < p.minimumFree || space.Available-p.minimumFree < uint64(max(needed, 0)) {
		return diskdir.NoSpaceFault(fmt.Sprintf("%d bytes are needed, %d are available and %d of them must stay free",
			needed, space.Available, p.minimumFree))
	}
	return nil
}

// openRegular opens a file outside the pool that a call names.
func openRegular(path string) (*os.File, error) {
	file, err := diskdir.OpenPath(path)
	switch {
	case err == nil:
		return file, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, sdk.NotFound("source-missing", "the image is not at "+path, "check that its store is mounted")
	case errors.Is(err, diskdir.ErrNotRegular):
		return nil, sdk.Invalid("source-invalid", "/templateId", "the image is not a plain file", "")
	case errors.Is(err, fs.ErrPermission):
		return nil, sdk.Denied("source-denied", "the driver may not read the image at "+path,
			"give the storage driver read access to the image store")
	}
	return nil, diskdir.Fault(err, "opening image")
}
