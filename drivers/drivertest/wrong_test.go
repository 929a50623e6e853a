package drivertest_test

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// wrongStorage is the category with some methods replaced; those that are nil are right.
type wrongStorage struct {
	driverpb.StorageServer
	create func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error)
	remove func(context.Context, *driverpb.VolumeRequest) (*driverpb.OutcomeReply, error)
	stat   func(context.Context, *driverpb.VolumeRequest) (*driverpb.VolumeReply, error)
	grow   func(context.Context, *driverpb.GrowVolumeRequest) (*driverpb.VolumeReply, error)
	revert func(context.Context, *driverpb.SnapshotRequest) (*driverpb.VolumeReply, error)
	closes func(context.Context, *driverpb.PoolRequest) (*driverpb.OutcomeReply, error)
}

func or[R, A any](
	f, right func(context.Context, R) (A, error),
) func(context.Context, R) (A, error) {
	if f == nil {
		return right
	}
	return f
}

func (w *wrongStorage) CreateVolume(
	ctx context.Context, r *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	return or(w.create, w.StorageServer.CreateVolume)(ctx, r)
}

func (w *wrongStorage) DeleteVolume(ctx context.Context, r *driverpb.VolumeRequest) (*driverpb.OutcomeReply, error) {
	return or(w.remove, w.StorageServer.DeleteVolume)(ctx, r)
}

func (w *wrongStorage) StatVolume(ctx context.Context, r *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	return or(w.stat, w.StorageServer.StatVolume)(ctx, r)
}

func (w *wrongStorage) GrowVolume(ctx context.Context, r *driverpb.GrowVolumeRequest) (*driverpb.VolumeReply, error) {
	return or(w.grow, w.StorageServer.GrowVolume)(ctx, r)
}

func (w *wrongStorage) RevertSnapshot(ctx context.Context, r *driverpb.SnapshotRequest) (*driverpb.VolumeReply, error) {
	return or(w.revert, w.StorageServer.RevertSnapshot)(ctx, r)
}

func (w *wrongStorage) ClosePool(ctx context.Context, r *driverpb.PoolRequest) (*driverpb.OutcomeReply, error) {
	return or(w.closes, w.StorageServer.ClosePool)(ctx, r)
}

// wrongBase is the driver's part of Base with some methods replaced.
type wrongBase struct {
	sdk.Resources
	observe func(*driverpb.Observed) []*driverpb.Observed
	adopt   func(context.Context, *driverpb.Call) (*driverpb.Handle, error)
}

func (w *wrongBase) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	return w.Resources.Observe(ctx, call, func(o *driverpb.Observed) error {
		if w.observe == nil {
			return found(o)
		}
		var errs []error
		for _, one := range w.observe(o) {
			errs = append(errs, found(one))
		}
		return errors.Join(errs...)
	})
}

func (w *wrongBase) Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return or(w.adopt, w.Resources.Adopt)(ctx, call)
}

// wrongNetworks and wrongImages replace what their bugs are about.
type wrongNetworks struct{ driverpb.NetworksServer }

// ApplyRules forgets to look at the rules.
func (w wrongNetworks) ApplyRules(ctx context.Context, r *driverpb.RulesRequest) (*driverpb.OutcomeReply, error) {
	r, _ = proto.Clone(r).(*driverpb.RulesRequest)
	r.Rules = nil
	return w.NetworksServer.ApplyRules(ctx, r)
}

type wrongImages struct{ driverpb.ImagesServer }

// ImportTemplate forgets the checksum.
func (w wrongImages) ImportTemplate(
	ctx context.Context, r *driverpb.ImportTemplateRequest,
) (*driverpb.TemplateReply, error) {
	r, _ = proto.Clone(r).(*driverpb.ImportTemplateRequest)
	if r.GetUrl() == "" {
		r.Checksum = ""
	}
	return w.ImagesServer.ImportTemplate(ctx, r)
}
