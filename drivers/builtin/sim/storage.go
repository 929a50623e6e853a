package sim

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// storage serves pools, volumes and snapshots.
type storage struct {
	driverpb.UnimplementedStorageServer
	driver *driver
}

func volumeFormats() []string { return []string{"raw", "qcow2"} }

// wantKind refuses a call whose resource is of another kind than the method is about.
func wantKind(call *driverpb.Call, kind string) error {
	if got := call.GetResource().GetKind(); got != kind {
		return sdk.Invalid("wrong-kind", "/call/resource/kind", fmt.Sprintf("want a %s, got a %q", kind, got), "")
	}
	return nil
}

// wantRef returns the id a reference must have; field is where the request has it.
func wantRef(ref *driverpb.Ref, kind, field string) (string, error) {
	if ref.GetId() == "" || ref.GetKind() != kind {
		return "", sdk.Invalid("wrong-reference", "/call"+field, fmt.Sprintf("want a %s, got %q %q",
			kind, ref.GetKind(), ref.GetId()), "")
	}
	return ref.GetId(), nil
}

// inPool returns the key of a call's resource in the pool of the call.
func inPool(call *driverpb.Call, pool *driverpb.PoolRef, kind string) (simworld.Key, error) {
	if err := wantKind(call, kind); err != nil {
		return simworld.Key{}, err
	}
	id, err := wantRef(pool.GetResource(), simworld.KindPool, "/pool/resource")
	return simworld.Key{Kind: kind, Scope: id, ID: call.GetResource().GetId()}, err
}

// OpenPool implements driverpb.StorageServer.
func (s *storage) OpenPool(ctx context.Context, r *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error) {
	call := r.GetCall()
	if err := wantKind(call, simworld.KindPool); err != nil {
		return nil, err
	}
	p := properties(call.GetProperties().GetFields())
	if err := checkAccessKey(call.GetSecrets()); err != nil {
		return nil, err
	}
	capacity, err := p.number(propCapacity, defaultCapacity, 1<<53)
	if err != nil {
		return nil, err
	}
	thin, err := p.flag(propThin)
	if err != nil {
		return nil, err
	}
	want := simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindPool, ID: call.GetResource().GetId()},
		State: simworld.Present, Bytes: capacity, Detail: &simworld.Detail{Thin: thin},
	}
	return act(ctx, s.driver, "OpenPool", call, func(tx *simworld.Tx) (*driverpb.PoolReply, error) {
		o, err := openScope(tx, want)
		if err != nil {
			return nil, err
		}
		return poolReply(tx, o), nil
	})
}

// openScope makes a pool, store or host, or gives one that is there other properties.
func openScope(tx *simworld.Tx, want simworld.Object) (simworld.Object, error) {
	o, found := tx.Get(want.Key)
	switch {
	case !found:
		err := tx.Create(&want)
		return want, err
	case o.Bytes == want.Bytes && o.Detail != nil && o.Detail.Thin == want.Detail.Thin &&
		o.Detail.Cpus == want.Detail.Cpus:
		return o, nil
	}
	o.Bytes, o.Detail = want.Bytes, want.Detail
	err := tx.Change("open", &o)
	return o, err
}

// closeScope removes a pool, store, host or network, unless something is in it.
func closeScope(
	ctx context.Context, d *driver, method, kind, effect string, call *driverpb.Call,
) (*driverpb.OutcomeReply, error) {
	if err := wantKind(call, kind); err != nil {
		return nil, err
	}
	return removal(ctx, d, method, effect, call, simworld.Key{Kind: kind, ID: call.GetResource().GetId()})
}

// removal removes what is there and succeeds when it is not.
func removal(
	ctx context.Context, d *driver, method, effect string, call *driverpb.Call, key simworld.Key,
) (*driverpb.OutcomeReply, error) {
	return act(ctx, d, method, call, func(tx *simworld.Tx) (*driverpb.OutcomeReply, error) {
		if _, found := tx.Get(key); !found {
			return &driverpb.OutcomeReply{}, nil
		}
		return &driverpb.OutcomeReply{}, tx.Remove(effect, key)
	})
}

// ClosePool implements driverpb.StorageServer.
func (s *storage) ClosePool(ctx context.Context, r *driverpb.PoolRequest) (*driverpb.OutcomeReply, error) {
	return closeScope(ctx, s.driver, "ClosePool", simworld.KindPool, "close", r.GetCall())
}

// StatPool implements driverpb.StorageServer.
func (s *storage) StatPool(ctx context.Context, r *driverpb.PoolRequest) (*driverpb.PoolReply, error) {
	call := r.GetCall()
	if err := wantKind(call, simworld.KindPool); err != nil {
		return nil, err
	}
	return look(ctx, s.driver, "StatPool", call, func(tx *simworld.Tx) (*driverpb.PoolReply, error) {
		key := simworld.Key{Kind: simworld.KindPool, ID: call.GetResource().GetId()}
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		return poolReply(tx, o), nil
	})
}

