package filestorage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	folderVolumes   = "volumes"
	folderSnapshots = "snapshots"

	propertyFormat = "format"
)

func pools() diskstore.Kind {
	return diskstore.Kind{
		Name: kindPool, Parts: []string{kindVolume, kindSnapshot}, Called: "pool", Holds: "volumes and snapshots",
		Folders: []string{folderVolumes, folderSnapshots}, HandleVersion: handleVersion,
	}
}

// pool is a pool for the time of one call.
type pool struct{ *diskstore.Store }

func openPool(call *driverpb.Call, ref diskstore.Reference) (*pool, error) {
	opened, err := pools().Open(call, ref)
	if err != nil {
		return nil, err
	}
	return &pool{Store: opened}, nil
}

// openOwn opens the pool that a call of Base is about or belongs to.
func openOwn(call *driverpb.Call) (*pool, error) {
	opened, err := pools().OpenOf(call)
	if err != nil {
		return nil, err
	}
	return &pool{Store: opened}, nil
}

// formatOf reads the format of new volumes from a pool's properties.
func formatOf(call *driverpb.Call) (string, error) {
	switch format := call.GetProperties().GetFields()[propertyFormat].GetStringValue(); format {
	case "":
		return formatRaw, nil
	case formatRaw, formatQCOW2:
		return format, nil
	}
	return "", sdk.Invalid("format-unknown", "/properties/"+propertyFormat, "the format must be raw or qcow2",
		"choose one of them")
}

// OpenPool implements driverpb.StorageServer.
func (s *fileStorage) OpenPool(_ context.Context, req *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error) {
	if _, err := formatOf(req.GetCall()); err != nil {
		return nil, err
	}
	opened, err := pools().Claim(req.GetCall(), s.log)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	shares, err := opened.Dir.CanShare()
	if err != nil && !diskdir.NoSpace(err) {
		return nil, diskdir.Fault(err, "trying whether copies share blocks")
	}
	return (&pool{Store: opened}).reply(shares)
}

func (p *pool) reply(shares bool) (*driverpb.PoolReply, error) {
	space, err := p.Dir.Space()
	if err != nil {
		return nil, diskdir.Fault(err, "reading pool")
	}
	volumes, err := p.Dir.List(folderVolumes)
	if err != nil {
		return nil, diskdir.Fault(err, "listing volumes")
	}
	snapshots, err := p.Dir.List(folderSnapshots)
	if err != nil {
		return nil, diskdir.Fault(err, "listing snapshots")
	}
	known, err := p.Handle()
	if err != nil {
		return nil, err
	}
	handle, err := writeHandle(poolHandle{Handle: known, Shares: shares})
	if err != nil {
		return nil, err
	}
	return &driverpb.PoolReply{
		Handle: handle, TotalBytes: space.Total, UsedBytes: space.Used(),
		Facts: map[string]string{
			"path": known.Path, "fileSystem": space.FileSystem, "sharesBlocks": strconv.FormatBool(shares),
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
	p, err := openPool(req.GetCall(), req.GetCall())
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.again(req.GetCall())
}

// again answers for a pool whose handle says whether copies share blocks.
func (p *pool) again(call *driverpb.Call) (*driverpb.PoolReply, error) {
	var known poolHandle
	if err := readHandle(call.GetHandle(), &known); err != nil {
		return nil, err
	}
	return p.reply(known.Shares)
}

// ClosePool implements driverpb.StorageServer.
func (s *fileStorage) ClosePool(_ context.Context, req *driverpb.PoolRequest) (*driverpb.OutcomeReply, error) {
	return &driverpb.OutcomeReply{}, pools().Unclaim(req.GetCall())
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
