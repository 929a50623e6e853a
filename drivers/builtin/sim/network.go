package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// networks serves networks, their nics and rules.
type networks struct {
	driverpb.UnimplementedNetworksServer
	driver *driver
}

func networkModes() []string { return []string{"nat", "isolated"} }

const (
	defaultMtu = 1500
	minMtu     = 576
	maxMtu     = 65521
)

// design checks and completes the spec of a network.
func design(spec *driverpb.NetworkSpec) (*driverpb.NetworkSpec, error) {
	spec, _ = proto.Clone(spec).(*driverpb.NetworkSpec)
	if !slices.Contains(networkModes(), spec.GetMode()) {
		return nil, sdk.Invalid("unknown-mode", "/mode", fmt.Sprintf("want one of %v", networkModes()), "")
	}
	prefix, err := parseNetwork(spec.GetCidr())
	if err != nil {
		return nil, err
	}
	if spec.GetGateway() == "" {
		spec.Gateway = prefix.Addr().Next().String()
	}
	if !usable(prefix, spec.GetGateway()) {
		return nil, sdk.Invalid("bad-gateway", "/gateway", "must be an address of guests in the network", "")
	}
	if spec.GetMtu() == 0 {
		spec.Mtu = defaultMtu
	}
	if spec.GetMtu() < minMtu || spec.GetMtu() > maxMtu {
		return nil, sdk.Invalid("bad-mtu", "/mtu", fmt.Sprintf("must be between %d and %d", minMtu, maxMtu), "")
	}
	for i, server := range spec.GetDnsServers() {
		if _, err := netip.ParseAddr(server); err != nil {
			return nil, sdk.Invalid("bad-address", fmt.Sprintf("/dnsServers/%d", i), "must be an IP address", "")
		}
	}
	return spec, nil
}

// parseNetwork reads the addresses of a network.
func parseNetwork(cidr string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil || !prefix.Addr().Is4():
		return prefix, sdk.Invalid("bad-cidr", "/cidr", "want IPv4 such as 10.20.0.0/24", "")
	case prefix.Masked() != prefix:
		return prefix, sdk.Invalid("bad-cidr", "/cidr", "host bits are set: "+prefix.Masked().String(), "")
	case prefix.Bits() < 8 || prefix.Bits() > 30:
		return prefix, sdk.Invalid("bad-cidr", "/cidr", "the prefix length must be between 8 and 30", "")
	}
	return prefix, nil
}

// usable tells whether text is an address that something in the network may have.
func usable(prefix netip.Prefix, text string) bool {
	address, err := netip.ParseAddr(text)
	if err != nil || !prefix.Contains(address) || address == prefix.Addr() {
		return false
	}
	return prefix.Contains(address.Next()) // the last one is for broadcast
}

// shapeOf is how a network was asked for, to compare with: all of it but the name servers, which may change.
func shapeOf(spec *driverpb.NetworkSpec) string {
	return fmt.Sprint(spec.GetMode(), spec.GetCidr(), spec.GetGateway(), spec.GetDomain(), spec.GetMtu(),
		spec.GetDhcp(), spec.GetDns())
}

const (
	// factUpstreams is where a network's name servers are noted.
	factUpstreams = "dnsServers"
	// factSecondary is where it is noted that a nic is offered no router.
	factSecondary = "secondary"
)

// hashName makes a kernel name of at most 15 characters from an id.
func hashName(prefix, id string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return fmt.Sprintf("%s%010x", prefix, h.Sum64()>>24)
}

// DesignNetwork implements driverpb.NetworksServer.
func (n *networks) DesignNetwork(
	ctx context.Context, r *driverpb.NetworkRequest,
) (*driverpb.DesignReply, error) {
	spec, err := design(r.GetNetwork())
	if err != nil {
		return nil, err
	}
	return look(ctx, n.driver, "DesignNetwork", r.GetCall(), func(*simworld.Tx) (*driverpb.DesignReply, error) {
		return &driverpb.DesignReply{Network: spec}, nil
	})
}

// CreateNetwork implements driverpb.NetworksServer.
func (n *networks) CreateNetwork(
	ctx context.Context, r *driverpb.NetworkRequest,
) (*driverpb.NetworkReply, error) {
	if err := wantKind(r.GetCall(), simworld.KindNetwork); err != nil {
		return nil, err
	}
	spec, err := design(r.GetNetwork())
	if err != nil {
		return nil, err
	}
	want := simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindNetwork, ID: r.GetCall().GetResource().GetId()},
		State: simworld.Present,
		Detail: &simworld.Detail{
			Shape: shapeOf(spec), Facts: map[string]string{factUpstreams: strings.Join(spec.GetDnsServers(), " ")},
		},
	}
	return act(ctx, n.driver, "CreateNetwork", r.GetCall(), func(tx *simworld.Tx) (*driverpb.NetworkReply, error) {
		o, found := tx.Get(want.Key)
		switch {
		case !found:
			return answer(tx.Create(&want), func() *driverpb.NetworkReply { return networkReply(want) })
		case o.Detail == nil || o.Detail.Shape != want.Detail.Shape:
			return nil, sdk.Conflict("network-exists", "the network exists with another spec",
				"delete it, or ask for it as it is")
		case o.Detail.Facts[factUpstreams] != want.Detail.Facts[factUpstreams]:
			o.Detail.Facts = want.Detail.Facts
			return answer(tx.Change("serve-names", &o), func() *driverpb.NetworkReply { return networkReply(o) })
		}
		return networkReply(o), nil
	})
}

