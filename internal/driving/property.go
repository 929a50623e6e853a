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
	d.actions = property.DescribedActions(reply.GetActions())
	if err := property.CheckActions(d.actions); err != nil {
		return d, fmt.Errorf("it describes roles of actions that make no sense: %w", err)
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
	v, err := d.resolve(check.Product, check.Version)
	if err != nil {
		return err
	}
	about, err := d.known(ctx, v)
	if err != nil {
		return err
	}
	return about.sheet.Validate(property.Values{
		Driver: check.Product, Scope: check.Scope, Given: property.WithUnseen(check.Given),
		Before: property.WithUnseen(check.Before), Elsewhere: check.Elsewhere, Speech: d.speech(v, check.Languages),
	})
}

// Schema implements api.Drivers.
func (d *Drivers) Schema(
	ctx context.Context, record *resources.Driver, scope, languages string,
) (map[string]any, error) {
	v := VersionOf(record)
	about, err := d.known(ctx, v)
	if err != nil {
		return nil, err
	}
	schema := about.sheet.Schema(scope, d.speech(v, languages))
	number := record.Spec.Version
	if one, here := d.here(v); here {
		number = one.manifest.Version
	}
	schema["$id"] = "urn:bulkhead:driver:" + v.Product + ":" + number + ":" + scope
	return schema, nil
}

// Translate implements api.Drivers.
func (d *Drivers) Translate(record *resources.Driver, languages string) []resources.Property {
	return d.speech(VersionOf(record), languages).Translate(record.Status.Properties)
}

// speech is how a version speaks to somebody.
func (d *Drivers) speech(v Version, languages string) property.Speech {
	var messages property.Messages
	if one, here := d.here(v); here {
		messages = one.messages
	}
	return messages.Speak(languages)
}

// known returns what a driver says of itself, or why nobody knows.
func (d *Drivers) known(ctx context.Context, v Version) (description, error) {
	if _, here := d.here(v); !here && v.Number == "" {
		return description{}, NoDriver(v.Product)
	}
	about, known := d.about(ctx, v)
	if !known {
		return description{}, d.unavailable(v)
	}
	return about, nil
}

// about returns what a driver says of itself. Right after a start that takes a
// moment.
func (d *Drivers) about(ctx context.Context, v Version) (description, bool) {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	for {
		d.mu.Lock()
		about, known := d.described[v]
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
