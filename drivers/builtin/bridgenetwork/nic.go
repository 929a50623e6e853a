package bridgenetwork

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// maxHostnameID is how much of a nic's id is its name when it was given none.
const maxHostnameID = 63

// attachment is a nic that is to be there.
type attachment struct {
	layout.Nic
	network  string
	ownerUID uint32
	want     design
}

// AttachNic implements driverpb.NetworksServer.
func (n *networks) AttachNic(ctx context.Context, request *driverpb.NicCallRequest) (*driverpb.NicReply, error) {
	network := request.GetNetwork().GetResource().GetId()
	if network == "" {
		return nil, sdk.Invalid("network-missing", "/call/network/resource", "the call names no network", "")
	}
	handle, err := n.known(ctx, request.GetCall(), network, request.GetNetwork().GetHandle(), request.GetSpec())
	if err != nil {
		return nil, asFault(err)
	}
	nic, err := readNic(request.GetCall().GetResource().GetId(), request.GetNic(), handle.design())
	if err != nil {
		return nil, err
	}
	wanted := attachment{
		Nic: nic, network: network, ownerUID: request.GetNic().GetOwnerUid(), want: handle.design(),
	}
	if err := n.attach(ctx, wanted); err != nil {
		return nil, asFault(err)
	}
	encoded, err := encodeHandle(wanted.handle())
	if err != nil {
		return nil, err
	}
	return &driverpb.NicReply{
		Handle: encoded, NetNamespace: n.spaces.Path(layout.MachineSpace(nic.Machine)), Interface: layout.Tap(nic.ID),
	}, nil
}

func (a attachment) handle() *nicHandle {
	return &nicHandle{
		Network: a.network, Machine: a.Machine, MAC: a.MAC.String(), Address: a.Address, Hostname: a.Hostname,
		OwnerUID: a.ownerUID, Secondary: a.Secondary, MTU: a.want.mtu, Domain: a.want.domain, DHCP: a.want.dhcp,
		DNS: a.want.dns,
	}
}

// readNic checks a nic against the network it is to be in.
func readNic(id string, spec *driverpb.NicSpec, want design) (layout.Nic, error) {
	nic := layout.Nic{
		ID: id, Machine: spec.GetMachine().GetId(), Hostname: spec.GetHostname(), Secondary: spec.GetSecondary(),
	}
	if nic.Machine == "" {
		return layout.Nic{}, sdk.Invalid("machine-missing", "/machineId", "the nic names no machine", "")
	}
	if nic.Hostname == "" {
		nic.Hostname = id[:min(len(id), maxHostnameID)]
	}
	if !layout.ValidHostname(nic.Hostname) {
		return layout.Nic{}, sdk.Invalid("bad-hostname", "/hostname",
			"a host name has 1 to 63 letters, digits and dashes, and no dash at its ends", "")
	}
	var err error
	nic.MAC, err = net.ParseMAC(spec.GetMac())
	if err != nil || len(nic.MAC) != 6 || nic.MAC[0]&1 != 0 || nic.MAC.String() == "00:00:00:00:00:00" {
		return layout.Nic{}, sdk.Invalid("bad-mac", "/call/nic/mac",
			"the hardware address must be a unicast one with six bytes", "")
	}
	nic.Address, err = netip.ParseAddr(spec.GetAddress())
	if err != nil || !want.usable(nic.Address) || nic.Address == want.gateway {
		return layout.Nic{}, sdk.Invalid("bad-address", "/address", fmt.Sprintf(
			"%q is not an address for a machine in %s with gateway %s", spec.GetAddress(), want.cidr, want.gateway), "")
	}
	return nic, nil
}

// attach makes the nic, or what of it is missing.
func (d *driver) attach(ctx context.Context, wanted attachment) error {
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
	sdk.Progress(ctx, 60, "port ready")
	return d.serve(ctx, wanted.network, inside, wanted.want)
}

// refuseTaken fails when another nic has what this one wants, or when this one is there in another shape.
func refuseTaken(inside *place, wanted layout.Nic) error {
	nics, _, err := inside.nics()
	if err != nil {
		return err
	}
	for _, other := range nics {
		switch {
		case other.ID == wanted.ID && !other.SameShape(wanted):
			return sdk.Conflict("nic-differs", fmt.Sprintf("nic %s is there as %s with %s, named %s, for machine %s",
				other.ID, other.Address, other.MAC, other.Hostname, other.Machine), "detach it first")
		case other.ID == wanted.ID:
		case other.Address == wanted.Address:
			return sdk.Conflict("address-taken", fmt.Sprintf("nic %s has the address %s", other.ID, other.Address),
				"choose another address")
		case other.MAC.String() == wanted.MAC.String():
			return sdk.Conflict("mac-taken", fmt.Sprintf("nic %s has the hardware address %s", other.ID, other.MAC),
				"choose another hardware address")
		}
	}
	return nil
}

// DetachNic implements driverpb.NetworksServer. It also takes away what is left of a nic that was half made or half
// detached, and of one whose network is gone.
func (n *networks) DetachNic(ctx context.Context, request *driverpb.NicCallRequest) (*driverpb.OutcomeReply, error) {
	id := request.GetCall().GetResource().GetId()
	nic, err := decodeNic(request.GetCall().GetHandle())
	if err != nil {
		return nil, err
	}
	network, machine := request.GetNetwork().GetResource().GetId(), request.GetNic().GetMachine().GetId()
	if nic != nil {
		network, machine = nic.Network, nic.Machine
	}
	if network == "" || machine == "" {
		return nil, sdk.Invalid("nic-unknown", "/call/network",
			"the call tells neither by handle nor by name where the nic is", "")
	}
	release, err := n.turns.Take(ctx, networkLock(network))
	if err != nil {
		return nil, err
	}
	defer release()
	if err := n.detachFromNetwork(ctx, id, network, request); err != nil {
		return nil, asFault(err)
	}
	if err := n.detachFromMachine(ctx, id, machine); err != nil {
		return nil, asFault(err)
	}
	return &driverpb.OutcomeReply{}, nil
}

func (d *driver) detachFromNetwork(
	ctx context.Context, nic, network string, request *driverpb.NicCallRequest,
) error {
	inside, err := d.open(layout.NetworkSpace(network))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer inside.close()
	handle, err := d.known(ctx, request.GetCall(), network, request.GetNetwork().GetHandle(), request.GetSpec())
	if err != nil {
		return err
	}
	if err := d.unwire(ctx, inside, nic); err != nil {
		return err
	}
	return d.serve(ctx, network, inside, handle.design())
}
