package driving

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// describe turns a driver's description into the vocabulary's words.
func describe(reply *driverpb.DescribeReply) description {
	d := description{raw: reply.GetCapabilities(), capabilities: map[string]any{}}
	for _, p := range reply.GetProperties() {
		d.properties = append(d.properties, property(p))
	}
	if data, err := protojson.Marshal(reply.GetCapabilities()); err == nil {
		json.Unmarshal(data, &d.capabilities) //nolint:errcheck // what protojson wrote is JSON
	}
	return d
}

// capabilities is the reverse of what describe does to them.
func capabilities(shown map[string]any) *driverpb.Capabilities {
	c := &driverpb.Capabilities{}
	if data, err := json.Marshal(shown); err == nil {
		lenient := protojson.UnmarshalOptions{DiscardUnknown: true}
		lenient.Unmarshal(data, c) //nolint:errcheck // ours; at worst nothing is known
	}
	return c
}

func property(p *driverpb.Property) resources.Property {
	out := resources.Property{
		Key: p.GetKey(), Scope: p.GetScope(), Label: p.GetLabel(), Description: p.GetDescription(),
		Required: p.GetRequired(), Immutable: p.GetImmutable(), Secret: p.GetSecret(), MaxLength: p.GetMaxLength(),
		Pattern: p.GetPattern(), Default: p.GetDefault().AsInterface(),
		Min: p.Min, Max: p.Max, // not their getters: nil means none
		Type: map[driverpb.Property_Type]string{
			driverpb.Property_TYPE_STRING: "string", driverpb.Property_TYPE_NUMBER: "number",
			driverpb.Property_TYPE_BOOLEAN: "boolean", driverpb.Property_TYPE_DATE: "date",
		}[p.GetType()],
		PathAccess: map[driverpb.Property_Access]string{
			driverpb.Property_ACCESS_READ: accessRead, driverpb.Property_ACCESS_READ_WRITE: accessReadWrite,
		}[p.GetPathAccess()],
	}
	for _, e := range p.GetEnum() {
		out.Enum = append(out.Enum, e.AsInterface())
	}
	return out
}

// Validate implements api.Drivers.
func (d *Drivers) Validate(ctx context.Context, product, scope string, given map[string]any) error {
	if _, installed := d.manifests[product]; !installed {
		return NoDriver(product)
	}
	about, known := d.about(ctx, product)
	if !known {
		return d.unavailable(product)
	}
	p := resources.NewProblems("")
	seen := map[string]bool{}
	for _, prop := range about.properties {
		if prop.Scope != scope {
			continue
		}
		seen[prop.Key] = true
		value, there := given[prop.Key]
		if !there {
			if prop.Required {
				p.In(prop.Key).Add("required", "is required by driver %s", product)
			}
			continue
		}
		check(p.In(prop.Key), prop, value)
	}
	for key := range given {
		if !seen[key] {
			p.In(key).Add("unknown-property", "is no property of driver %s for a %s", product, scope)
		}
	}
	return p.Err()
}

// about returns what a driver says of itself. Right after a start that takes a
// moment.
func (d *Drivers) about(ctx context.Context, product string) (description, bool) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	for {
		d.mu.Lock()
		about, known := d.described[product]
		learned := d.learned
		d.mu.Unlock()
		if known {
			return about, true
		}
		select {
		case <-ctx.Done():
			return description{}, false
		case <-learned:
		}
	}
}

// check reports what is wrong with the value of a property.
func check(p *resources.Problems, prop resources.Property, value any) {
	switch prop.Type {
	case "string":
		checkText(p, prop, value)
	case "number":
		checkNumber(p, prop, value)
	case "boolean":
		if _, ok := value.(bool); !ok {
			p.Add("wrong-type", "must be true or false")
		}
	case "date":
		text, ok := value.(string)
		if !ok {
			p.Add("wrong-type", "must be a date")
			return
		}
		if _, err := time.Parse(time.DateOnly, text); err != nil {
			p.Add("bad-date", "must be a date such as 2026-01-31")
		}
	}
	isValue := func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(value) }
	if len(prop.Enum) > 0 && !slices.ContainsFunc(prop.Enum, isValue) {
		p.Add("not-allowed", "must be one of %v", prop.Enum)
	}
}

func checkText(p *resources.Problems, prop resources.Property, value any) {
	text, ok := value.(string)
	if !ok {
		p.Add("wrong-type", "must be text")
		return
	}
	if prop.MaxLength > 0 && len(text) > int(prop.MaxLength) {
		p.Add("too-long", "must not be longer than %d bytes", prop.MaxLength)
	}
	if prop.Pattern == "" {
		return
	}
	re, err := regexp.Compile(`^(?:` + prop.Pattern + `)$`)
	if err != nil || !re.MatchString(text) {
		p.Add("bad-format", "%s", form(prop))
	}
}

// form says what the text of a property must look like, in the driver's words
// where it has some: a pattern tells most people nothing.
func form(prop resources.Property) string {
	switch {
	case prop.Description != "":
		return "does not have the right form: " + prop.Description
	case prop.PathAccess != "":
		return "must be an absolute path, such as /srv/bulkhead"
	}
	return "must match " + prop.Pattern
}

func checkNumber(p *resources.Problems, prop resources.Property, value any) {
	var n float64
	switch x := value.(type) {
	case float64:
		n = x
	case int64:
		n = float64(x)
	case uint64:
		n = float64(x)
	default:
		p.Add("wrong-type", "must be a number")
		return
	}
	if prop.Min != nil && n < *prop.Min {
		p.Add("out-of-range", "must be at least %v", *prop.Min)
	}
	if prop.Max != nil && n > *prop.Max {
		p.Add("out-of-range", "must be at most %v", *prop.Max)
	}
}
