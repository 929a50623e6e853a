package filestorage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Configure implements sdk.Resources. The driver has no settings of its own.
func (s *fileStorage) Configure(context.Context, map[string]any, map[string]string) error {
	return nil
}

func qemuImgMissing() *driverpb.Fault {
	return &driverpb.Fault{
		Class: driverpb.Class_CLASS_DENIED, Code: "qemu-img-missing",
		Message: "qemu-img is not installed on this host, or may not be run", Remedy: "install the package qemu-utils",
	}
}

// Probe implements sdk.Resources.
func (s *fileStorage) Probe(_ context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	if call.GetResource().GetId() == "" {
		return s.probeProcess(), nil
	}
	p, err := openOwn(call)
	if err != nil {
		return unready(err)
	}
	defer p.close()
	switch call.GetResource().GetKind() {
	case kindVolume:
		_, err = p.volumeOf(call.GetResource().GetId(), call.GetHandle())
	case kindSnapshot:
		_, err = p.snapshotOf(call.GetResource().GetId(), call.GetHandle())
	default:
		return p.probe()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = volumeMissing(call.GetResource().GetId())
	}
	if err != nil {
		return unready(diskdir.Fault(err, "probing"))
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

func (s *fileStorage) probeProcess() *driverpb.ProbeReply {
	if s.qemuImg == "" {
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_DEGRADED,
			Reason: "only raw volumes work: " + qemuImgMissing().GetMessage() + "; " + qemuImgMissing().GetRemedy(),
		}
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}
}

// probe answers for a pool that is open.
func (p *pool) probe() (*driverpb.ProbeReply, error) {
	space, err := p.dir.Space()
	if err != nil {
		return unready(diskdir.Fault(err, "reading the pool's space"))
	}
	if space.Available <= p.minimumFree {
		return &driverpb.ProbeReply{
			Health: driverpb.ProbeReply_HEALTH_DEGRADED,
			Reason: fmt.Sprintf("the pool takes no new volumes: %d bytes are available and %d must stay free; free space",
				space.Available, p.minimumFree),
		}, nil
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

// unready makes an answer of a fault: that a resource can't be reached is no failure of the probe.
func unready(err error) (*driverpb.ProbeReply, error) {
	fault := sdk.FaultOf(err)
	if fault == nil {
		return nil, err
	}
	reason := fault.GetMessage()
	if fault.GetRemedy() != "" {
		reason += "; " + fault.GetRemedy()
	}
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_UNREADY, Reason: reason}, nil
}

// openOwn opens the pool that a call of Base is about or belongs to. Calls about volumes and snapshots name no pool:
// the handle does, or else the mark at the path.
func openOwn(call *driverpb.Call) (*pool, error) {
	switch call.GetResource().GetKind() {
	case kindPool:
		return openPool(call, call.GetResource().GetId(), call.GetHandle())
	case kindVolume, kindSnapshot:
		id, err := poolIDOf(call)
		if err != nil {
			return nil, err
		}
		return openPool(call, id, nil)
	}
	return nil, sdk.Invalid("kind-unknown", "/call/resource/kind",
		"this driver serves pools, volumes and snapshots", "")
}

func poolIDOf(call *driverpb.Call) (string, error) {
	var known struct {
		Pool string `json:"pool"`
	}
	if err := readHandle(call.GetHandle(), &known); err != nil {
		return "", err
	}
	if known.Pool != "" {
		return known.Pool, nil
	}
	found, err := settingsOf(call, poolHandle{})
	if err != nil {
		return "", err
	}
	owner, err := diskdir.OwnerOf(found.path)
	return owner.ID, err
}

// Adopt implements sdk.Resources. The handle it returns is made anew from what is on disk.
func (s *fileStorage) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	p, err := openOwn(call)
	if err != nil {
		return nil, err
	}
	defer p.close()
	id := call.GetResource().GetId()
	switch call.GetResource().GetKind() {
	case kindVolume:
		found, err := p.volumeOf(id, call.GetHandle())
		if err != nil {
			return nil, volumeFault(err, id)
		}
		return writeHandle(volumeHandle{Pool: p.id, Format: found.format})
	case kindSnapshot:
		found, err := p.snapshotOf(id, call.GetHandle())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, snapshotMissing(id)
		}
		if err != nil {
			return nil, diskdir.Fault(err, "reading snapshot "+id)
		}
		return writeHandle(snapshotHandle{Pool: p.id, Volume: found.of, Format: found.format})
	}
	// A process before this one may have been killed in the middle of a copy.
	if _, err := p.dir.Sweep(); err != nil {
		return nil, diskdir.Fault(err, "sweeping pool "+id)
	}
	inode, err := p.dir.Inode()
	if err != nil {
		return nil, diskdir.Fault(err, "reading pool")
	}
	return writeHandle(poolHandle{Path: p.path, Inode: inode, Shares: p.known.Shares})
}

// Release implements sdk.Resources. Nothing is held between calls.
func (s *fileStorage) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}