func poolReply(tx *simworld.Tx, o simworld.Object) *driverpb.PoolReply {
	facts := map[string]string{"backend": "simulated", "provisioning": "thick"}
	if o.Detail != nil && o.Detail.Thin {
		facts["provisioning"] = "thin"
	}
	return &driverpb.PoolReply{
		Handle: handleOf(o), TotalBytes: o.Bytes, UsedBytes: tx.Load(simworld.KindPool, o.ID), Facts: facts,
	}
}

// CreateVolume implements driverpb.StorageServer.
func (s *storage) CreateVolume(
	ctx context.Context, r *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	key, err := inPool(r.GetCall(), r.GetPool(), simworld.KindVolume)
	if err != nil {
		return nil, err
	}
	want := simworld.Object{Key: key, State: simworld.Present, Format: r.GetFormat(), Bytes: r.GetSizeBytes()}
	if want.Format == "" {
		want.Format = volumeFormats()[0]
	}
	if !slices.Contains(volumeFormats(), want.Format) {
		return nil, sdk.Invalid("unknown-format", "/format", "the pool keeps volumes as "+fmt.Sprint(volumeFormats()), "")
	}
	asked := properties(r.GetCall().GetProperties().GetFields())
	if _, err := asked.compressed(0); err != nil {
		return nil, err
	}
	if err := checkSecret(r.GetCall().GetSecrets(), propPassphrase); err != nil {
		return nil, err
	}
	if want.Bytes == 0 {
		return nil, sdk.Invalid("no-size", "/sizeBytes", "a volume has at least one byte", "")
	}
	return act(ctx, s.driver, "CreateVolume", r.GetCall(), func(tx *simworld.Tx) (*driverpb.VolumeReply, error) {
		o, found := tx.Get(key)
		if found {
			return existingVolume(o, want)
		}
		written, err := source(tx, r, &want)
		if err != nil {
			return nil, err
		}
		want.Allocated = want.Bytes
		pool, _ := tx.Get(simworld.Key{Kind: simworld.KindPool, ID: key.Scope})
		if pool.Detail != nil && pool.Detail.Thin {
			want.Allocated = written
		}
		if want.Allocated, err = asked.compressed(want.Allocated); err != nil {
			return nil, err
		}
		return answer(tx.Create(&want), func() *driverpb.VolumeReply { return volumeReply(want, nil) })
	})
}

func existingVolume(o, want simworld.Object) (*driverpb.VolumeReply, error) {
	if o.Bytes == want.Bytes && o.Format == want.Format {
		return volumeReply(o, nil), nil
	}
	return nil, sdk.Conflict("volume-exists",
		fmt.Sprintf("volume %s exists with %d bytes as %s", o.ID, o.Bytes, o.Format),
		"delete it, or ask for it as it is")
}

// source fills a new volume from what the request names and says how many bytes that wrote.
func source(tx *simworld.Tx, r *driverpb.CreateVolumeRequest, want *simworld.Object) (written uint64, err error) {
	switch from := r.GetSource().(type) {
	case *driverpb.CreateVolumeRequest_Image:
		written = from.Image.GetVirtualBytes()
		want.Content, err = imageContent(tx, from.Image)
	case *driverpb.CreateVolumeRequest_Snapshot:
		key := simworld.Key{Kind: simworld.KindSnapshot, Scope: want.Scope, ID: from.Snapshot.GetResource().GetId()}
		snapshot, found := tx.Get(key)
		if !found {
			return 0, absent(key)
		}
		written, want.Content = snapshot.Bytes, snapshot.Content
	}
	if err == nil && written > want.Bytes {
		return 0, sdk.Invalid("smaller-than-source", "/sizeBytes",
			fmt.Sprintf("the source has %d bytes", written), "ask for at least that size")
	}
	return written, err
}

// imageContent reads a template: a simulated one from the world; of a real file it is enough to know which.
func imageContent(tx *simworld.Tx, image *driverpb.Image) (string, error) {
	if image.GetPath() == "" {
		return "", sdk.Invalid("image-missing", "/templateId", "the image has no path", "")
	}
	key, simulated := simworld.KeyAt(simworld.KindTemplate, image.GetPath())
	if !simulated {
		return "file:" + image.GetPath(), nil
	}
	template, found := tx.Get(key)
	if !found {
		return "", absent(key)
	}
	return template.Content, nil
}

// StatVolume implements driverpb.StorageServer.
func (s *storage) StatVolume(ctx context.Context, r *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	key, err := inPool(r.GetCall(), r.GetPool(), simworld.KindVolume)
	if err != nil {
		return nil, err
	}
	return look(ctx, s.driver, "StatVolume", r.GetCall(), func(tx *simworld.Tx) (*driverpb.VolumeReply, error) {
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		return volumeReply(o, nil), nil
	})
}

