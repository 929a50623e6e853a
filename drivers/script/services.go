package script

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Each call of a service is an action of the script: all of them alike.

func served[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, s *script, category, method string, in sdk.Request) (P, error) {
	reply := P(new(R))
	if err := s.ask(ctx, category, method, in, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

type storage struct {
	driverpb.UnimplementedStorageServer
	s *script
}

// OpenPool implements driverpb.StorageServer.
func (x storage) OpenPool(ctx context.Context, in *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error) {
	return served[driverpb.PoolReply](ctx, x.s, "storage", "OpenPool", in)
}

// ClosePool implements driverpb.StorageServer.
func (x storage) ClosePool(ctx context.Context, in *driverpb.PoolRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "storage", "ClosePool", in)
}

// StatPool implements driverpb.StorageServer.
func (x storage) StatPool(ctx context.Context, in *driverpb.PoolRequest) (*driverpb.PoolReply, error) {
	return served[driverpb.PoolReply](ctx, x.s, "storage", "StatPool", in)
}

// CreateVolume implements driverpb.StorageServer.
func (x storage) CreateVolume(ctx context.Context, in *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
	return served[driverpb.VolumeReply](ctx, x.s, "storage", "CreateVolume", in)
}

// StatVolume implements driverpb.StorageServer.
func (x storage) StatVolume(ctx context.Context, in *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	return served[driverpb.VolumeReply](ctx, x.s, "storage", "StatVolume", in)
}

// GrowVolume implements driverpb.StorageServer.
func (x storage) GrowVolume(ctx context.Context, in *driverpb.GrowVolumeRequest) (*driverpb.VolumeReply, error) {
	return served[driverpb.VolumeReply](ctx, x.s, "storage", "GrowVolume", in)
}

// DeleteVolume implements driverpb.StorageServer.
func (x storage) DeleteVolume(ctx context.Context, in *driverpb.VolumeRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "storage", "DeleteVolume", in)
}

// AttachVolume implements driverpb.StorageServer.
func (x storage) AttachVolume(ctx context.Context, in *driverpb.AttachVolumeRequest) (*driverpb.VolumeReply, error) {
	return served[driverpb.VolumeReply](ctx, x.s, "storage", "AttachVolume", in)
}

// DetachVolume implements driverpb.StorageServer.
func (x storage) DetachVolume(ctx context.Context, in *driverpb.AttachVolumeRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "storage", "DetachVolume", in)
}

// CreateSnapshot implements driverpb.StorageServer.
func (x storage) CreateSnapshot(ctx context.Context, in *driverpb.SnapshotRequest) (*driverpb.SnapshotReply, error) {
	return served[driverpb.SnapshotReply](ctx, x.s, "storage", "CreateSnapshot", in)
}

// RevertSnapshot implements driverpb.StorageServer.
func (x storage) RevertSnapshot(ctx context.Context, in *driverpb.SnapshotRequest) (*driverpb.VolumeReply, error) {
	return served[driverpb.VolumeReply](ctx, x.s, "storage", "RevertSnapshot", in)
}

// DeleteSnapshot implements driverpb.StorageServer.
func (x storage) DeleteSnapshot(ctx context.Context, in *driverpb.SnapshotRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "storage", "DeleteSnapshot", in)
}

type images struct {
	driverpb.UnimplementedImagesServer
	s *script
}

// OpenStore implements driverpb.ImagesServer.
func (x images) OpenStore(ctx context.Context, in *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	return served[driverpb.StoreReply](ctx, x.s, "image", "OpenStore", in)
}

// CloseStore implements driverpb.ImagesServer.
func (x images) CloseStore(ctx context.Context, in *driverpb.StoreRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "image", "CloseStore", in)
}

// StatStore implements driverpb.ImagesServer.
func (x images) StatStore(ctx context.Context, in *driverpb.StoreRequest) (*driverpb.StoreReply, error) {
	return served[driverpb.StoreReply](ctx, x.s, "image", "StatStore", in)
}

