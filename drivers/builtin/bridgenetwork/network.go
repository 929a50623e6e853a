package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// networks serves the category.
type networks struct {
	driverpb.UnimplementedNetworksServer
	*driver
}

// DesignNetwork implements driverpb.NetworksServer. Besides the contract's promise it looks at the host, because a
// range that is in use there can't be built either.
func (n *networks) DesignNetwork(
	ctx context.Context, request *driverpb.NetworkRequest,
) (*driverpb.DesignReply, error) {
	set, err := n.settingsFor(request.GetCall())
	if err != nil {
		return nil, err
	}
	want, err := n.complete(ctx, request.GetNetwork(), set)
	if err != nil {
		return nil, err
	}
	host, err := n.openHost()
	if err != nil {
		return nil, asFault(err)
	}
	defer host.close()
	if err := n.checkOverlap(host, request.GetCall().GetResource().GetId(), want, set); err != nil {
		return nil, asFault(err)
	}
	return &driverpb.DesignReply{Network: want.spec()}, nil
}

// complete checks a spec and fills in what is left out, also from the host.
func (d *driver) complete(ctx context.Context, spec *driverpb.NetworkSpec, set settings) (design, error) {
	want, err := readSpec(spec)
	want.lease = set.leaseSeconds
	if err != nil || len(want.upstreams) > 0 || !want.nat() {
		return want, err
	}
	want.upstreams = d.hostResolvers(ctx)
	return want, nil
}

// CreateNetwork implements driverpb.NetworksServer.
func (n *networks) CreateNetwork(
	ctx context.Context, request *driverpb.NetworkRequest,
) (*driverpb.NetworkReply, error) {
	network := request.GetCall().GetResource().GetId()
	set, err := n.settingsFor(request.GetCall())
	if err != nil {
		return nil, err
	}
	want, err := n.complete(ctx, request.GetNetwork(), set)
	if err != nil {
		return nil, err
	}
	before, err := decodeNetwork(request.GetCall().GetHandle())
	if err != nil {
		return nil, err
	}
	handle, err := n.establish(ctx, network, want, set, before)
	if err != nil {
		return nil, asFault(err)
	}
	reply, err := n.reply(ctx, network, handle)
	return reply, asFault(err)
}

// establish makes the network whole, with the processes that serve it.
func (d *driver) establish(
	ctx context.Context, network string, want design, set settings, before *networkHandle,
) (*networkHandle, error) {
	release, err := d.turns.Take(ctx, networkLock(network))
	if err != nil {
		return nil, err
	}
	defer release()
	handle, err := d.realise(ctx, network, want, set, before)
	if err != nil {
		return nil, err
	}
	inside, err := d.open(layout.NetworkSpace(network))
	if err != nil {
		return nil, err
	}
	defer inside.close()
	return handle, d.serve(ctx, network, inside, want)
}

// StatNetwork implements driverpb.NetworksServer.
func (n *networks) StatNetwork(ctx context.Context, request *driverpb.NetworkRequest) (*driverpb.NetworkReply, error) {
	network := request.GetCall().GetResource().GetId()
	handle, err := n.known(ctx, request.GetCall(), network, request.GetCall().GetHandle(), request.GetNetwork())
	if err != nil {
		return nil, asFault(err)
	}
	reply, err := n.reply(ctx, network, handle)
	return reply, asFault(err)
}

// known returns what is known of a network that must be there: what the handle tells, or else the spec and the
// kernel.
func (d *driver) known(
	ctx context.Context, call *driverpb.Call, network string, encoded *driverpb.Handle, spec *driverpb.NetworkSpec,
) (*networkHandle, error) {
	handle, err := decodeNetwork(encoded)
	if err != nil {
		return nil, err
	}
	inside, err := d.openNetwork(network)
	if err != nil {
		return nil, err
	}
	inside.close()
	if handle != nil {
		return handle, nil
	}
	set, err := d.settingsFor(call)
	if err != nil {
		return nil, err
	}
	want, err := d.complete(ctx, spec, set)
	if err != nil {
		return nil, err
	}
	host, err := d.openHost()
	if err != nil {
		return nil, err
	}
	defer host.close()
	link, err := host.find(layout.HostLink(network))
	if err != nil || link == nil {
		return handleOf(want, netip.Prefix{}), err
	}
	addresses, err := host.addresses(link)
	if err != nil || len(addresses) == 0 {
		return handleOf(want, netip.Prefix{}), err
	}
	return handleOf(want, layout.TransitOf(addresses[0].Addr()).Subnet), nil
}

// openNetwork opens a network's namespace, which must be there.
func (d *driver) openNetwork(network string) (*place, error) {
	inside, err := d.open(layout.NetworkSpace(network))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.NotFound("network-missing", "network "+network+" is not on this host",
			"adopt or create the network first")
	}
	return inside, err
}

// DeleteNetwork implements driverpb.NetworksServer. It also takes away what is left of a network that was half made
// or half deleted.
func (n *networks) DeleteNetwork(
	ctx context.Context, request *driverpb.NetworkRequest,
) (*driverpb.OutcomeReply, error) {
	network := request.GetCall().GetResource().GetId()
	before, err := decodeNetwork(request.GetCall().GetHandle())
	if err != nil {
		return nil, err
	}
	release, err := n.turns.Take(ctx, networkLock(network))
	if err != nil {
		return nil, err
	}
	defer release()
	if err := n.refuseInUse(network); err != nil {
		return nil, asFault(err)
	}
	if err := n.dismiss(ctx, network); err != nil {
		return nil, asFault(err)
	}
	if err := n.dismantle(ctx, network, transitOf(before)); err != nil {
		return nil, asFault(err)
	}
	return &driverpb.OutcomeReply{}, nil
}

// refuseInUse fails when nics are left in a network.
func (d *driver) refuseInUse(network string) error {
	inside, err := d.open(layout.NetworkSpace(network))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer inside.close()
	nics, _, err := inside.nics()
	if err != nil || len(nics) == 0 {
		return err
	}
	var ids []string
	for _, nic := range nics {
		ids = append(ids, nic.ID)
	}
	return sdk.Conflict("network-in-use", fmt.Sprintf("network %s still has nics: %s", network, strings.Join(ids, ", ")),
		"detach the nics first")
}

// dismantle takes away namespace, link and files.
func (d *driver) dismantle(ctx context.Context, network string, before netip.Prefix) error {
	unlock, err := d.spaces.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	host, err := d.openHost()
	if err != nil {
		return err
	}
	defer host.close()
	if err := d.disconnect(ctx, host, network, before); err != nil {
		return err
	}
	if err := d.spaces.Remove(layout.NetworkSpace(network)); err != nil {
		return err
	}
	return d.site(network).Remove()
}
