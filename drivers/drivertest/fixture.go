package drivertest

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// openMethod is the method that opens a scope of a kind; closeMethod its reverse.
func openMethod(kind string) string {
	return map[string]string{
		"pool":        driverpb.Storage_OpenPool_FullMethodName,
		"image-store": driverpb.Images_OpenStore_FullMethodName,
		"host":        driverpb.Hypervisor_OpenHost_FullMethodName,
	}[kind]
}

func closeMethod(kind string) string {
	return map[string]string{
		"pool":        driverpb.Storage_ClosePool_FullMethodName,
		"image-store": driverpb.Images_CloseStore_FullMethodName,
		"host":        driverpb.Hypervisor_CloseHost_FullMethodName,
	}[kind]
}

// openRequest is the request that opens a scope.
func (e *env) openRequest(in scope) proto.Message {
	e.Helper()
	call := e.call(in.ref, in)
	switch in.ref.GetKind() {
	case "pool":
		return &driverpb.OpenPoolRequest{Call: call}
	case "image-store":
		return &driverpb.StoreRequest{Call: call}
	}
	return &driverpb.HostCallRequest{Call: call}
}

// closeRequest is the request that closes a scope.
func (e *env) closeRequest(in scope) proto.Message {
	if in.ref.GetKind() == "pool" {
		return &driverpb.PoolRequest{Call: e.call(in.ref, in)}
	}
	return e.openRequest(in)
}

// newScope describes a scope that is not open yet.
func (e *env) newScope(kind string) scope {
	e.Helper()
	in := scope{ref: e.ref(kind)}
	switch kind {
	case "pool":
		in.properties, in.secrets = e.harness.Storage.Pool(e.T), e.harness.Storage.Secrets
	case "image-store":
		in.properties, in.secrets = e.harness.Images.Store(e.T), e.harness.Images.Secrets
	case "host":
		in.properties, in.secrets = e.harness.Hypervisor.Host(e.T), e.harness.Hypervisor.Secrets
	case "network":
		in.secrets = e.harness.Networks.Secrets
		if e.harness.Networks.Properties != nil {
			in.properties = e.harness.Networks.Properties(e.T)
		}
	}
	return in
}

// open opens a new scope of a kind and closes it at the end of the check.
func (e *env) open(kind string) scope {
	e.Helper()
	in := e.newScope(kind)
	e.opens(in)
	if _, err := e.try(openMethod(kind), e.openRequest(in)); err != nil {
		e.Fatalf("opening a %s: %v", kind, err)
	}
	return in
}

// opens notes that a scope is about to be opened.
func (e *env) opens(in scope) {
	e.opened = append(e.opened, in)
	e.undo(closeMethod(in.ref.GetKind()), func() proto.Message { return e.closeRequest(in) })
}

// forget says that a scope is closed for good.
func (e *env) forget(in scope) {
	e.opened = slices.DeleteFunc(e.opened, func(s scope) bool { return s.ref == in.ref })
}

// observe lists what is in a scope.
func (e *env) observe(in scope) ([]*driverpb.Observed, error) {
	e.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	stream, err := driverpb.NewBaseClient(e.conn()).Observe(ctx,
		&driverpb.ObserveRequest{Call: e.call(in.ref, in)})
	if err != nil {
		return nil, err
	}
	var all []*driverpb.Observed
	for {
		one, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			e.checkFault("/Base/Observe", err)
			return nil, err
		}
		all = append(all, one)
	}
}

// observed finds a resource among what is in a scope; how often tells whether it is there once.
func (e *env) observed(in scope, ref *driverpb.Ref) (found *driverpb.Observed, times int) {
	e.Helper()
	all, err := e.observe(in)
	if err != nil {
		e.Fatalf("observing %s: %v", nameOf(in.ref), err)
	}
	for _, one := range all {
		if one.GetResource().GetKind() == ref.GetKind() && one.GetResource().GetId() == ref.GetId() {
			found, times = one, times+1
		}
	}
	return found, times
}

// exists holds observation and truth to a number: 0 or 1.
func (e *env) exists(in scope, ref *driverpb.Ref, want int) {
	e.Helper()
	if _, times := e.observed(in, ref); times != want {
		e.Errorf("observe lists %s %d times, want %d", nameOf(ref), times, want)
	}
	if e.harness.Truth == nil {
		return
	}
	if got := e.harness.Truth.Count(e.T, ref.GetKind(), ref.GetId()); got != want {
		e.Errorf("%s really exists %d times, want %d", nameOf(ref), got, want)
	}
}

// effects holds the truth, if it knows, to the number of effects of a token.
func (e *env) effects(token string, most int) {
	e.Helper()
	truth, ok := e.harness.Truth.(EffectTruth)
	if !ok {
		return
	}
	if got := truth.Effects(e.T, token); got > most {
		e.Errorf("token %s took effect %d times, want at most %d", token, got, most)
	}
}