// ImportTemplate implements driverpb.ImagesServer.
func (x images) ImportTemplate(
	ctx context.Context, in *driverpb.ImportTemplateRequest,
) (*driverpb.TemplateReply, error) {
	return served[driverpb.TemplateReply](ctx, x.s, "image", "ImportTemplate", in)
}

// StatTemplate implements driverpb.ImagesServer.
func (x images) StatTemplate(ctx context.Context, in *driverpb.TemplateRequest) (*driverpb.TemplateReply, error) {
	return served[driverpb.TemplateReply](ctx, x.s, "image", "StatTemplate", in)
}

// DeleteTemplate implements driverpb.ImagesServer.
func (x images) DeleteTemplate(ctx context.Context, in *driverpb.TemplateRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "image", "DeleteTemplate", in)
}

type hypervisor struct {
	driverpb.UnimplementedHypervisorServer
	s *script
}

// OpenHost implements driverpb.HypervisorServer.
func (x hypervisor) OpenHost(ctx context.Context, in *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	return served[driverpb.HostReply](ctx, x.s, "hypervisor", "OpenHost", in)
}

// CloseHost implements driverpb.HypervisorServer.
func (x hypervisor) CloseHost(ctx context.Context, in *driverpb.HostCallRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "hypervisor", "CloseHost", in)
}

// StatHost implements driverpb.HypervisorServer.
func (x hypervisor) StatHost(ctx context.Context, in *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	return served[driverpb.HostReply](ctx, x.s, "hypervisor", "StatHost", in)
}

// StartMachine implements driverpb.HypervisorServer.
func (x hypervisor) StartMachine(
	ctx context.Context, in *driverpb.StartMachineRequest,
) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "StartMachine", in)
}

// StopMachine implements driverpb.HypervisorServer.
func (x hypervisor) StopMachine(
	ctx context.Context, in *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "StopMachine", in)
}

// RebootMachine implements driverpb.HypervisorServer.
func (x hypervisor) RebootMachine(
	ctx context.Context, in *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "RebootMachine", in)
}

// PauseMachine implements driverpb.HypervisorServer.
func (x hypervisor) PauseMachine(ctx context.Context, in *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "PauseMachine", in)
}

// ResumeMachine implements driverpb.HypervisorServer.
func (x hypervisor) ResumeMachine(ctx context.Context, in *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "ResumeMachine", in)
}

// StatMachine implements driverpb.HypervisorServer.
func (x hypervisor) StatMachine(ctx context.Context, in *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "StatMachine", in)
}

// AttachDisk implements driverpb.HypervisorServer.
func (x hypervisor) AttachDisk(ctx context.Context, in *driverpb.DiskRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "AttachDisk", in)
}

// DetachDisk implements driverpb.HypervisorServer.
func (x hypervisor) DetachDisk(ctx context.Context, in *driverpb.DiskRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "DetachDisk", in)
}

// GrowDisk implements driverpb.HypervisorServer.
func (x hypervisor) GrowDisk(ctx context.Context, in *driverpb.GrowDiskRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "GrowDisk", in)
}

// AttachNic implements driverpb.HypervisorServer.
func (x hypervisor) AttachNic(ctx context.Context, in *driverpb.NicRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "AttachNic", in)
}

// DetachNic implements driverpb.HypervisorServer.
func (x hypervisor) DetachNic(ctx context.Context, in *driverpb.NicRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "DetachNic", in)
}

// FreezeDisks implements driverpb.HypervisorServer.
func (x hypervisor) FreezeDisks(ctx context.Context, in *driverpb.FreezeRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "FreezeDisks", in)
}

// ThawDisks implements driverpb.HypervisorServer.
func (x hypervisor) ThawDisks(ctx context.Context, in *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "ThawDisks", in)
}

// ReceiveMachine implements driverpb.HypervisorServer.
func (x hypervisor) ReceiveMachine(
	ctx context.Context, in *driverpb.ReceiveMachineRequest,
) (*driverpb.ReceiveMachineReply, error) {
	return served[driverpb.ReceiveMachineReply](ctx, x.s, "hypervisor", "ReceiveMachine", in)
}

