package property

import "github.com/bulkhead-cloud/bulkhead/resources"

// Dialect is the version of JSON Schema that properties are compiled to.
const Dialect = "https://json-schema.org/draft/2020-12/schema"

// Schema returns the JSON Schema of a scope, with its texts in the words of a speech. It is made for programs: forms,
// the command line, Terraform. What JSON Schema has no word for begins with "x-". A scope without properties has
// a schema that takes none.
func (d *Descriptor) Schema(name string, s Speech) map[string]any { return schemaOf(d.In(name), s) }

func schemaOf(all []resources.Property, s Speech) map[string]any {
	properties, required := map[string]any{}, []any{}
	for i, p := range all {
		one := valueSchema(p)
		one["title"] = s.Label(p)
		if words := s.Description(p); words != "" {
			one["description"] = words
		}
		one["x-order"] = float64(i)
		properties[p.Key] = one
		if p.Required {
			required = append(required, p.Key)
		}
	}
	return map[string]any{
		"$schema": Dialect, "type": "object", "properties": properties, "required": required,
		"additionalProperties": false,
	}
}

// valueSchema is what a property says of its value.
func valueSchema(p resources.Property) map[string]any {
	one := constraint(p)
	if p.Type == TypeString {
		one["x-maxBytes"] = float64(longest(p)) // maxLength counts characters
	}
	if p.Default != nil {
		one["default"] = p.Default
	}
	if p.Secret {
		one["writeOnly"] = true
		one["format"] = "password" // shown as dots by forms; nothing is checked
	}
	if p.Immutable {
		one["x-immutable"] = true
	}
	if p.Group != "" {
		one["x-group"] = p.Group
	}
	if p.PathAccess != "" {
		one["x-pathAccess"] = p.PathAccess
	}
	return one
}

// constraint is what a value must fulfil, in the words of JSON Schema.
func constraint(p resources.Property) map[string]any {
	c := map[string]any{"type": p.Type}
	switch p.Type {
	case TypeDate:
		c["type"], c["format"] = TypeString, "date"
	case TypeString:
		c["maxLength"] = float64(longest(p))
		if p.Pattern != "" {
			c["pattern"] = anchored(p.Pattern)
		}
	}
	if p.Min != nil {
		c["minimum"] = *p.Min
	}
	if p.Max != nil {
		c["maximum"] = *p.Max
	}
	if len(p.Enum) > 0 {
		c["enum"] = append([]any{}, p.Enum...)
	}
	return c
}
