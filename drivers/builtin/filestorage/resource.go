package filestorage

import (
	"context"
	"errors"
	"io/fs"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
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
		return diskstore.Unready(err)
	}
	defer p.Close()
	switch call.GetResource().GetKind() {
	case kindVolume:
		_, err = p.volumeOf(call.GetResource().GetId(), call.GetHandle())
	case kindSnapshot:
		_, err = p.snapshotOf(call.GetResource().GetId(), call.GetHandle())
	default:
		return p.Probe()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = volumeMissing(call.GetResource().GetId())
	}
	if err != nil {
		return diskstore.Unready(diskdir.Fault(err, "probing"))
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

// Adopt implements sdk.Resources. The handle it returns is made anew from what is on disk.
func (s *fileStorage) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	p, err := openOwn(call)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	id := call.GetResource().GetId()
	switch call.GetResource().GetKind() {
	case kindVolume:
		found, err := p.volumeOf(id, call.GetHandle())
		if err != nil {
			return nil, volumeFault(err, id)
		}
		return writeHandle(volumeHandle{Pool: p.ID, Format: found.format})
	case kindSnapshot:
		found, err := p.snapshotOf(id, call.GetHandle())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, snapshotMissing(id)
		}
		if err != nil {
			return nil, diskdir.Fault(err, "reading snapshot "+id)
		}
		return writeHandle(snapshotHandle{Pool: p.ID, Volume: found.of, Format: found.format})
	}
	// A process before this one may have been killed in the middle of a copy.
	if err := p.Sweep(s.log); err != nil {
		return nil, err
	}
	reply, err := p.again(call)
	return reply.GetHandle(), err
}

// Release implements sdk.Resources. Nothing is held between calls.
func (s *fileStorage) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}
