package drivertest

import (
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func storageSteps(can *driverpb.Capabilities) []step {
	all := []step{
		{driverpb.Storage_OpenPool_FullMethodName, func(e *env) deed { return e.opening("pool") }},
		{driverpb.Storage_ClosePool_FullMethodName, func(e *env) deed { return e.closing("pool") }},
		{driverpb.Storage_CreateVolume_FullMethodName, creating},
		{driverpb.Storage_DeleteVolume_FullMethodName, deleting},
		{driverpb.Storage_AttachVolume_FullMethodName, attaching},
		{driverpb.Storage_DetachVolume_FullMethodName, detaching},
	}
	if can.GetGrow() {
		all = append(all, step{driverpb.Storage_GrowVolume_FullMethodName, growing})
	}
	if can.GetSnapshots() {
		all = append(all,
			step{driverpb.Storage_CreateSnapshot_FullMethodName, snapshotting},
			step{driverpb.Storage_RevertSnapshot_FullMethodName, reverting},
			step{driverpb.Storage_DeleteSnapshot_FullMethodName, unsnapshotting})
	}
	return all
}

// opening opens a scope that is not open.
func (e *env) opening(kind string) deed {
	e.Helper()
	in := e.newScope(kind)
	e.opens(in)
	return deed{request: e.openRequest(in), reached: func() {
		e.Helper()
		if _, err := e.observe(in); err != nil {
			e.Errorf("an open %s can't be observed: %v", kind, err)
		}
	}}
}

// closing closes an empty scope.
func (e *env) closing(kind string) deed {
	e.Helper()
	in := e.open(kind)
	e.forget(in)
	return deed{request: e.closeRequest(in), reached: func() {
		e.Helper()
		// It can be opened again, which is all that can be said of every backend.
		if _, err := e.try(openMethod(kind), e.openRequest(in)); err != nil {
			e.Errorf("opening a %s again after it was closed: %v", kind, err)
		}
	}}
}

func creating(e *env) deed {
	pool := e.open("pool")
	ref := e.ref("volume")
	e.undoVolume(pool, ref)
	request := e.createVolume(pool, ref)
	other, _ := proto.Clone(request).(*driverpb.CreateVolumeRequest)
	other.SizeBytes *= 2
	return deed{
		request: request, other: other,
		reached: func() {
			e.Helper()
			e.exists(pool, ref, 1)
			if got := e.statVolume(pool, ref).GetSizeBytes(); got != request.GetSizeBytes() {
				e.Errorf("the volume has %d bytes, want %d", got, request.GetSizeBytes())
			}
		},
		pristine: func() { e.Helper(); e.exists(pool, ref, 0) },
	}
}

func growing(e *env) deed {
	pool := e.open("pool")
	ref := e.volume(pool)
	before := e.harness.Storage.VolumeBytes
	request := &driverpb.GrowVolumeRequest{Call: e.call(ref, pool), Pool: e.poolRef(pool), SizeBytes: 2 * before}
	other, _ := proto.Clone(request).(*driverpb.GrowVolumeRequest)
	other.SizeBytes = 3 * before
	sized := func(want uint64) func() {
		return func() {
			e.Helper()
			if got := e.statVolume(pool, ref).GetSizeBytes(); got != want {
				e.Errorf("the volume has %d bytes, want %d", got, want)
			}
		}
	}
	return deed{request: request, other: other, reached: sized(2 * before), pristine: sized(before)}
}

func deleting(e *env) deed {
	pool := e.open("pool")
	ref := e.volume(pool)
	return deed{
		request:  e.volumeRequest(pool, ref),
		reached:  func() { e.Helper(); e.exists(pool, ref, 0) },
		pristine: func() { e.Helper(); e.exists(pool, ref, 1) },
	}
}

func attaching(e *env) deed {
	pool := e.open("pool")
	ref := e.volume(pool)
	request := e.attachRequest(pool, ref)
	other, _ := proto.Clone(request).(*driverpb.AttachVolumeRequest)
	other.ReadOnly = true
	return deed{request: request, other: other, reached: func() { e.Helper(); e.attached(pool, ref) }}
}

func detaching(e *env) deed {
	pool := e.open("pool")
	ref := e.volume(pool)
	e.attached(pool, ref)
	return deed{request: e.attachRequest(pool, ref), reached: func() {
		e.Helper()
		// A volume that is attached nowhere can be deleted.
		must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteVolume_FullMethodName, e.volumeRequest(pool, ref))
	}}
}

func snapshotting(e *env) deed {
	pool := e.open("pool")
	volume := e.volume(pool)
	e.write(pool, volume, "as it was")
	ref := e.ref("snapshot")
	e.undoSnapshot(pool, ref, volume)
	request := e.snapshotRequest(pool, ref, volume)
	other, _ := proto.Clone(request).(*driverpb.SnapshotRequest)
	other.Volume = e.ref("volume")
	return deed{
		request: request, other: other,
		reached:  func() { e.Helper(); e.exists(pool, ref, 1) },
		pristine: func() { e.Helper(); e.exists(pool, ref, 0) },
	}
}

func reverting(e *env) deed {
	pool := e.open("pool")
	volume := e.volume(pool)
	e.write(pool, volume, "as it was")
	ref := e.snapshot(pool, volume)
	e.write(pool, volume, "as it became")
	request := e.snapshotRequest(pool, ref, volume)
	return deed{
		request: request,
		reached: func() { e.Helper(); e.holds(pool, volume, "as it was") },
		pristine: func() {
			e.Helper()
			e.holds(pool, volume, "as it became")
		},
	}
}

func unsnapshotting(e *env) deed {
	pool := e.open("pool")
	volume := e.volume(pool)
	ref := e.snapshot(pool, volume)
	return deed{
		request:  e.snapshotRequest(pool, ref, volume),
		reached:  func() { e.Helper(); e.exists(pool, ref, 0) },
		pristine: func() { e.Helper(); e.exists(pool, ref, 1) },
	}
}