// GrowVolume implements driverpb.StorageServer.
func (s *storage) GrowVolume(ctx context.Context, r *driverpb.GrowVolumeRequest) (*driverpb.VolumeReply, error) {
	key, err := inPool(r.GetCall(), r.GetPool(), simworld.KindVolume)
	if err != nil {
		return nil, err
	}
	return act(ctx, s.driver, "GrowVolume", r.GetCall(), func(tx *simworld.Tx) (*driverpb.VolumeReply, error) {
		o, err := grow(tx, key, r.GetSizeBytes())
		if err != nil {
			return nil, err
		}
		return volumeReply(o, nil), nil
	})
}

// grow makes a volume at least that large.
func grow(tx *simworld.Tx, key simworld.Key, size uint64) (simworld.Object, error) {
	o, found := tx.Get(key)
	switch {
	case !found:
		return o, absent(key)
	case size <= o.Bytes:
		return o, nil
	}
	if o.Allocated == o.Bytes { // thick stays thick
		o.Allocated = size
	}
	o.Bytes = size
	err := tx.Change("grow", &o)
	return o, err
}

// DeleteVolume implements driverpb.StorageServer.
func (s *storage) DeleteVolume(ctx context.Context, r *driverpb.VolumeRequest) (*driverpb.OutcomeReply, error) {
	key, err := inPool(r.GetCall(), r.GetPool(), simworld.KindVolume)
	if err != nil {
		return nil, err
	}
	return removal(ctx, s.driver, "DeleteVolume", "delete", r.GetCall(), key)
}

// AttachVolume implements driverpb.StorageServer.
func (s *storage) AttachVolume(
	ctx context.Context, r *driverpb.AttachVolumeRequest,
) (*driverpb.VolumeReply, error) {
	key, host, err := attachment(r)
	if err != nil {
		return nil, err
	}
	want := simworld.Export{Host: host, ReadOnly: r.GetReadOnly()}
	return act(ctx, s.driver, "AttachVolume", r.GetCall(), func(tx *simworld.Tx) (*driverpb.VolumeReply, error) {
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		if o.Detail == nil {
			o.Detail = &simworld.Detail{}
		}
		if slices.Contains(o.Detail.Exports, want) {
			return volumeReply(o, &want), nil
		}
		o.Detail.Exports = append(without(o.Detail.Exports, host), want)
		return answer(tx.Change("attach", &o), func() *driverpb.VolumeReply { return volumeReply(o, &want) })
	})
}

// DetachVolume implements driverpb.StorageServer.
func (s *storage) DetachVolume(
	ctx context.Context, r *driverpb.AttachVolumeRequest,
) (*driverpb.OutcomeReply, error) {
	key, host, err := attachment(r)
	if err != nil {
		return nil, err
	}
	return act(ctx, s.driver, "DetachVolume", r.GetCall(), func(tx *simworld.Tx) (*driverpb.OutcomeReply, error) {
		o, found := tx.Get(key)
		if !found {
			return &driverpb.OutcomeReply{}, nil
		}
		if o.Detail == nil || len(without(o.Detail.Exports, host)) == len(o.Detail.Exports) {
			return &driverpb.OutcomeReply{Handle: handleOf(o)}, nil
		}
		if o.Detail.Exports = without(o.Detail.Exports, host); len(o.Detail.Exports) == 0 {
			o.Detail = nil
		}
		return answer(tx.Change("detach", &o), func() *driverpb.OutcomeReply {
			return &driverpb.OutcomeReply{Handle: handleOf(o)}
		})
	})
}

func attachment(r *driverpb.AttachVolumeRequest) (key simworld.Key, host string, err error) {
	if key, err = inPool(r.GetCall(), r.GetPool(), simworld.KindVolume); err != nil {
		return key, "", err
	}
	host, err = wantRef(r.GetHost(), simworld.KindHost, "/host")
	return key, host, err
}

// without returns a copy of exports without those to a host.
func without(exports []simworld.Export, host string) []simworld.Export {
	return slices.DeleteFunc(slices.Clone(exports), func(e simworld.Export) bool { return e.Host == host })
}

func volumeReply(o simworld.Object, export *simworld.Export) *driverpb.VolumeReply {
	return &driverpb.VolumeReply{
		Handle: handleOf(o), SizeBytes: o.Bytes, AllocatedBytes: o.Allocated,
		Disk: &driverpb.Disk{
			Protocol: simworld.Protocol, Path: simworld.PathOf(o.Key), Format: o.Format,
			ReadOnly: export != nil && export.ReadOnly,
		},
	}
}
