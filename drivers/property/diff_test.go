package property_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestDiff(t *testing.T) {
	was := []resources.Property{
		{Key: "same", Scope: "pool", Type: "string", Label: "Old words"},
		{Key: "gone", Scope: "pool", Type: "string", Label: "Gone"},
		{Key: "narrow", Scope: "pool", Type: "number", Max: new(10.0)},
		{Key: "wide", Scope: "pool", Type: "number", Max: new(10.0)},
		{Key: "values", Scope: "pool", Type: "string", Enum: []any{"a", "b"}},
		{Key: "must", Scope: "host", Type: "string"},
		{Key: "mustWithDefault", Scope: "host", Type: "string"},
		{Key: "hidden", Scope: "driver", Type: "string", Required: true},
	}
	is := []resources.Property{
		{Key: "same", Scope: "pool", Type: "string", Label: "New words"},
		{Key: "narrow", Scope: "pool", Type: "number", Max: new(5.0)},
		{Key: "wide", Scope: "pool", Type: "number", Max: new(1073741824.0)},
		{Key: "values", Scope: "pool", Type: "string", Enum: []any{"b", "c"}},
		{Key: "must", Scope: "host", Type: "string", Required: true},
		{Key: "mustWithDefault", Scope: "host", Type: "string", Required: true, Default: "x"},
		{Key: "hidden", Scope: "driver", Type: "string", Required: true, Secret: true},
		{Key: "new", Scope: "pool", Type: "string", Label: "Brand new"},
		{Key: "newMust", Scope: "volume", Type: "string", Required: true},
	}
	d := property.Compare(compiled(t, was), compiled(t, is))
	want := `~ driver hidden: secret: false -> true; needs a value
~ host must: required: false -> true; values that were good may be refused; needs a value
~ host mustWithDefault: required: false -> true; default: none -> x
- pool gone (Gone): values are kept unused
~ pool narrow: max: 10 -> 5; values that were good may be refused
+ pool new (Brand new)
~ pool values: enum: a, b -> b, c; values that were good may be refused
~ pool wide: max: 10 -> 1073741824
+ volume newMust: needs a value
`
	if got := d.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var needed []string
	for _, c := range d {
		if c.NeedsInput {
			needed = append(needed, c.Scope+" "+c.Key)
		}
	}
	if got := strings.Join(needed, ", "); got != "driver hidden, host must, volume newMust" {
		t.Errorf("needs input: %s", got)
	}
	text, err := json.Marshal(d)
	if err != nil || !strings.Contains(string(text), `"change":"added","scope":"pool","key":"new"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestDiffOfNothing(t *testing.T) {
	d := compiled(t, sample())
	if got := property.Compare(d, d); len(got) != 0 || got.String() != "no property changes\n" {
		t.Errorf("with itself: %s", got)
	}
	if got := property.Compare(nil, d); len(got) != len(sample()) || got[0].Kind != property.Added {
		t.Errorf("the first version: %s", got)
	}
	if got := property.Compare(d, nil); got[0].Kind != property.Removed || !got[0].Orphaned {
		t.Errorf("without any: %s", got)
	}
}