// SendMachine implements driverpb.HypervisorServer.
func (x hypervisor) SendMachine(
	ctx context.Context, in *driverpb.SendMachineRequest,
) (*driverpb.MachineReply, error) {
	return served[driverpb.MachineReply](ctx, x.s, "hypervisor", "SendMachine", in)
}

// OpenConsole implements driverpb.HypervisorServer.
func (x hypervisor) OpenConsole(ctx context.Context, in *driverpb.ConsoleRequest) (*driverpb.ConsoleReply, error) {
	return served[driverpb.ConsoleReply](ctx, x.s, "hypervisor", "OpenConsole", in)
}

type networks struct {
	driverpb.UnimplementedNetworksServer
	s *script
}

// DesignNetwork implements driverpb.NetworksServer.
func (x networks) DesignNetwork(ctx context.Context, in *driverpb.NetworkRequest) (*driverpb.DesignReply, error) {
	return served[driverpb.DesignReply](ctx, x.s, "network", "DesignNetwork", in)
}

// CreateNetwork implements driverpb.NetworksServer.
func (x networks) CreateNetwork(ctx context.Context, in *driverpb.NetworkRequest) (*driverpb.NetworkReply, error) {
	return served[driverpb.NetworkReply](ctx, x.s, "network", "CreateNetwork", in)
}

// StatNetwork implements driverpb.NetworksServer.
func (x networks) StatNetwork(ctx context.Context, in *driverpb.NetworkRequest) (*driverpb.NetworkReply, error) {
	return served[driverpb.NetworkReply](ctx, x.s, "network", "StatNetwork", in)
}

// DeleteNetwork implements driverpb.NetworksServer.
func (x networks) DeleteNetwork(ctx context.Context, in *driverpb.NetworkRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "network", "DeleteNetwork", in)
}

// AttachNic implements driverpb.NetworksServer.
func (x networks) AttachNic(ctx context.Context, in *driverpb.NicCallRequest) (*driverpb.NicReply, error) {
	return served[driverpb.NicReply](ctx, x.s, "network", "AttachNic", in)
}

// DetachNic implements driverpb.NetworksServer.
func (x networks) DetachNic(ctx context.Context, in *driverpb.NicCallRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "network", "DetachNic", in)
}

// ApplyRules implements driverpb.NetworksServer.
func (x networks) ApplyRules(ctx context.Context, in *driverpb.RulesRequest) (*driverpb.OutcomeReply, error) {
	return served[driverpb.OutcomeReply](ctx, x.s, "network", "ApplyRules", in)
}

type outOfBand struct {
	driverpb.UnimplementedOutOfBandServer
	s *script
}

// StatPower implements driverpb.OutOfBandServer.
func (x outOfBand) StatPower(ctx context.Context, in *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return served[driverpb.PowerReply](ctx, x.s, "out-of-band", "StatPower", in)
}

// PowerOff implements driverpb.OutOfBandServer.
func (x outOfBand) PowerOff(ctx context.Context, in *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return served[driverpb.PowerReply](ctx, x.s, "out-of-band", "PowerOff", in)
}

// PowerOn implements driverpb.OutOfBandServer.
func (x outOfBand) PowerOn(ctx context.Context, in *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return served[driverpb.PowerReply](ctx, x.s, "out-of-band", "PowerOn", in)
}

// CyclePower implements driverpb.OutOfBandServer.
func (x outOfBand) CyclePower(ctx context.Context, in *driverpb.PowerRequest) (*driverpb.PowerReply, error) {
	return served[driverpb.PowerReply](ctx, x.s, "out-of-band", "CyclePower", in)
}

// ShutDownHost implements driverpb.OutOfBandServer.
func (x outOfBand) ShutDownHost(ctx context.Context, in *driverpb.ShutDownHostRequest) (*driverpb.PowerReply, error) {
	return served[driverpb.PowerReply](ctx, x.s, "out-of-band", "ShutDownHost", in)
}
