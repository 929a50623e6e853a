package sim

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// hypervisor serves hosts and machines.
type hypervisor struct {
	driverpb.UnimplementedHypervisorServer
	driver *driver
}

// OpenHost implements driverpb.HypervisorServer.
func (h *hypervisor) OpenHost(ctx context.Context, r *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	call := r.GetCall()
	if err := wantKind(call, simworld.KindHost); err != nil {
		return nil, err
	}
	p := properties(call.GetProperties().GetFields())
	cpus, err := p.number(propCpus, defaultCpus, 1<<20)
	if err != nil {
		return nil, err
	}
	memory, err := p.number(propMemory, defaultMemory, 1<<53)
	if err != nil {
		return nil, err
	}
	want := simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindHost, ID: call.GetResource().GetId()},
		State: simworld.Present, Bytes: memory, Detail: &simworld.Detail{Cpus: uint32(cpus)},
	}
	return act(ctx, h.driver, "OpenHost", call, func(tx *simworld.Tx) (*driverpb.HostReply, error) {
		if err := awake(tx, call); err != nil {
			return nil, err
		}
		o, err := openScope(tx, want)
		if err != nil {
			return nil, err
		}
		return hostReply(tx, o), nil
	})
}

// CloseHost implements driverpb.HypervisorServer.
func (h *hypervisor) CloseHost(ctx context.Context, r *driverpb.HostCallRequest) (*driverpb.OutcomeReply, error) {
	return closeScope(ctx, h.driver, "CloseHost", simworld.KindHost, "close", r.GetCall())
}

// StatHost implements driverpb.HypervisorServer.
func (h *hypervisor) StatHost(ctx context.Context, r *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	if err := wantKind(r.GetCall(), simworld.KindHost); err != nil {
		return nil, err
	}
	return look(ctx, h.driver, "StatHost", r.GetCall(), func(tx *simworld.Tx) (*driverpb.HostReply, error) {
		if err := awake(tx, r.GetCall()); err != nil {
			return nil, err
		}
		key := simworld.Key{Kind: simworld.KindHost, ID: r.GetCall().GetResource().GetId()}
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		return hostReply(tx, o), nil
	})
}

func hostReply(tx *simworld.Tx, o simworld.Object) *driverpb.HostReply {
	reply := &driverpb.HostReply{
		Handle: handleOf(o), MemoryBytes: o.Bytes, MemoryUsedBytes: tx.Load(simworld.KindHost, o.ID),
		Accelerator: simworld.Protocol, Architecture: "x86_64", HypervisorVersion: Name + " " + Version,
		Facts: map[string]string{"backend": "simulated"},
	}
	if o.Detail != nil {
		reply.Cpus = o.Detail.Cpus
	}
	return reply
}
