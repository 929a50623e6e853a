package archive

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
)

// Property is a setting of the driver that operators fill in, as the contract's Property has it.
type Property struct {
	Key string `yaml:"key"`
	// Type is string, number, boolean or date.
	Type string `yaml:"type"`
	// Scope is the kind of resource it belongs to, or driver.
	Scope string `yaml:"scope"`
	// Label and Description are in English; the keys point into the message files.
	Label          string   `yaml:"label,omitempty"`
	Description    string   `yaml:"description,omitempty"`
	LabelKey       string   `yaml:"labelKey,omitempty"`
	DescriptionKey string   `yaml:"descriptionKey,omitempty"`
	Required       bool     `yaml:"required,omitempty"`
	Default        any      `yaml:"default,omitempty"`
	Enum           []any    `yaml:"enum,omitempty"`
	Min            *float64 `yaml:"min,omitempty"`
	Max            *float64 `yaml:"max,omitempty"`
	MaxLength      uint32   `yaml:"maxLength,omitempty"`
	Pattern        string   `yaml:"pattern,omitempty"`
	Secret         bool     `yaml:"secret,omitempty"`
	Group          string   `yaml:"group,omitempty"`
	Immutable      bool     `yaml:"immutable,omitempty"`
	// PathAccess is read, read-write or empty: the value is a path on the host that the driver needs.
	PathAccess string `yaml:"pathAccess,omitempty"`
	// Role is the least role of who gives it a value: operator, admin or empty.
	Role string `yaml:"role,omitempty"`
}

// ActionRole is the least role that an action on the driver's resources takes.
type ActionRole struct {
	Action string `yaml:"action"`
	Role   string `yaml:"role"`
}

func propertyType(name string) driverpb.Property_Type {
	switch name {
	case property.TypeString:
		return driverpb.Property_TYPE_STRING
	case property.TypeNumber:
		return driverpb.Property_TYPE_NUMBER
	case property.TypeBoolean:
		return driverpb.Property_TYPE_BOOLEAN
	case property.TypeDate:
		return driverpb.Property_TYPE_DATE
	}
	return driverpb.Property_TYPE_UNSPECIFIED
}

func pathAccess(name string) driverpb.Property_Access {
	switch name {
	case property.AccessRead:
		return driverpb.Property_ACCESS_READ
	case property.AccessReadWrite:
		return driverpb.Property_ACCESS_READ_WRITE
	}
	return driverpb.Property_ACCESS_NONE
}

// Proto converts a property that Parse has checked.
func (p *Property) Proto() (*driverpb.Property, error) {
	converted := &driverpb.Property{
		Key: p.Key, Type: propertyType(p.Type), Scope: p.Scope, Required: p.Required, MaxLength: p.MaxLength,
		Label: p.Label, Description: p.Description, LabelKey: p.LabelKey, DescriptionKey: p.DescriptionKey,
		Min: p.Min, Max: p.Max, Pattern: p.Pattern, Secret: p.Secret, Group: p.Group, Immutable: p.Immutable,
		PathAccess: pathAccess(p.PathAccess), Role: p.Role,
	}
	var err error
	if p.Default != nil {
		if converted.Default, err = structpb.NewValue(p.Default); err != nil {
			return nil, fmt.Errorf("converting the default of property %s: %w", p.Key, err)
		}
	}
	for _, value := range p.Enum {
		packed, err := structpb.NewValue(value)
		if err != nil {
			return nil, fmt.Errorf("converting a value of property %s: %w", p.Key, err)
		}
		converted.Enum = append(converted.Enum, packed)
	}
	return converted, nil
}

// Describe converts what the declaration says of properties and capabilities: the driver must answer the same.
func (d *Declaration) Describe() (*driverpb.DescribeReply, error) {
	capabilities, err := d.Capabilities.Proto()
	if err != nil {
		return nil, err
	}
	reply := &driverpb.DescribeReply{Capabilities: capabilities}
	for i := range d.Properties {
		converted, err := d.Properties[i].Proto()
		if err != nil {
			return nil, err
		}
		reply.Properties = append(reply.Properties, converted)
	}
	for _, a := range d.Actions {
		reply.Actions = append(reply.Actions, &driverpb.ActionRole{Action: a.Action, Role: a.Role})
	}
	return reply, nil
}

// Answers is what the driver must answer to Hello and Describe, as JSON: {"hello": ..., "describe": ...} in the words
// of the contract. The same declaration gives the same bytes.
func (d *Declaration) Answers() ([]byte, error) {
	description, err := d.Describe()
	if err != nil {
		return nil, err
	}
	hello := &driverpb.HelloReply{
		Name: d.Name, Version: d.Version, Categories: d.categories(), HandleReads: d.Handles.Reads,
		HandleWrites: d.Handles.Writes, Concurrency: d.Concurrency,
	}
	answers := map[string]any{}
	for name, message := range map[string]proto.Message{"hello": hello, "describe": description} {
		text, err := protojson.Marshal(message)
		if err != nil {
			return nil, fmt.Errorf("encoding the answers of %s: %w", d.Name, err)
		}
		var plain any // protojson puts spaces in at random
		if err := json.Unmarshal(text, &plain); err != nil {
			return nil, fmt.Errorf("encoding the answers of %s: %w", d.Name, err)
		}
		answers[name] = plain
	}
	text, err := json.MarshalIndent(answers, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the answers of %s: %w", d.Name, err)
	}
	return append(text, '\n'), nil
}
