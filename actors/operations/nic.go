package operations

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func nicOperations() []Definition {
	return []Definition{
		{Kind: resources.KindNic, Action: "create", Steps: steps(
			Step{Name: "address", Do: takeAddress, Undo: giveAddress, Local: true},
			Step{Name: "attach", Do: attachNic, Undo: detachNic},
		)},
		{Kind: resources.KindNic, Action: "attach", Steps: steps(
			Step{Name: "attach", Do: attachNic},
		)},
		{Kind: resources.KindNic, Action: "delete", Steps: steps(
			Step{Name: "detach", Do: detachNic},
		)},
	}
}

// Scopes of claims.
const (
	scopeMAC        = "mac"
	scopeAddressUse = "address-use"
)

// AddressScope is the scope in which the addresses of a network are claimed.
func AddressScope(network resources.NetworkID) string { return "address/" + string(network) }

// takeAddress chooses a hardware and an IP address and claims both. When somebody
// was faster the claim is refused and the step runs again.
func takeAddress(_ context.Context, c *Context) error {
	nic, err := Target[*resources.Nic](c)
	if err != nil {
		return err
	}
	address, err := c.chooseAddress(nic)
	if err != nil {
		return err
	}
	mac := macOf(nic.ID)
	c.Outcome.Claim = append(c.Outcome.Claim, persistence.Claim{Scope: scopeMAC, Value: mac, Owner: nic.Ref()})
	if nic.Spec.AddressID != "" {
		c.Outcome.Claim = append(c.Outcome.Claim,
			persistence.Claim{Scope: scopeAddressUse, Value: string(nic.Spec.AddressID), Owner: nic.Ref()})
	} else {
		c.Outcome.Claim = append(c.Outcome.Claim,
			persistence.Claim{Scope: AddressScope(nic.Spec.NetworkID), Value: address, Owner: nic.Ref()})
	}
	Change(c, func(n *resources.Nic) { n.Status.MAC, n.Status.Address = mac, address })
	return nil
}

func giveAddress(_ context.Context, c *Context) error {
	nic, err := Target[*resources.Nic](c)
	if err != nil {
		return err
	}
	c.Outcome.Unclaim = append(c.Outcome.Unclaim,
		persistence.Claim{Scope: scopeMAC, Value: macOf(nic.ID), Owner: nic.Ref()},
		persistence.Claim{Scope: AddressScope(nic.Spec.NetworkID), Value: nic.Status.Address, Owner: nic.Ref()},
		persistence.Claim{Scope: scopeAddressUse, Value: string(nic.Spec.AddressID), Owner: nic.Ref()})
	Change(c, func(n *resources.Nic) { n.Status.MAC, n.Status.Address = "", "" })
	return nil
}

func (c *Context) chooseAddress(nic *resources.Nic) (string, error) {
	if nic.Status.Address != "" {
		return nic.Status.Address, nil
	}
	if nic.Spec.AddressID != "" {
		a, err := Find[*resources.Address](c, resources.KindAddress, string(nic.Spec.AddressID))
		if err != nil {
			return "", err
		}
		return a.Status.Address, nil
	}
	network, err := Find[*resources.Network](c, resources.KindNetwork, string(nic.Spec.NetworkID))
	if err != nil {
		return "", err
	}
	var chosen string
	err = c.Engine.View(func(v *persistence.View) error {
		var err error
		chosen, err = FreeAddress(v, network, nic.Spec.Address, nic.ID)
		return err
	})
	return chosen, err
}

// FreeAddress returns an address of the network that nobody has: the one wanted,
// if any, else the first free one from a place that follows from the seed, so
// that many who ask at once ask for different ones.
func FreeAddress(v *persistence.View, n *resources.Network, wanted, seed string) (string, error) {
	prefix, err := n.Prefix()
	if err != nil {
		return "", fmt.Errorf("reading the range of network %s: %w", n.ID, err)
	}
	gateway := networkSpec(n).GetGateway()
	if wanted != "" {
		return wantedAddress(v, n, prefix, gateway, wanted)
	}
	count := uint32(1) << (32 - prefix.Bits())
	sum := sha256.Sum256([]byte(seed))
	start := (uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])) % count
	for i := range count {
		offset := (start + i) % count
		if offset == 0 || offset == count-1 {
			continue
		}
		address := addressAt(prefix, offset).String()
		if address == gateway {
			continue
		}
		_, taken, err := v.Claimed(AddressScope(resources.NetworkID(n.ID)), address)
		if err != nil || !taken {
			return address, err
		}
	}
	ref := n.Ref()
	return "", &resources.Error{
		Class: resources.ClassExhausted, Code: "no-address", Message: "network " + n.ID + " has no free address",
		Remedy: "delete nics or addresses of the network, or use another network", Resource: &ref,
	}
}

