package bridgenetwork

import (
	"fmt"
	"math"
	"net/netip"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Keys of the driver's properties.
const (
	propertyTransit    = "transitCidr"
	propertyForwarding = "hostForwarding"
	propertyOverlap    = "allowHostOverlap"
	propertyLease      = "leaseSeconds"
)

const (
	forwardingManaged = "managed"
	forwardingManual  = "manual"

	defaultTransit = "100.64.0.0/16"
	defaultLease   = 12 * 3600
	minLease       = 120
	maxLease       = 30 * 24 * 3600
	smallestBits   = 8
)

// settings are the vendor properties of one call.
type settings struct {
	transits         netip.Prefix
	manualForwarding bool
	allowOverlap     bool
	leaseSeconds     uint32
}

func description() *driverpb.DescribeReply {
	return &driverpb.DescribeReply{
		Properties: []*driverpb.Property{{
			Key: propertyTransit, Scope: "driver", Type: driverpb.Property_TYPE_STRING, MaxLength: 18,
			Default: structpb.NewStringValue(defaultTransit), Pattern: `[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}`,
			Group: "network", LabelKey: "transit-cidr.label", DescriptionKey: "transit-cidr.description",
			Label: "Transit range",
			Description: "Range from which each nat network takes four addresses for the way between it and the host. " +
				"Must not be in use where the host's packets go.",
		}, {
			Key: propertyForwarding, Scope: "driver", Type: driverpb.Property_TYPE_STRING, MaxLength: 7,
			Default: structpb.NewStringValue(forwardingManaged),
			Enum: []*structpb.Value{
				structpb.NewStringValue(forwardingManaged), structpb.NewStringValue(forwardingManual),
			},
			Group: "network", LabelKey: "host-forwarding.label", DescriptionKey: "host-forwarding.description",
			Label: "IP forwarding of the host",
			Description: "managed: turned on with the first nat network, and off with the last one if it was off before. " +
				"manual: left alone; a nat network is refused while it is off.",
		}, {
			Key: propertyOverlap, Scope: "network", Type: driverpb.Property_TYPE_BOOLEAN,
			Default: structpb.NewBoolValue(false), Immutable: true,
			Group: "network", LabelKey: "allow-host-overlap.label", DescriptionKey: "allow-host-overlap.description",
			Label: "May overlap the host's routes",
			Description: "Whether the range may overlap what the host has a route to. " +
				"The machines can't reach what is hidden behind it.",
		}, {
			Key: propertyLease, Scope: "network", Type: driverpb.Property_TYPE_NUMBER,
			Default: structpb.NewNumberValue(defaultLease), Min: new(float64(minLease)), Max: new(float64(maxLease)),
			Group: "network", LabelKey: "lease-seconds.label", DescriptionKey: "lease-seconds.description",
			Label: "DHCP lease", Description: "How long a machine keeps its address without asking again, in seconds.",
		}},
		Capabilities: &driverpb.Capabilities{
			NetworkModes: []string{modeNAT, modeIsolated},
			Dhcp:         true, Dns: true, Firewall: true, PortForwards: true, AntiSpoofing: true,
		},
	}
}

// readSettings merges the properties of a call over the driver-wide ones.
func readSettings(configured, own map[string]any) (settings, error) {
	read := settings{transits: netip.MustParsePrefix(defaultTransit), leaseSeconds: defaultLease}
	for _, properties := range []map[string]any{configured, own} {
		if err := read.merge(properties); err != nil {
			return settings{}, err
		}
	}
	return read, nil
}

func (s *settings) merge(properties map[string]any) error {
	readers := map[string]func(any) error{
		propertyTransit: s.readTransit, propertyForwarding: s.readForwarding, propertyOverlap: s.readOverlap,
		propertyLease: s.readLease,
	}
	for key, read := range readers {
		value, given := properties[key]
		if !given {
			continue
		}
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) readTransit(value any) error {
	pool, err := netip.ParsePrefix(fmt.Sprint(value))
	if err != nil || !pool.Addr().Is4() || pool.Bits() < smallestBits || pool.Bits() > layout.TransitBits {
		return badProperty(propertyTransit, "must be an IPv4 range between /8 and /30")
	}
	s.transits = pool.Masked()
	return nil
}

func (s *settings) readForwarding(value any) error {
	if value != forwardingManaged && value != forwardingManual {
		return badProperty(propertyForwarding, "must be managed or manual")
	}
	s.manualForwarding = value == forwardingManual
	return nil
}

func (s *settings) readOverlap(value any) error {
	allow, ok := value.(bool)
	if !ok {
		return badProperty(propertyOverlap, "must be true or false")
	}
	s.allowOverlap = allow
	return nil
}

func (s *settings) readLease(value any) error {
	seconds, ok := value.(float64)
	if !ok || seconds < minLease || seconds > maxLease || seconds != math.Trunc(seconds) {
		return badProperty(propertyLease, fmt.Sprintf("must be a whole number from %d to %d", minLease, maxLease))
	}
	s.leaseSeconds = uint32(seconds)
	return nil
}

func badProperty(key, message string) error {
	return sdk.Invalid("bad-property", "/properties/"+key, key+" "+message, "")
}
