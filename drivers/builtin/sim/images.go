package sim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// images serves image stores and templates.
type images struct {
	driverpb.UnimplementedImagesServer
	driver *driver
}

func imageFormats() []string { return []string{"raw", "qcow2", "iso"} }

// OpenStore implements driverpb.ImagesServer.
func (s *images) OpenStore(ctx context.Context, r *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	call := r.GetCall()
	if err := wantKind(call, simworld.KindStore); err != nil {
		return nil, err
	}
	capacity, err := properties(call.GetProperties().GetFields()).number(propCapacity, defaultCapacity, 1<<53)
	if err != nil {
		return nil, err
	}
	want := simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindStore, ID: call.GetResource().GetId()},
		State: simworld.Present, Bytes: capacity, Detail: &simworld.Detail{},
	}
	return act(ctx, s.driver, "OpenStore", call, func(tx *simworld.Tx) (*driverpb.StoreReply, error) {
		o, err := openScope(tx, want)
		if err != nil {
			return nil, err
		}
		return storeReply(tx, o), nil
	})
}

func storeReply(tx *simworld.Tx, o simworld.Object) *driverpb.StoreReply {
	return &driverpb.StoreReply{
		Handle: handleOf(o), TotalBytes: o.Bytes, UsedBytes: tx.Load(simworld.KindStore, o.ID),
	}
}

// CloseStore implements driverpb.ImagesServer.
func (s *images) CloseStore(ctx context.Context, r *driverpb.StoreRequest) (*driverpb.OutcomeReply, error) {
	return closeScope(ctx, s.driver, "CloseStore", simworld.KindStore, "close", r.GetCall())
}

// StatStore implements driverpb.ImagesServer.
func (s *images) StatStore(ctx context.Context, r *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	if err := wantKind(r.GetCall(), simworld.KindStore); err != nil {
		return nil, err
	}
	return look(ctx, s.driver, "StatStore", r.GetCall(), func(tx *simworld.Tx) (*driverpb.StoreReply, error) {
		key := simworld.Key{Kind: simworld.KindStore, ID: r.GetCall().GetResource().GetId()}
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		return storeReply(tx, o), nil
	})
}

// templateKey returns where the template of a call is.
func templateKey(call *driverpb.Call, store *driverpb.StoreRef) (simworld.Key, error) {
	if err := wantKind(call, simworld.KindTemplate); err != nil {
		return simworld.Key{}, err
	}
	id, err := wantRef(store.GetResource(), simworld.KindStore, "/store/resource")
	return simworld.Key{Kind: simworld.KindTemplate, Scope: id, ID: call.GetResource().GetId()}, err
}

// ImportTemplate implements driverpb.ImagesServer.
func (s *images) ImportTemplate(
	ctx context.Context, r *driverpb.ImportTemplateRequest,
) (*driverpb.TemplateReply, error) {
	key, err := templateKey(r.GetCall(), r.GetStore())
	if err != nil {
		return nil, err
	}
	if err := checkImport(r); err != nil {
		return nil, err
	}
	found, fetchErr := fetch(ctx, r)
	want := simworld.Object{
		Key: key, State: simworld.Present, Format: r.GetFormat(), Bytes: found.fileBytes,
		Content: "template:" + found.checksum,
		Detail:  &simworld.Detail{Virtual: found.virtualBytes, Checksum: found.checksum, Shape: sourceOf(r)},
	}
	keep := func(tx *simworld.Tx) (*driverpb.TemplateReply, error) {
		o, found := tx.Get(key)
		switch {
		case found: // and its source may well be consumed
			return sameTemplate(o, r)
		case fetchErr != nil:
			return nil, fetchErr
		}
		return answer(tx.Create(&want), func() *driverpb.TemplateReply { return templateReply(want) })
	}
	reply, err := act(ctx, s.driver, "ImportTemplate", r.GetCall(), keep)
	if err != nil {
		return nil, err
	}
	return reply, consume(r)
}

func sameTemplate(o simworld.Object, r *driverpb.ImportTemplateRequest) (*driverpb.TemplateReply, error) {
	same := o.Format == r.GetFormat() && o.Detail != nil && o.Detail.Shape == sourceOf(r) &&
		(r.GetChecksum() == "" || r.GetChecksum() == o.Detail.Checksum || !strings.HasPrefix(r.GetChecksum(), "sha256:"))
	if !same {
		return nil, sdk.Conflict("template-exists", "the template exists with another source, format or checksum",
			"delete it, or import under another id")
	}
	return templateReply(o), nil
}

// sourceOf is where a template came from, to compare with.
func sourceOf(r *driverpb.ImportTemplateRequest) string {
	return r.GetUrl() + r.GetFile() + r.GetUpload()
}

func checkImport(r *driverpb.ImportTemplateRequest) error {
	if !slices.Contains(imageFormats(), r.GetFormat()) {
		return sdk.Invalid("unknown-format", "/format", fmt.Sprintf("want one of %v", imageFormats()), "")
	}
	if sourceOf(r) == "" {
		return sdk.Invalid("no-source", "/url", "name a url, a file or an upload", "")
	}
	algorithm, digest, _ := strings.Cut(r.GetChecksum(), ":")
	lengths := map[string]int{"sha256": sha256.Size, "sha512": 2 * sha256.Size}
	raw, err := hex.DecodeString(digest)
	switch {
	case r.GetChecksum() == "" && r.GetUrl() == "":
		return nil
	case r.GetChecksum() == "":
		return sdk.Invalid("no-checksum", "/checksum", "a download needs a checksum", "give sha256:<hex>")
	case err != nil || lengths[algorithm] == 0 || len(raw) != lengths[algorithm]:
		return sdk.Invalid("bad-checksum", "/checksum", "want sha256:<hex> or sha512:<hex>", "")
	}
	return nil
}

func templateReply(o simworld.Object) *driverpb.TemplateReply {
	reply := &driverpb.TemplateReply{
		Handle: handleOf(o), Format: o.Format, FileBytes: o.Bytes, Path: simworld.PathOf(o.Key),
	}
	if o.Detail != nil {
		reply.VirtualBytes, reply.Checksum = o.Detail.Virtual, o.Detail.Checksum
	}
	return reply
}

// StatTemplate implements driverpb.ImagesServer.
func (s *images) StatTemplate(
	ctx context.Context, r *driverpb.TemplateRequest,
) (*driverpb.TemplateReply, error) {
	key, err := templateKey(r.GetCall(), r.GetStore())
	if err != nil {
		return nil, err
	}
	return look(ctx, s.driver, "StatTemplate", r.GetCall(), func(tx *simworld.Tx) (*driverpb.TemplateReply, error) {
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		return templateReply(o), nil
	})
}

// DeleteTemplate implements driverpb.ImagesServer.
func (s *images) DeleteTemplate(
	ctx context.Context, r *driverpb.TemplateRequest,
) (*driverpb.OutcomeReply, error) {
	key, err := templateKey(r.GetCall(), r.GetStore())
	if err != nil {
		return nil, err
	}
	return removal(ctx, s.driver, "DeleteTemplate", "delete", r.GetCall(), key)
}
