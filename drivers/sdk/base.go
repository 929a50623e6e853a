package sdk

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"google.golang.org/grpc/codes"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// base serves the contract's Base for a driver.
type base struct {
	driverpb.UnimplementedBaseServer
	driver    *Driver
	memory    *tokenMemory
	link      *HostLink
	unattend  chan struct{} // closed when Attend streams must end
	shutdown  func(grace time.Duration)
	configure sync.Mutex
}

// Hello implements driverpb.BaseServer.
func (b *base) Hello(_ context.Context, request *driverpb.HelloRequest) (*driverpb.HelloReply, error) {
	api := min(request.GetApiMax(), APIMax)
	if api < APIMin || api < request.GetApiMin() {
		return nil, b.noCommonAPI(request)
	}
	return &driverpb.HelloReply{
		Api:          api,
		Name:         b.driver.Name,
		Version:      b.driver.Version,
		Categories:   b.driver.categories(),
		HandleReads:  b.driver.HandleReads,
		HandleWrites: b.driver.HandleWrites,
		Concurrency:  b.driver.Concurrency,
	}, nil
}

// noCommonAPI carries the status code that the contract names beside the fault.
func (b *base) noCommonAPI(request *driverpb.HelloRequest) error {
	message := fmt.Sprintf("%s %s speaks contract versions %d to %d, the server %d to %d",
		b.driver.Name, b.driver.Version, APIMin, APIMax, request.GetApiMin(), request.GetApiMax())
	return &faultError{code: codes.FailedPrecondition, fault: &driverpb.Fault{
		Class: driverpb.Class_CLASS_UNSUPPORTED, Code: "api-version", Message: message,
		Remedy: "install a version of the driver that fits this server",
	}}
}

// Describe implements driverpb.BaseServer.
func (b *base) Describe(context.Context, *driverpb.DescribeRequest) (*driverpb.DescribeReply, error) {
	if b.driver.Description == nil {
		return &driverpb.DescribeReply{}, nil
	}
	return b.driver.Description, nil
}

// Configure implements driverpb.BaseServer.
func (b *base) Configure(
	ctx context.Context, request *driverpb.ConfigureRequest,
) (*driverpb.ConfigureReply, error) {
	b.configure.Lock()
	defer b.configure.Unlock()
	properties := request.GetProperties().AsMap()
	if err := b.driver.Resources.Configure(ctx, properties, request.GetSecrets()); err != nil {
		return nil, err
	}
	return &driverpb.ConfigureReply{}, nil
}

// Probe implements driverpb.BaseServer.
func (b *base) Probe(ctx context.Context, request *driverpb.ProbeRequest) (*driverpb.ProbeReply, error) {
	return b.driver.Resources.Probe(ctx, request.GetCall())
}

// Adopt implements driverpb.BaseServer.
func (b *base) Adopt(ctx context.Context, request *driverpb.AdoptRequest) (*driverpb.OutcomeReply, error) {
	handle, err := b.driver.Resources.Adopt(ctx, request.GetCall())
	if err != nil {
		return nil, err
	}
	return &driverpb.OutcomeReply{Handle: handle}, nil
}

// Release implements driverpb.BaseServer.
func (b *base) Release(ctx context.Context, request *driverpb.ReleaseRequest) (*driverpb.OutcomeReply, error) {
	handle, err := b.driver.Resources.Release(ctx, request.GetCall())
	if err != nil {
		return nil, err
	}
	return &driverpb.OutcomeReply{Handle: handle}, nil
}

// Recall implements driverpb.BaseServer.
func (b *base) Recall(_ context.Context, request *driverpb.RecallRequest) (*driverpb.RecallReply, error) {
	return b.memory.recall(request.GetToken())
}

// Attend implements driverpb.BaseServer.
func (b *base) Attend(wire driverpb.Base_AttendServer) error {
	return b.link.serve(wire, b.unattend)
}

// Metrics implements driverpb.BaseServer.
func (b *base) Metrics(ctx context.Context, request *driverpb.MetricsRequest) (*driverpb.MetricsReply, error) {
	if b.driver.Metrics == nil {
		return b.UnimplementedBaseServer.Metrics(ctx, request)
	}
	families, err := b.driver.Metrics.Gather()
	if err != nil {
		return nil, Internal("metrics", fmt.Errorf("gathering metrics: %w", err))
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return nil, Internal("metrics", fmt.Errorf("writing metrics: %w", err))
		}
	}
	return &driverpb.MetricsReply{Text: text.Bytes()}, nil
}

// Shutdown implements driverpb.BaseServer.
func (b *base) Shutdown(_ context.Context, request *driverpb.ShutdownRequest) (*driverpb.ShutdownReply, error) {
	b.shutdown(time.Duration(request.GetGraceMs()) * time.Millisecond)
	return &driverpb.ShutdownReply{}, nil
}

// observer serves Observe; it needs the guard's checks, which see a stream's request only here.
type observer struct {
	*base
	guard *guard
}

// Observe implements driverpb.BaseServer.
func (o *observer) Observe(request *driverpb.ObserveRequest, wire driverpb.Base_ObserveServer) error {
	call := request.GetCall()
	if err := o.guard.admit(driverpb.Base_Observe_FullMethodName, request); err != nil {
		return err
	}
	ctx := wire.Context()
	_, err := o.guard.protect(ctx, driverpb.Base_Observe_FullMethodName, call.GetSecrets(), func() (any, error) {
		return nil, o.driver.Resources.Observe(ctx, call, func(found *driverpb.Observed) error {
			if err := wire.Send(found); err != nil {
				return fmt.Errorf("sending what was observed: %w", err)
			}
			return nil
		})
	})
	return err
}
