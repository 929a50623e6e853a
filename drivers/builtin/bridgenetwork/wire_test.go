package bridgenetwork_test

import (
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// overWire lets tests written for a driver in the process talk to one in a process of its own.
type overWire struct {
	driverpb.UnimplementedNetworksServer
	client driverpb.NetworksClient
}

func (o *overWire) DesignNetwork(ctx context.Context, r *driverpb.NetworkRequest) (*driverpb.DesignReply, error) {
	return o.client.DesignNetwork(ctx, r)
}

func (o *overWire) CreateNetwork(ctx context.Context, r *driverpb.NetworkRequest) (*driverpb.NetworkReply, error) {
	return o.client.CreateNetwork(ctx, r)
}

func (o *overWire) StatNetwork(ctx context.Context, r *driverpb.NetworkRequest) (*driverpb.NetworkReply, error) {
	return o.client.StatNetwork(ctx, r)
}

func (o *overWire) DeleteNetwork(ctx context.Context, r *driverpb.NetworkRequest) (*driverpb.OutcomeReply, error) {
	return o.client.DeleteNetwork(ctx, r)
}

func (o *overWire) AttachNic(ctx context.Context, r *driverpb.NicCallRequest) (*driverpb.NicReply, error) {
	return o.client.AttachNic(ctx, r)
}

func (o *overWire) DetachNic(ctx context.Context, r *driverpb.NicCallRequest) (*driverpb.OutcomeReply, error) {
	return o.client.DetachNic(ctx, r)
}

func (o *overWire) ApplyRules(ctx context.Context, r *driverpb.RulesRequest) (*driverpb.OutcomeReply, error) {
	return o.client.ApplyRules(ctx, r)
}

type baseOverWire struct {
	client driverpb.BaseClient
}

func (b *baseOverWire) Configure(ctx context.Context, properties map[string]any, secrets map[string]string) error {
	made, err := structpb.NewStruct(properties)
	if err != nil {
		return err
	}
	_, err = b.client.Configure(ctx, &driverpb.ConfigureRequest{Properties: made, Secrets: secrets})
	return err
}

func (b *baseOverWire) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	return b.client.Probe(ctx, &driverpb.ProbeRequest{Call: call})
}

func (b *baseOverWire) Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	reply, err := b.client.Adopt(ctx, &driverpb.AdoptRequest{Call: call})
	return reply.GetHandle(), err
}

func (b *baseOverWire) Release(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	reply, err := b.client.Release(ctx, &driverpb.ReleaseRequest{Call: call})
	return reply.GetHandle(), err
}

func (b *baseOverWire) Observe(ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error) error {
	stream, err := b.client.Observe(ctx, &driverpb.ObserveRequest{Call: call})
	if err != nil {
		return err
	}
	for {
		thing, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = found(thing)
		}
		if err != nil {
			return err
		}
	}
}

var _ sdk.Resources = (*baseOverWire)(nil)