func wantedAddress(
	v *persistence.View, n *resources.Network, prefix netip.Prefix, gateway, wanted string,
) (string, error) {
	a, err := netip.ParseAddr(wanted)
	reserved := a == prefix.Addr() || a == resources.LastAddress(prefix) || a.String() == gateway
	if err != nil || reserved || !prefix.Contains(a) {
		return "", &resources.Error{
			Class: resources.ClassInvalid, Code: "bad-address",
			Message: fmt.Sprintf("%s is not a usable address of network %s (%s)", wanted, n.ID, prefix),
			Fields: []resources.FieldError{{
				Pointer: "/spec/address", Code: "bad-address", Message: "is not usable in the network",
			}},
			Remedy: "ask for another address or none",
		}
	}
	owner, taken, err := v.Claimed(AddressScope(resources.NetworkID(n.ID)), a.String())
	if err != nil {
		return "", err
	}
	if taken {
		return "", &resources.Error{
			Class: resources.ClassConflict, Code: "address-taken",
			Message: fmt.Sprintf("%s is taken by %s", a, owner), Remedy: "ask for another address or none", Resource: &owner,
		}
	}
	return a.String(), nil
}

func addressAt(p netip.Prefix, offset uint32) netip.Addr {
	b := p.Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n += offset
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// macOf makes a locally administered unicast address of an id.
func macOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("52:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// nicCall prepares a call about a nic to the driver of its network, on the node that
// the machine is on.
func (c *Context) nicCall(ctx context.Context) (driver, *driverpb.NicCallRequest, error) {
	nic, err := Target[*resources.Nic](c)
	if err != nil {
		return driver{}, nil, err
	}
	n, err := Find[*resources.Network](c, resources.KindNetwork, string(nic.Spec.NetworkID))
	if err != nil {
		return driver{}, nil, err
	}
	handle, err := c.handle(n.Ref())
	if err != nil {
		return driver{}, nil, err
	}
	place := PlaceOf(n)
	if place.Node, err = c.nodeOfNic(nic, n); err != nil {
		return driver{}, nil, err
	}
	uid, err := c.Engine.GuestUID(ctx, place.Node)
	if err != nil {
		return driver{}, nil, err
	}
	d, err := c.driverAt(ctx, place, n.Ref(), nic.Ref())
	return d, &driverpb.NicCallRequest{
		Call: d.call, Network: &driverpb.NetworkRef{Resource: protoRef(n.Ref()), Handle: handle}, Spec: networkSpec(n),
		Nic: &driverpb.NicSpec{
			Machine: &driverpb.Ref{Kind: string(resources.KindMachine), Id: string(nic.Spec.MachineID)},
			Mac:     nic.Status.MAC, Address: nic.Status.Address, Hostname: nic.Spec.Hostname,
			OwnerUid: uid,
		},
	}, err
}

// attachNic attaches the nic, or one that is there again, as what it now is to its
// machine.
func attachNic(ctx context.Context, c *Context) error {
	d, request, err := c.nicCall(ctx)
	if err != nil {
		return err
	}
	first, err := c.wayOut(resources.MachineID(request.GetNic().GetMachine().GetId()))
	if err != nil {
		return err
	}
	request.Nic.Secondary = first != nil && first.ID != request.GetCall().GetResource().GetId()
	reply, err := driverpb.NewNetworksClient(d.conn).AttachNic(ctx, request)
	if err != nil {
		return FromFault(err)
	}
	c.bind(d, reply.GetHandle())
	Change(c, func(n *resources.Nic) {
		n.Status.Interface, n.Status.NetNamespace = reply.GetInterface(), reply.GetNetNamespace()
	})
	return nil
}

// wayOut finds the nic that a machine's default route leads through: the first
// one in a network that has an outside; nil = none has.
func (c *Context) wayOut(machine resources.MachineID) (found *resources.Nic, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		m, err := persistence.Find[*resources.Machine](v, resources.KindMachine, string(machine))
		if err != nil {
			return err
		}
		for _, id := range m.Status.NicIDs {
			nic, err := persistence.Find[*resources.Nic](v, resources.KindNic, string(id))
			if resources.ClassOf(err) == resources.ClassNotFound {
				continue
			}
			if err != nil {
				return err
			}
			if nic.Phase == resources.PhaseFailed {
				continue
			}
			n, err := persistence.Find[*resources.Network](v, resources.KindNetwork, string(nic.Spec.NetworkID))
			if err != nil {
				return err
			}
			if networkSpec(n).GetMode() != "isolated" {
				found = nic
				return nil
			}
		}
		return nil
	})
	return found, err
}

func detachNic(ctx context.Context, c *Context) error {
	d, request, err := c.nicCall(ctx)
	if err != nil {
		return err
	}
	_, err = driverpb.NewNetworksClient(d.conn).DetachNic(ctx, request)
	c.unbind()
	return gone(err)
}
