package drivertest

import (
	"path"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func growChecks(can *driverpb.Capabilities) []check {
	grow := driverpb.Storage_GrowVolume_FullMethodName
	request := func(e *env, pool scope, ref *driverpb.Ref, size uint64) *driverpb.GrowVolumeRequest {
		return &driverpb.GrowVolumeRequest{Call: e.call(ref, pool), Pool: e.poolRef(pool), SizeBytes: size}
	}
	const word = "grow"
	refuses := unless(undeclared(can.GetGrow(), word), check{
		name: "Storage: GrowVolume is not declared and is refused with UNSUPPORTED", run: func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, grow, request(e, pool, e.volume(pool), 1<<30))
		},
	})
	return append(refuses, unless(declared(can.GetGrow(), word), []check{
		{name: "Storage: GrowVolume never makes a volume smaller", run: func(e *env) {
			pool := e.open("pool")
			ref, size := e.volume(pool), e.harness.Storage.VolumeBytes
			e.write(pool, ref, "kept")
			reply := must[*driverpb.VolumeReply](e, grow, request(e, pool, ref, size/2))
			if got := e.statVolume(pool, ref).GetSizeBytes(); got != size || reply.GetSizeBytes() != size {
				e.Errorf("grown to half its size it answers %d and has %d bytes, want %d", reply.GetSizeBytes(), got, size)
			}
			e.holds(pool, ref, "kept")
		}},
		{name: "Storage: GrowVolume keeps what is written", run: func(e *env) {
			pool := e.open("pool")
			ref, size := e.volume(pool), 2*e.harness.Storage.VolumeBytes
			e.write(pool, ref, "kept")
			reply := must[*driverpb.VolumeReply](e, grow, request(e, pool, ref, size))
			if reply.GetSizeBytes() != size {
				e.Errorf("answers %d bytes, want %d", reply.GetSizeBytes(), size)
			}
			e.holds(pool, ref, "kept")
		}},
		{name: "Storage: GrowVolume of what is not there is refused with NOT_FOUND", run: func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_NOT_FOUND, grow, request(e, pool, e.ref("volume"), 1<<20))
		}},
	}...)...)
}

func snapshotChecks(can *driverpb.Capabilities) []check {
	const word = "snapshots"
	refuses := unless(undeclared(can.GetSnapshots(), word), check{
		name: "Storage: snapshots are not declared and are refused with UNSUPPORTED", run: func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, driverpb.Storage_CreateSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), e.volume(pool)))
		},
	})
	all := []check{
		{name: "Storage: RevertSnapshot restores the content, and later snapshots stay", run: revertKeepsLater},
		{name: "Storage: Observe lists snapshots", run: func(e *env) {
			pool := e.open("pool")
			volume := e.volume(pool)
			snapshot := e.snapshot(pool, volume)
			e.exists(pool, volume, 1)
			e.exists(pool, snapshot, 1)
			must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName,
				e.snapshotRequest(pool, snapshot, volume))
			e.exists(pool, volume, 1)
			e.exists(pool, snapshot, 0)
		}},
		{name: "Storage: deleting a snapshot leaves the volume as it is", run: func(e *env) {
			pool := e.open("pool")
			volume := e.volume(pool)
			e.write(pool, volume, "before")
			snapshot := e.snapshot(pool, volume)
			e.write(pool, volume, "after")
			must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName,
				e.snapshotRequest(pool, snapshot, volume))
			e.holds(pool, volume, "after")
		}},
		{name: "Storage: deleting a snapshot that is gone succeeds", run: func(e *env) {
			pool := e.open("pool")
			volume := e.volume(pool)
			must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), volume))
		}},
		{name: "Storage: a snapshot of a volume that is not there is refused with NOT_FOUND", run: func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Storage_CreateSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), e.ref("volume")))
		}},
		{name: "Storage: RevertSnapshot to what is not there is refused with NOT_FOUND", run: func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Storage_RevertSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), e.volume(pool)))
		}},
	}
	all = append(all, check{
		name: "Storage: snapshots are taken, reverted and deleted while the volume is attached", run: onlineSnapshots,
		why: declared(can.GetOnlineSnapshots(), "online_snapshots"),
	})
	return append(refuses, unless(declared(can.GetSnapshots(), word), all...)...)
}

func revertKeepsLater(e *env) {
	pool := e.open("pool")
	volume := e.volume(pool)
	e.write(pool, volume, "first")
	first := e.snapshot(pool, volume)
	e.write(pool, volume, "second")
	second := e.snapshot(pool, volume)
	e.write(pool, volume, "third")
	revert := func(to *driverpb.Ref, text string) {
		e.Helper()
		reply := must[*driverpb.VolumeReply](e, driverpb.Storage_RevertSnapshot_FullMethodName,
			e.snapshotRequest(pool, to, volume))
		if reply.GetSizeBytes() != e.harness.Storage.VolumeBytes {
			e.Errorf("the reverted volume has %d bytes", reply.GetSizeBytes())
		}
		e.holds(pool, volume, text)
	}
	revert(first, "first")
	e.exists(pool, second, 1)
	revert(second, "second")
	revert(first, "first")
}

