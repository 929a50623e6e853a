package archive

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Duration is written as 2m30s.
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalYAML implements yaml.Marshaler.
func (d Duration) MarshalYAML() (any, error) {
	return time.Duration(d).String(), nil
}

// Size is a number of bytes, written as 512MiB.
type Size uint64

var sizeUnits = []string{"KiB", "MiB", "GiB", "TiB"}

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	for power, unit := range sizeUnits {
		digits, found := strings.CutSuffix(node.Value, unit)
		if !found {
			continue
		}
		number, err := strconv.ParseUint(digits, 10, 20)
		if err != nil {
			return fmt.Errorf("line %d: %w", node.Line, err)
		}
		*s = Size(number << (10 * (power + 1)))
		return nil
	}
	return fmt.Errorf("line %d: %q is not a size such as 512MiB", node.Line, node.Value)
}

// MarshalYAML implements yaml.Marshaler.
func (s Size) MarshalYAML() (any, error) {
	number, unit := uint64(s)>>10, 0
	for unit < len(sizeUnits)-1 && number >= 1024 && number%1024 == 0 {
		number >>= 10
		unit++
	}
	return strconv.FormatUint(number, 10) + sizeUnits[unit], nil
}

// Capabilities is what the driver can do, by the names of the contract.
type Capabilities map[string]any

// Proto converts what Parse has checked.
func (c Capabilities) Proto() (*driverpb.Capabilities, error) {
	if len(c) == 0 {
		return &driverpb.Capabilities{}, nil
	}
	text, err := json.Marshal(map[string]any(c))
	if err != nil {
		return nil, fmt.Errorf("encoding capabilities: %w", err)
	}
	converted := &driverpb.Capabilities{}
	if err := protojson.Unmarshal(text, converted); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	return converted, nil
}

// CapabilitiesOf converts back what a driver answers to Describe.
func CapabilitiesOf(from *driverpb.Capabilities) (Capabilities, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(proto.Message(from))
	if err != nil {
		return nil, fmt.Errorf("encoding capabilities: %w", err)
	}
	var converted Capabilities
	if err := json.Unmarshal(text, &converted); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	return converted, nil
}
