package driving

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// describe turns a driver's description into the vocabulary's words. It fails if the properties make no sense.
func describe(reply *driverpb.DescribeReply) (description, error) {
	d := description{raw: reply.GetCapabilities(), capabilities: map[string]any{}}
	var err error
	if d.sheet, err = property.Compile(property.Described(reply.GetProperties())); err != nil {
		return d, fmt.Errorf("it describes properties that make no sense: %w", err)
	}
	if data, err := protojson.Marshal(reply.GetCapabilities()); err == nil {
		json.Unmarshal(data, &d.capabilities) //nolint:errcheck // what protojson wrote is JSON
	}
	return d, nil
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

// Validate implements api.Drivers.
func (d *Drivers) Validate(ctx context.Context, check resources.PropertyCheck) error {
	about, err := d.known(ctx, check.Product)
	if err != nil {
		return err
	}
	return about.sheet.Validate(property.Values{
		Driver: check.Product, Scope: check.Scope, Given: check.Given, Before: check.Before,
		Speech: d.messages[check.Product].Speak(check.Languages),
	})
}

// Schema implements api.Drivers.
func (d *Drivers) Schema(ctx context.Context, product, scope, languages string) (map[string]any, error) {
	about, err := d.known(ctx, product)
	if err != nil {
		return nil, err
	}
	schema := about.sheet.Schema(scope, d.messages[product].Speak(languages))
	schema["$id"] = "urn:bulkhead:driver:" + product + ":" + d.manifests[product].Version + ":" + scope
	return schema, nil
}

// Translate implements api.Drivers.
func (d *Drivers) Translate(product string, all []resources.Property, languages string) []resources.Property {
	return d.messages[product].Speak(languages).Translate(all)
}

// known returns what a driver says of itself, or why nobody knows.
func (d *Drivers) known(ctx context.Context, product string) (description, error) {
	if _, installed := d.manifests[product]; !installed {
		return description{}, NoDriver(product)
	}
	about, known := d.about(ctx, product)
	if !known {
		return description{}, d.unavailable(product)
	}
	return about, nil
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