func onlineSnapshots(e *env) {
	pool := e.open("pool")
	volume := e.volume(pool)
	e.write(pool, volume, "before")
	e.attached(pool, volume)
	snapshot := e.snapshot(pool, volume)
	must[*driverpb.VolumeReply](e, driverpb.Storage_RevertSnapshot_FullMethodName,
		e.snapshotRequest(pool, snapshot, volume))
	must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName,
		e.snapshotRequest(pool, snapshot, volume))
	e.exists(pool, snapshot, 0)
	e.holds(pool, volume, "before")
}

// cloneFrom is a request to create a volume from something.
func (e *env) cloneFrom(pool scope, from *driverpb.CreateVolumeRequest) (*driverpb.Ref, *driverpb.CreateVolumeRequest) {
	e.Helper()
	ref := e.ref("volume")
	e.undoVolume(pool, ref)
	request := e.createVolume(pool, ref)
	request.Source = from.GetSource()
	if from.GetSizeBytes() > 0 {
		request.SizeBytes = from.GetSizeBytes()
	}
	return ref, request
}

func cloneChecks(h *Harness, can *driverpb.Capabilities) []check {
	create := driverpb.Storage_CreateVolume_FullMethodName
	ofImage := func(e *env) (Image, *driverpb.CreateVolumeRequest) {
		image := Image{Image: &driverpb.Image{Path: "/nowhere", Format: "raw", VirtualBytes: 1 << 20}}
		if h.Storage.Image != nil {
			image = h.Storage.Image(e.T)
			e.reach(path.Dir(image.Image.GetPath()), false) // its store, as in production
		}
		return image, &driverpb.CreateVolumeRequest{
			SizeBytes: image.Image.GetVirtualBytes(),
			Source:    &driverpb.CreateVolumeRequest_Image{Image: image.Image},
		}
	}
	const word = "clone"
	refuses := unless(undeclared(can.GetClone(), word), check{
		name: "Storage: clone is not declared and is refused with UNSUPPORTED", run: func(e *env) {
			pool := e.open("pool")
			_, from := ofImage(e)
			_, request := e.cloneFrom(pool, from)
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, create, request)
		},
	})
	images := given(h.Storage.Image != nil, "image to clone from")
	clones := []check{
		{name: "Storage: a volume created from an image begins as the image", why: images, run: func(e *env) {
			pool := e.open("pool")
			image, from := ofImage(e)
			ref, request := e.cloneFrom(pool, from)
			must[*driverpb.VolumeReply](e, create, request)
			if e.readable() {
				e.begins(pool, ref, image.Head)
			}
		}},
		{
			name: "Storage: a volume smaller than its image is refused with INVALID and the field", why: images,
			run: func(e *env) {
				pool := e.open("pool")
				_, from := ofImage(e)
				from.SizeBytes--
				ref, request := e.cloneFrom(pool, from)
				if fault := e.refused(driverpb.Class_CLASS_INVALID, create, request); fault.GetField() == "" {
					e.Errorf("fault %s names no field", fault.GetCode())
				}
				e.exists(pool, ref, 0)
			},
		},
		{
			name: "Storage: a volume created from a snapshot has its content, and its own life", run: cloneSnapshot,
			why: declared(can.GetSnapshots(), "snapshots"),
		},
	}
	return append(refuses, unless(declared(can.GetClone(), word), clones...)...)
}

func cloneSnapshot(e *env) {
	pool := e.open("pool")
	volume := e.volume(pool)
	e.write(pool, volume, "first")
	snapshot := e.snapshot(pool, volume)
	e.write(pool, volume, "second")
	ref, request := e.cloneFrom(pool, &driverpb.CreateVolumeRequest{Source: &driverpb.CreateVolumeRequest_Snapshot{
		Snapshot: &driverpb.SnapshotSource{Resource: snapshot, Handle: e.handle(snapshot)},
	}})
	must[*driverpb.VolumeReply](e, driverpb.Storage_CreateVolume_FullMethodName, request)
	e.holds(pool, ref, "first")
	e.write(pool, ref, "clone")
	e.holds(pool, volume, "second")
	gone := proto.Clone(e.snapshotRequest(pool, snapshot, volume))
	must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName, gone)
	must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteVolume_FullMethodName, e.volumeRequest(pool, volume))
	e.holds(pool, ref, "clone")
}
