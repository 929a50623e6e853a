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
	opens  func(context.Context, *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error)
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

func (w *wrongStorage) OpenPool(ctx context.Context, r *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error) {
	return or(w.opens, w.StorageServer.OpenPool)(ctx, r)
}

// wrongBase is the driver's part of Base with some methods replaced.
type wrongBase struct {
	sdk.Resources
	observe func(*driverpb.Observed) []*driverpb.Observed
	adopt   func(context.Context, *driverpb.Call) (*driverpb.Handle, error)
	release func(context.Context, *driverpb.Call) (*driverpb.Handle, error)
	probe   func(context.Context, *driverpb.Call) (*driverpb.ProbeReply, error)
	set     func(ctx context.Context, properties map[string]any, secrets map[string]string) error
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

func (w *wrongBase) Release(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return or(w.release, w.Resources.Release)(ctx, call)
}

func (w *wrongBase) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	return or(w.probe, w.Resources.Probe)(ctx, call)
}

func (w *wrongBase) Configure(ctx context.Context, properties map[string]any, secrets map[string]string) error {
	if w.set != nil {
		return w.set(ctx, properties, secrets)
	}
	return w.Resources.Configure(ctx, properties, secrets)
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

// wrongDesign designs anything.
type wrongDesign struct{ driverpb.NetworksServer }

// DesignNetwork takes a mode that nobody knows for one that is.
func (w wrongDesign) DesignNetwork(ctx context.Context, r *driverpb.NetworkRequest) (*driverpb.DesignReply, error) {
	r, _ = proto.Clone(r).(*driverpb.NetworkRequest)
	if r.GetNetwork().GetMode() == "telepathic" {
		r.Network.Mode = "nat"
	}
	return w.NetworksServer.DesignNetwork(ctx, r)
}

// wrongHypervisor says that a setting is wrong, and not which.
type wrongHypervisor struct{ driverpb.HypervisorServer }

// StartMachine forgets to name the field.
func (w wrongHypervisor) StartMachine(
	ctx context.Context, r *driverpb.StartMachineRequest,
) (*driverpb.MachineReply, error) {
	if r.GetCall().GetProperties().GetFields()["shutdown"].GetStringValue() == "never" {
		return nil, sdk.Invalid("bad-setting", "", "one of the settings is wrong", "")
	}
	return w.HypervisorServer.StartMachine(ctx, r)
}
