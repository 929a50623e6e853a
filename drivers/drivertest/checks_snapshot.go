package drivertest

import (
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func growChecks(can *driverpb.Capabilities) []check {
	grow := driverpb.Storage_GrowVolume_FullMethodName
	request := func(e *env, pool scope, ref *driverpb.Ref, size uint64) *driverpb.GrowVolumeRequest {
		return &driverpb.GrowVolumeRequest{Call: e.call(ref, pool), Pool: e.poolRef(pool), SizeBytes: size}
	}
	if !can.GetGrow() {
		return []check{{"Storage: GrowVolume is not declared and is refused with UNSUPPORTED", func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, grow, request(e, pool, e.volume(pool), 1<<30))
		}}}
	}
	return []check{
		{"Storage: GrowVolume never makes a volume smaller", func(e *env) {
			pool := e.open("pool")
			ref, size := e.volume(pool), e.harness.Storage.VolumeBytes
			e.write(pool, ref, "kept")
			reply := must[*driverpb.VolumeReply](e, grow, request(e, pool, ref, size/2))
			if got := e.statVolume(pool, ref).GetSizeBytes(); got != size || reply.GetSizeBytes() != size {
				e.Errorf("grown to half its size it answers %d and has %d bytes, want %d", reply.GetSizeBytes(), got, size)
			}
			e.holds(pool, ref, "kept")
		}},
		{"Storage: GrowVolume keeps what is written", func(e *env) {
			pool := e.open("pool")
			ref, size := e.volume(pool), 2*e.harness.Storage.VolumeBytes
			e.write(pool, ref, "kept")
			reply := must[*driverpb.VolumeReply](e, grow, request(e, pool, ref, size))
			if reply.GetSizeBytes() != size {
				e.Errorf("answers %d bytes, want %d", reply.GetSizeBytes(), size)
			}
			e.holds(pool, ref, "kept")
		}},
		{"Storage: GrowVolume of what is not there is refused with NOT_FOUND", func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_NOT_FOUND, grow, request(e, pool, e.ref("volume"), 1<<20))
		}},
	}
}

func snapshotChecks(can *driverpb.Capabilities) []check {
	if !can.GetSnapshots() {
		return []check{{"Storage: snapshots are not declared and are refused with UNSUPPORTED", func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, driverpb.Storage_CreateSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), e.volume(pool)))
		}}}
	}
	all := []check{
		{"Storage: RevertSnapshot restores the content, and later snapshots stay", revertKeepsLater},
		{"Storage: Observe lists snapshots", func(e *env) {
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
		{"Storage: deleting a snapshot leaves the volume as it is", func(e *env) {
			pool := e.open("pool")
			volume := e.volume(pool)
			e.write(pool, volume, "before")
			snapshot := e.snapshot(pool, volume)
			e.write(pool, volume, "after")
			must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName,
				e.snapshotRequest(pool, snapshot, volume))
			e.holds(pool, volume, "after")
		}},
		{"Storage: deleting a snapshot that is gone succeeds", func(e *env) {
			pool := e.open("pool")
			volume := e.volume(pool)
			must[*driverpb.OutcomeReply](e, driverpb.Storage_DeleteSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), volume))
		}},
		{"Storage: a snapshot of a volume that is not there is refused with NOT_FOUND", func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Storage_CreateSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), e.ref("volume")))
		}},
		{"Storage: RevertSnapshot to what is not there is refused with NOT_FOUND", func(e *env) {
			pool := e.open("pool")
			e.refused(driverpb.Class_CLASS_NOT_FOUND, driverpb.Storage_RevertSnapshot_FullMethodName,
				e.snapshotRequest(pool, e.ref("snapshot"), e.volume(pool)))
		}},
	}
	if can.GetOnlineSnapshots() {
		all = append(all, check{
			"Storage: snapshots are taken, reverted and deleted while the volume is attached", onlineSnapshots,
		})
	}
	return all
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
			image = h.Storage.Image(e.TB)
		}
		return image, &driverpb.CreateVolumeRequest{
			SizeBytes: image.Image.GetVirtualBytes(),
			Source:    &driverpb.CreateVolumeRequest_Image{Image: image.Image},
		}
	}
	if !can.GetClone() {
		return []check{{"Storage: clone is not declared and is refused with UNSUPPORTED", func(e *env) {
			pool := e.open("pool")
			_, from := ofImage(e)
			_, request := e.cloneFrom(pool, from)
			e.refused(driverpb.Class_CLASS_UNSUPPORTED, create, request)
		}}}
	}
	all := []check{}
	if h.Storage.Image != nil {
		all = append(all, check{"Storage: a volume created from an image begins as the image", func(e *env) {
			pool := e.open("pool")
			image, from := ofImage(e)
			ref, request := e.cloneFrom(pool, from)
			must[*driverpb.VolumeReply](e, create, request)
			if e.readable() {
				e.begins(pool, ref, image.Head)
			}
		}}, check{"Storage: a volume smaller than its image is refused with INVALID and the field", func(e *env) {
			pool := e.open("pool")
			_, from := ofImage(e)
			from.SizeBytes--
			ref, request := e.cloneFrom(pool, from)
			if fault := e.refused(driverpb.Class_CLASS_INVALID, create, request); fault.GetField() == "" {
				e.Errorf("fault %s names no field", fault.GetCode())
			}
			e.exists(pool, ref, 0)
		}})
	}
	if can.GetSnapshots() {
		all = append(all, check{"Storage: a volume created from a snapshot has its content, and its own life", cloneSnapshot})
	}
	return all
}

func cloneSnapshot(e *env) {
	pool := e.open("pool")
	volume := e.volume(pool)
	e.write(pool, volume, "first")
	snapshot := e.snapshot(pool, volume)
	e.write(pool, volume, "second")
	ref, request := e.cloneFrom(pool, &driverpb.CreateVolumeRequest{Source: &driverpb.CreateVolumeRequest_Snapshot{
		Snapshot: &driverpb.SnapshotSource{Resource: snapshot, Handle: e.handles[nameOf(snapshot)]},
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