func networkReply(o simworld.Object) *driverpb.NetworkReply {
	return &driverpb.NetworkReply{
		Handle: handleOf(o), NetNamespace: "/run/netns/" + hashName("bn-", o.ID), Bridge: hashName("br-", o.ID),
		Facts: map[string]string{"backend": "simulated"},
	}
}

// StatNetwork implements driverpb.NetworksServer.
func (n *networks) StatNetwork(ctx context.Context, r *driverpb.NetworkRequest) (*driverpb.NetworkReply, error) {
	if err := wantKind(r.GetCall(), simworld.KindNetwork); err != nil {
		return nil, err
	}
	return look(ctx, n.driver, "StatNetwork", r.GetCall(), func(tx *simworld.Tx) (*driverpb.NetworkReply, error) {
		key := simworld.Key{Kind: simworld.KindNetwork, ID: r.GetCall().GetResource().GetId()}
		o, found := tx.Get(key)
		if !found {
			return nil, absent(key)
		}
		return networkReply(o), nil
	})
}

// DeleteNetwork implements driverpb.NetworksServer.
func (n *networks) DeleteNetwork(
	ctx context.Context, r *driverpb.NetworkRequest,
) (*driverpb.OutcomeReply, error) {
	return closeScope(ctx, n.driver, "DeleteNetwork", simworld.KindNetwork, "delete", r.GetCall())
}

// nicKey returns where the nic of a call is.
func nicKey(r *driverpb.NicCallRequest) (simworld.Key, error) {
	if err := wantKind(r.GetCall(), simworld.KindNic); err != nil {
		return simworld.Key{}, err
	}
	id, err := wantRef(r.GetNetwork().GetResource(), simworld.KindNetwork, "/network/resource")
	return simworld.Key{Kind: simworld.KindNic, Scope: id, ID: r.GetCall().GetResource().GetId()}, err
}

// AttachNic implements driverpb.NetworksServer.
func (n *networks) AttachNic(ctx context.Context, r *driverpb.NicCallRequest) (*driverpb.NicReply, error) {
	key, err := nicKey(r)
	if err != nil {
		return nil, err
	}
	want, err := plannedNic(key, r)
	if err != nil {
		return nil, err
	}
	return act(ctx, n.driver, "AttachNic", r.GetCall(), func(tx *simworld.Tx) (*driverpb.NicReply, error) {
		o, found := tx.Get(key)
		switch {
		case !found:
			return answer(tx.Create(&want), func() *driverpb.NicReply { return nicReply(want) })
		case o.Detail == nil || o.Detail.Of != want.Detail.Of || o.Detail.Mac != want.Detail.Mac ||
			o.Detail.Address != want.Detail.Address:
			return nil, sdk.Conflict("nic-exists", "the nic exists with another machine, MAC or address",
				"detach it, or ask for it as it is")
		case o.Detail.Facts[factSecondary] != want.Detail.Facts[factSecondary]:
			o.Detail.Facts = want.Detail.Facts
			return answer(tx.Change("reroute", &o), func() *driverpb.NicReply { return nicReply(o) })
		}
		return nicReply(o), nil
	})
}

func plannedNic(key simworld.Key, r *driverpb.NicCallRequest) (simworld.Object, error) {
	machine, err := wantRef(r.GetNic().GetMachine(), simworld.KindMachine, "/nic/machine")
	if err != nil {
		return simworld.Object{}, err
	}
	mac, err := net.ParseMAC(r.GetNic().GetMac())
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return simworld.Object{}, sdk.Invalid("bad-mac", "/call/nic/mac", "want a unicast MAC of six bytes", "")
	}
	prefix, err := netip.ParsePrefix(r.GetSpec().GetCidr())
	if err != nil {
		return simworld.Object{}, sdk.Invalid("bad-cidr", "/call/spec/cidr", "want IPv4 such as 10.20.0.0/24", "")
	}
	address := r.GetNic().GetAddress()
	if !usable(prefix, address) || address == r.GetSpec().GetGateway() {
		return simworld.Object{}, sdk.Invalid("bad-address", "/address",
			"must be an address of guests in "+prefix.String(), "")
	}
	return simworld.Object{
		Key: key, State: simworld.Present,
		Detail: &simworld.Detail{
			Of: machine, Mac: mac.String(), Address: address,
			Facts: map[string]string{
				"hostname": r.GetNic().GetHostname(), factSecondary: strconv.FormatBool(r.GetNic().GetSecondary()),
			},
		},
	}, nil
}

func nicReply(o simworld.Object) *driverpb.NicReply {
	machine := ""
	if o.Detail != nil {
		machine = o.Detail.Of
	}
	return &driverpb.NicReply{
		Handle: handleOf(o), NetNamespace: "/run/netns/" + hashName("bh-", machine), Interface: hashName("tap", o.ID),
	}
}

// DetachNic implements driverpb.NetworksServer.
func (n *networks) DetachNic(ctx context.Context, r *driverpb.NicCallRequest) (*driverpb.OutcomeReply, error) {
	key, err := nicKey(r)
	if err != nil {
		return nil, err
	}
	return removal(ctx, n.driver, "DetachNic", "detach", r.GetCall(), key)
}
