package bridgenetwork

import (
	"context"
	"fmt"
	"net"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Kinds of resources this driver is asked about.
const (
	kindNetwork = "network"
	kindNic     = "nic"
)

// base answers what is asked of every driver.
type base struct {
	*driver
}

// Configure implements sdk.Resources.
func (b *base) Configure(_ context.Context, properties map[string]any, _ map[string]string) error {
	return b.configure(properties)
}

// Adopt implements sdk.Resources. It repairs what is missing, on an empty host all of it.
func (b *base) Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	switch call.GetResource().GetKind() {
	case kindNetwork:
		handle, err := b.adoptNetwork(ctx, call)
		return handle, asFault(err)
	case kindNic:
		handle, err := b.adoptNic(ctx, call)
		return handle, asFault(err)
	}
	return nil, sdk.Unsupported("kind-unsupported", "this driver serves networks and nics, not a "+
		call.GetResource().GetKind())
}

func (b *base) adoptNetwork(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	set, err := b.settingsFor(call)
	if err != nil {
		return nil, err
	}
	before, err := decodeNetwork(call.GetHandle())
	if err != nil {
		return nil, err
	}
	if before == nil {
		return nil, errHandleMissing(call)
	}
	want := before.design()
	want.lease = set.leaseSeconds
	after, err := b.establish(ctx, call.GetResource().GetId(), want, set, before)
	if err != nil {
		return nil, err
	}
	return encodeHandle(after)
}

func (b *base) adoptNic(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	handle, err := decodeNic(call.GetHandle())
	if err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errHandleMissing(call)
	}
	wanted, err := handle.attachment(call.GetResource().GetId())
	if err != nil {
		return nil, err
	}
	if err := b.rewire(ctx, wanted, handle); err != nil {
		return nil, err
	}
	return encodeHandle(handle)
}

func errHandleMissing(call *driverpb.Call) error {
	return sdk.Invalid("handle-missing", "/call/handle", fmt.Sprintf("%s %s can't be adopted without its handle",
		call.GetResource().GetKind(), call.GetResource().GetId()), "create or attach it instead")
}

// attachment reads a nic out of its handle, as carefully as out of a request.
func (h *nicHandle) attachment(id string) (attachment, error) {
	mac, err := net.ParseMAC(h.MAC)
	if err != nil {
		return attachment{}, badHandle(err)
	}
	nic, err := layout.ParseNic(layout.Nic{
		ID: id, Machine: h.Machine, MAC: mac, Address: h.Address, Hostname: h.Hostname, Secondary: h.Secondary,
	}.Label())
	if err != nil {
		return attachment{}, badHandle(err)
	}
	return attachment{Nic: nic, network: h.Network, ownerUID: h.OwnerUID, want: design{mtu: h.MTU}}, nil
}

// rewire makes of a nic what is missing. How dnsmasq is configured is the network's matter.
func (d *driver) rewire(ctx context.Context, wanted attachment, handle *nicHandle) error {
	release, err := d.turns.Take(ctx, networkLock(wanted.network))
	if err != nil {
		return err
	}
	defer release()
	inside, err := d.openNetwork(wanted.network)
	if err != nil {
		return err
	}
	defer inside.close()
	if err := refuseTaken(inside, wanted.Nic); err != nil {
		return err
	}
	if err := d.wire(ctx, inside, wanted); err != nil {
		return err
	}
	return d.serveHosts(ctx, inside, handle)
}

// Release implements sdk.Resources. There are no connections and no caches to let go of.
func (b *base) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}
