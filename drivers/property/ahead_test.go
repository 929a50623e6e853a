package property_test

import (
	"errors"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestWhatOtherVersionsKnow: what a resource has that this version does not know may stay, and what another one
// describes may be given, if that one takes it.
func TestWhatOtherVersionsKnow(t *testing.T) {
	d := compiled(t, []resources.Property{{Key: "path", Scope: "pool", Type: "string"}})
	elsewhere := []resources.Property{
		{Key: "quota", Scope: "pool", Type: "number", Min: new(1.0), Required: true},
		{Key: "quota", Scope: "pool", Type: "string", Pattern: "[a-z]+"},
		{Key: "quota", Scope: "volume", Type: "boolean"},
		{Key: "token", Scope: "pool", Type: "string", Secret: true},
		{Key: "zone", Scope: "pool", Type: "string", Immutable: true},
	}
	for name, test := range map[string]struct {
		given, before map[string]any
		want          string
	}{
		"as it was":          {map[string]any{"mode": "slow"}, map[string]any{"mode": "slow"}, ""},
		"a secret as it was": {map[string]any{"key": property.Unseen{}}, map[string]any{"key": property.Unseen{}}, ""},
		"another value": {
			map[string]any{"mode": "fast"}, map[string]any{"mode": "slow"}, "/mode unknown-property",
		},
		"new and known to nobody":  {map[string]any{"mode": "fast"}, map[string]any{}, "/mode unknown-property"},
		"a secret out of nowhere":  {map[string]any{"key": property.Unseen{}}, map[string]any{}, "/key unknown-property"},
		"ahead":                    {map[string]any{"quota": 5.0}, map[string]any{}, ""},
		"ahead, a secret":          {map[string]any{"token": "xyz"}, map[string]any{}, ""},
		"as the other one has it":  {map[string]any{"quota": "much"}, map[string]any{}, ""},
		"ahead and not good there": {map[string]any{"quota": "5!"}, map[string]any{}, "/quota bad-format"},
		"not good there, and a stranger": {
			map[string]any{"quota": true, "mode": 1.0}, map[string]any{}, "/mode unknown-property, /quota wrong-type",
		},
		"what this one knows is held to it": {
			map[string]any{"path": 5.0, "quota": 5.0}, map[string]any{}, "/path wrong-type",
		},
		"fixed, and given once": {map[string]any{"zone": "a"}, map[string]any{}, ""},
		"fixed, and given another time": {
			map[string]any{"zone": "b"}, map[string]any{"zone": "a"}, "/zone unchangeable",
		},
	} {
		err := d.Validate(property.Values{
			Driver: "a/b", Scope: "pool", Given: test.given, Before: test.before,
			Elsewhere: func() ([]resources.Property, error) { return elsewhere, nil },
		})
		if err == nil && test.want == "" {
			continue
		}
		if got := found(err); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	needed := compiled(t, []resources.Property{
		{Key: "site", Scope: "pool", Type: "string", Required: true, Immutable: true},
	})
	for was, want := range map[string]string{"": "<nil>", "a": "/site unchangeable"} {
		before := map[string]any{}
		if was != "" {
			before["site"] = was
		}
		err := needed.Validate(property.Values{Scope: "pool", Given: map[string]any{"site": "b"}, Before: before})
		if got := found(err); got != want {
			t.Errorf("what is needed and fixed, and was %q: %s, want %s", was, got, want)
		}
	}
	lost := errors.New("lost")
	for key, want := range map[string]error{"path": nil, "quota": lost} {
		err := d.Validate(property.Values{
			Scope: "pool", Given: map[string]any{key: "/x"}, Before: map[string]any{},
			Elsewhere: func() ([]resources.Property, error) { return nil, lost },
		})
		if !errors.Is(err, want) {
			t.Errorf("with %s, when nobody can say what others describe: %v", key, err)
		}
	}
}