// poolRef is a pool as context, with its handle.
func (e *env) poolRef(in scope) *driverpb.PoolRef {
	return &driverpb.PoolRef{Resource: in.ref, Handle: e.handle(in.ref)}
}

func (e *env) createVolume(in scope, ref *driverpb.Ref) *driverpb.CreateVolumeRequest {
	e.Helper()
	return &driverpb.CreateVolumeRequest{
		Call: e.call(ref, in), Pool: e.poolRef(in), SizeBytes: e.harness.Storage.VolumeBytes,
	}
}

func (e *env) volumeRequest(in scope, ref *driverpb.Ref) *driverpb.VolumeRequest {
	e.Helper()
	return &driverpb.VolumeRequest{Call: e.call(ref, in), Pool: e.poolRef(in)}
}

func (e *env) attachRequest(in scope, ref *driverpb.Ref) *driverpb.AttachVolumeRequest {
	e.Helper()
	return &driverpb.AttachVolumeRequest{Call: e.call(ref, in), Pool: e.poolRef(in), Host: e.harness.Storage.Host}
}

// undoVolume deletes a volume at the end of the check, whether or not it was made.
func (e *env) undoVolume(in scope, ref *driverpb.Ref) {
	e.undo(driverpb.Storage_DeleteVolume_FullMethodName, func() proto.Message { return e.volumeRequest(in, ref) })
	e.undo(driverpb.Storage_DetachVolume_FullMethodName, func() proto.Message { return e.attachRequest(in, ref) })
}

// volume makes a volume.
func (e *env) volume(in scope) *driverpb.Ref {
	e.Helper()
	ref := e.ref("volume")
	e.undoVolume(in, ref)
	must[*driverpb.VolumeReply](e, driverpb.Storage_CreateVolume_FullMethodName, e.createVolume(in, ref))
	return ref
}

// attached attaches a volume and says how to open it.
func (e *env) attached(in scope, ref *driverpb.Ref) *driverpb.Disk {
	e.Helper()
	reply := must[*driverpb.VolumeReply](e, driverpb.Storage_AttachVolume_FullMethodName, e.attachRequest(in, ref))
	if reply.GetDisk().GetPath() == "" {
		e.Fatalf("attaching says nothing of how to open the volume: %v", reply.GetDisk())
	}
	return reply.GetDisk()
}

func (e *env) statVolume(in scope, ref *driverpb.Ref) *driverpb.VolumeReply {
	e.Helper()
	return must[*driverpb.VolumeReply](e, driverpb.Storage_StatVolume_FullMethodName, e.volumeRequest(in, ref))
}

func (e *env) snapshotRequest(in scope, snapshot, volume *driverpb.Ref) *driverpb.SnapshotRequest {
	e.Helper()
	return &driverpb.SnapshotRequest{
		Call: e.call(snapshot, in), Pool: e.poolRef(in), Volume: volume, VolumeHandle: e.handle(volume),
	}
}

// snapshot takes a snapshot.
func (e *env) snapshot(in scope, volume *driverpb.Ref) *driverpb.Ref {
	e.Helper()
	ref := e.ref("snapshot")
	e.undoSnapshot(in, ref, volume)
	must[*driverpb.SnapshotReply](e, driverpb.Storage_CreateSnapshot_FullMethodName, e.snapshotRequest(in, ref, volume))
	return ref
}

func (e *env) undoSnapshot(in scope, ref, volume *driverpb.Ref) {
	e.undo(driverpb.Storage_DeleteSnapshot_FullMethodName, func() proto.Message {
		return e.snapshotRequest(in, ref, volume)
	})
}

// readable tells whether the harness can look at what is on volumes.
func (e *env) readable() bool { return e.harness.Storage.Read != nil && e.harness.Storage.Write != nil }

// write puts a page of text on a volume and detaches it again; it does nothing when the harness can't write.
func (e *env) write(in scope, volume *driverpb.Ref, text string) {
	e.Helper()
	if !e.readable() {
		return
	}
	e.harness.Storage.Write(e.T, e.attached(in, volume), page(text))
	e.detach(in, volume)
}

// holds asserts what is on a volume.
func (e *env) holds(in scope, volume *driverpb.Ref, text string) {
	e.Helper()
	if !e.readable() {
		return
	}
	e.begins(in, volume, page(text))
}

// begins asserts with what bytes a volume begins.
func (e *env) begins(in scope, volume *driverpb.Ref, want []byte) {
	e.Helper()
	got := e.harness.Storage.Read(e.T, e.attached(in, volume), len(want))
	if !bytes.Equal(got, want) {
		e.Errorf("volume %s begins with %.40q, want %.40q", volume.GetId(), got, want)
	}
	e.detach(in, volume)
}

func (e *env) detach(in scope, volume *driverpb.Ref) {
	e.Helper()
	must[*driverpb.OutcomeReply](e, driverpb.Storage_DetachVolume_FullMethodName, e.attachRequest(in, volume))
}

// page is a text in a block of zeros.
func page(text string) []byte {
	block := make([]byte, 4096)
	copy(block, text)
	return block
}
